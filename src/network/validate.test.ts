import { describe, expect, it } from 'vitest'
import type { PortSpec, RuleSpec, VpcSpec } from './driver.ts'
import { portSpec, subnetSpec, vpcSpec } from '../../test/support/vpc-spec.ts'
import { refuseOverlap, validateVpcChange, validateVpcSpec } from './validate.ts'

const port = portSpec({
  interfaceId: 'eni-1', subnetId: 'subnet-1', slot: 1, mac: '02:00:00:00:00:01', privateIp: '10.0.0.5', groupIds: ['sg-1'],
})
const rule: RuleSpec = { protocol: 'tcp', fromPort: 22, toPort: 22, peer: { cidr: '0.0.0.0/0' } }
const spec = (ports: PortSpec[] = [port], rules: RuleSpec[] = [rule]): VpcSpec => vpcSpec({
  vpcId: 'vpc-1', slot: 1, subnets: [subnetSpec('subnet-1', '10.0.0.0/20')],
  groups: [{ groupId: 'sg-1', ingress: rules, egress: [] }], ports,
})

describe('validateVpcSpec', () => {
  it('takes what EC2 has', () => {
    validateVpcSpec(spec([port], [rule, { ...rule, peer: { cidr: '::/0' } }, { ...rule, protocol: '254' }]))
  })

  it.each<[string, VpcSpec]>([
    ['text in an address', spec([{ ...port, privateIp: '10.0.0.5 accept' }])],
    ['text in a MAC address', spec([{ ...port, mac: '02:00:00:00:00:01"' }])],
    ['text in an id', spec([{ ...port, interfaceId: 'eni-1\nlink del dev lo' }])],
    ['text in a protocol', spec([port], [{ ...rule, protocol: 'tcp accept' }])],
    ['text in a block', spec([port], [{ ...rule, peer: { cidr: '0.0.0.0/0 }' } }])],
    ['text after an IPv6 block', spec([port], [{ ...rule, peer: { cidr: '::/0 accept' } }])],
    ['a port above 65535', spec([port], [{ ...rule, toPort: 65536 }])],
    ['a hop limit of 0', spec([{ ...port, metadataHopLimit: 0 }])],
    ['an unknown subnet', spec([{ ...port, subnetId: 'subnet-2' }])],
    ['an unknown group', spec([{ ...port, groupIds: ['sg-2'] }])],
    ['an address twice', spec([port, { ...port, interfaceId: 'eni-2', slot: 2, mac: '02:00:00:00:00:02' }])],
    ['a block with host bits', { ...spec(), cidrs: ['10.0.0.1/16'] }],
    ['no block', { ...spec(), cidrs: [] }],
    ['a secondary address that another has', spec([{ ...port, secondary: [{ privateIp: '10.0.0.5', publicIp: null }] }])],
    ['text in a route', { ...spec(), routeTables: [{ routeTableId: 'rtb-01', routes: [
      { destination: '10.9.0.0/16 dev lo', target: { kind: 'blackhole' } }] }] }],
    ['a subnet with an unknown route table', { ...spec(), routeTables: [] }],
    ['a subnet with an unknown network ACL', { ...spec(), networkAcls: [] }],
    ['text in an entry of a network ACL', { ...spec(), networkAcls: [{ networkAclId: 'acl-01', egress: [], ingress: [
      { ruleNumber: 1, action: 'allow', protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '0.0.0.0/0 accept' }] }] }],
    ['text in a member of a foreign group', { ...spec(), foreignGroups: [{ groupId: 'sg-9', addresses: ['10.0.0.1 }'] }] }],
    ['a NAT gateway in a port\'s slot', { ...spec(), natGateways: [{
      natGatewayId: 'nat-1', interfaceId: 'eni-9', subnetId: 'subnet-1', slot: 1, mac: '02:00:00:00:00:09', privateIp: '10.0.0.9',
      publicIp: null }] }],
    ['a peer without a block', { ...spec(), peerings: [{
      peeringId: 'pcx-1', slot: 1, peerVpcId: 'vpc-2', peerVpcSlot: 2, peerCidrs: [], side: 'requester' }] }],
  ])('refuses %s', (_what, bad) => {
    expect(() => validateVpcSpec(bad)).toThrow('bad network spec')
  })
})

describe('validateVpcChange', () => {
  it('takes what EC2 has', () => {
    validateVpcChange({ ports: [port], removed: ['eni-2'], groups: spec().groups }, spec())
  })

  it('refuses what would become part of a command', () => {
    const change = { ports: [], removed: [], groups: [] }
    expect(() => validateVpcChange({ ...change, ports: [{ ...port, mac: '02:00:00:00:00:01"' }] }, spec())).toThrow('bad network spec')
    expect(() => validateVpcChange({ ...change, removed: ['eni-1 }'] }, spec())).toThrow('bad network spec')
    expect(() => validateVpcChange({ ...change, ports: [{ ...port, groupIds: ['sg 1'] }] }, spec())).toThrow('bad network spec')
  })
})

it('keeps a VPC off the blocks that the host needs', () => {
  expect(() => refuseOverlap(spec(), '10.0.128.0/22', 'the pool')).toThrow('overlaps 10.0.128.0/22, the pool')
  refuseOverlap(spec(), '198.18.0.0/22', 'the pool')
})
