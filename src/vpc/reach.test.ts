import { describe, expect, it } from 'vitest'
import { OPEN_ACL, portSpec, subnetSpec, vpcSpec } from '../../test/support/vpc-spec.ts'
import type { AclEntrySpec, GroupSpec, NetworkAclSpec, PortSpec, RouteSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import { reach, type Probe, type Verdict } from './reach.ts'
import { explain } from './reach-text.ts'

const anywhere = { cidr: '0.0.0.0/0' }
const all: RuleSpec = { protocol: '-1', fromPort: null, toPort: null, peer: anywhere }
const tcp = (port: number, peer: RuleSpec['peer'] = anywhere): RuleSpec => ({ protocol: 'tcp', fromPort: port, toPort: port, peer })
const group = (groupId: string, ingress: RuleSpec[], egress: RuleSpec[] = [all]): GroupSpec => ({ groupId, ingress, egress })
const entry = (ruleNumber: number, change: Partial<AclEntrySpec> = {}): AclEntrySpec =>
  ({ ruleNumber, action: 'allow', protocol: '-1', fromPort: null, toPort: null, cidr: '0.0.0.0/0', ...change })
const route = (destination: string, target: RouteSpec['target']): RouteSpec => ({ destination, target })
const toGateway = route('0.0.0.0/0', { kind: 'internet-gateway' })
const toNat = route('0.0.0.0/0', { kind: 'nat-gateway', natGatewayId: 'nat-01' })

/** Ports 1 and 2 in subnet-01, 3 in subnet-02; port n is 10.0.0.1n or 10.0.16.1n. */
const port = (n: number, change: Partial<PortSpec> = {}): PortSpec => portSpec({
  interfaceId: `eni-0${n}`, slot: n, mac: `02:00:00:00:00:0${n}`, groupIds: ['sg-01'],
  subnetId: n === 3 ? 'subnet-02' : 'subnet-01', privateIp: n === 3 ? '10.0.16.13' : `10.0.0.1${n}`, ...change,
})
const subnets = [subnetSpec('subnet-01', '10.0.0.0/20'), subnetSpec('subnet-02', '10.0.16.0/20')]
const vpc = (change: Partial<VpcSpec> = {}): VpcSpec => vpcSpec({
  vpcId: 'vpc-01', slot: 1, subnets, groups: [group('sg-01', [tcp(22)])], ports: [port(1), port(2), port(3)], ...change,
})

/** The second subnet has a route table and a network ACL of its own. */
const apart = (routes: RouteSpec[], acl: Partial<NetworkAclSpec> = {}, change: Partial<VpcSpec> = {}): VpcSpec => vpc({
  subnets: [subnets[0]!, subnetSpec('subnet-02', '10.0.16.0/20', { routeTableId: 'rtb-02', networkAclId: 'acl-02' })],
  routeTables: [{ routeTableId: 'rtb-01', routes: [toGateway] }, { routeTableId: 'rtb-02', routes }],
  networkAcls: [OPEN_ACL, { networkAclId: 'acl-02', ingress: [entry(100)], egress: [entry(100)], ...acl }],
  ...change,
})

const PUBLIC = '198.18.0.11'
const WORLD = '203.0.113.9'
const judge = (vpcs: VpcSpec | VpcSpec[], probe: Partial<Probe> & Pick<Probe, 'source' | 'destination'>): Verdict =>
  reach({ vpcs: [vpcs].flat(), publicPool: '198.18.0.0/24' }, { protocol: 6, destinationPort: 22, ...probe })
const from = (n: number) => ({ source: { interfaceId: `eni-0${n}` } })
const codes = (verdict: Verdict) => verdict.obstacles.map((each) => (each.isReply ? `answer: ${each.code}` : each.code))
const kinds = (verdict: Verdict) => verdict.forward.map((hop) => hop.kind).join(' ')

describe('within a VPC', () => {
  it('a packet needs the sender\'s groups and the receiver\'s, and within a subnet nothing else', () => {
    const verdict = judge(vpc(), { ...from(1), destination: '10.0.0.12' })
    expect(verdict.isReachable).toBe(true)
    expect(kinds(verdict)).toBe('interface security-group security-group interface')
    expect(verdict.back.map((hop) => hop.kind)).toEqual(['interface', 'interface'])
  })

  it('between subnets, the network ACLs and the route table of its way too', () => {
    const verdict = judge(vpc(), { ...from(1), destination: '10.0.16.13' })
    expect(kinds(verdict)).toBe('interface security-group network-acl route-table network-acl security-group interface')
    expect(verdict.isReachable).toBe(true)
  })

  it('what no inbound rule of a group allows is refused, and the sentence says what to add', () => {
    const verdict = judge(vpc(), { ...from(1), destination: '10.0.0.12', destinationPort: 80 })
    expect(codes(verdict)).toEqual(['ENI_SG_RULES_MISMATCH'])
    expect(explain(verdict.obstacles[0]!)).toBe(
      'no inbound rule of sg-01 matches tcp 80 from 10.0.0.11; add one that allows it')
  })

  it('a group without rules denies, and an interface without groups too', () => {
    expect(codes(judge(vpc({ groups: [group('sg-01', [])] }), { ...from(1), destination: '10.0.0.12' }))).toEqual(['ENI_SG_RULES_MISMATCH'])
    expect(codes(judge(vpc({ ports: [port(1), port(2, { groupIds: [] })] }), { ...from(1), destination: '10.0.0.12' })))
      .toEqual(['ENI_SG_RULES_MISMATCH'])
  })

  it('everything that must change is named at once', () => {
    const closed = vpc({ groups: [group('sg-01', [tcp(80)], [tcp(80)])], networkAcls: [{ networkAclId: 'acl-01', ingress: [], egress: [] }] })
    expect(codes(judge(closed, { ...from(1), destination: '10.0.16.13' }))).toEqual([
      'ENI_SG_RULES_MISMATCH', 'SUBNET_ACL_RESTRICTION', 'SUBNET_ACL_RESTRICTION', 'ENI_SG_RULES_MISMATCH',
      'answer: SUBNET_ACL_RESTRICTION', 'answer: SUBNET_ACL_RESTRICTION',
    ])
  })

  it('a rule that names a group lets in its members by all their private addresses', () => {
    const groups = [group('sg-01', [tcp(22, { groupId: 'sg-02' })]), group('sg-02', [])]
    const ports = [port(1), port(2), port(3, { groupIds: ['sg-02'], secondary: [{ privateIp: '10.0.16.33', publicIp: null }] })]
    expect(judge(vpc({ groups, ports }), { ...from(3), destination: '10.0.0.12' }).isReachable).toBe(true)
    expect(judge(vpc({ groups, ports }), { source: { interfaceId: 'eni-03', address: '10.0.16.33' }, destination: '10.0.0.12' }).isReachable)
      .toBe(true)
    expect(judge(vpc({ groups, ports }), { ...from(1), destination: '10.0.0.12' }).isReachable).toBe(false)
  })

  it('an interface sends from its own addresses only, unless its source/destination check is off', () => {
    const forged = { source: { interfaceId: 'eni-01', address: '10.0.0.99' }, destination: '10.0.0.12' }
    expect(codes(judge(vpc(), forged))).toEqual(['ENI_SOURCE_DEST_CHECK_RESTRICTION'])
    const unchecked = vpc({ ports: [port(1, { sourceDestCheck: false }), port(2)] })
    // It leaves, but the answer goes to nobody.
    expect(codes(judge(unchecked, forged))).toEqual(['answer: NO_POSSIBLE_DESTINATION'])
  })

  it('nobody is at an address that no interface has', () => {
    expect(codes(judge(vpc(), { ...from(1), destination: '10.0.0.200' }))).toEqual(['NO_POSSIBLE_DESTINATION'])
    expect(codes(judge(vpc(), { source: { interfaceId: 'eni-09' }, destination: '10.0.0.12' }))).toEqual(['BAD_STATE'])
  })

  it('an instance reaches itself whatever the rules are', () => {
    expect(judge(vpc({ groups: [group('sg-01', [], [])] }), { ...from(1), destination: '10.0.0.11' }).isReachable).toBe(true)
  })

  it('ICMP rules go by type and code', () => {
    const ping = (rule: Partial<RuleSpec>) => judge(
      vpc({ groups: [group('sg-01', [{ protocol: 'icmp', fromPort: 8, toPort: 0, peer: anywhere, ...rule }])] }),
      { ...from(1), destination: '10.0.0.12', protocol: 1 }).isReachable
    expect([ping({}), ping({ toPort: -1 }), ping({ fromPort: -1, toPort: -1 }), ping({ protocol: '1' })]).toEqual([true, true, true, true])
    expect([ping({ fromPort: 13 }), ping({ toPort: 1 }), ping({ protocol: 'tcp' })]).toEqual([false, false, false])
  })
})

describe('network ACLs', () => {
  it('judge by the first entry that matches, in the order of their numbers', () => {
    const deny = entry(90, { action: 'deny', protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '10.0.0.0/28' })
    const verdict = judge(apart([], { ingress: [deny, entry(100)] }), { ...from(2), destination: '10.0.16.13' })
    expect(codes(verdict)).toEqual(['SUBNET_ACL_RESTRICTION'])
    expect(explain(verdict.obstacles[0]!)).toBe(
      'rule 90 (deny tcp 22 from 10.0.0.0/28) of acl-02 at subnet-02 denies it; '
      + 'allow it in an inbound rule with a lower number: tcp 22 from 10.0.0.12')
    expect(judge(apart([], { ingress: [entry(80), deny] }), { ...from(2), destination: '10.0.16.13' }).isReachable).toBe(true)
  })

  it('are stateless: the answer must be allowed to the client\'s ephemeral port', () => {
    const only = (fromPort: number, toPort: number) => [entry(100, { protocol: 'tcp', fromPort, toPort })]
    expect(judge(apart([], { egress: only(1024, 65_535) }), { ...from(1), destination: '10.0.16.13' }).isReachable).toBe(true)
    const verdict = judge(apart([], { egress: only(22, 22) }), { ...from(1), destination: '10.0.16.13' })
    expect(codes(verdict)).toEqual(['answer: SUBNET_ACL_RESTRICTION'])
    expect(explain(verdict.obstacles[0]!)).toMatch(/^the answer does not come back: no outbound rule of acl-02 .*do not remember/)
    const sourcePort = 22
    expect(judge(apart([], { egress: only(22, 22) }), { ...from(1), destination: '10.0.16.13', sourcePort }).isReachable).toBe(true)
  })

  it('do not judge what stays within a subnet', () => {
    const shut = vpc({ networkAcls: [{ networkAclId: 'acl-01', ingress: [], egress: [] }] })
    expect(judge(shut, { ...from(1), destination: '10.0.0.12' }).isReachable).toBe(true)
  })
})

describe('the world', () => {
  const published = { ports: [port(1, { publicIp: PUBLIC }), port(2), port(3)] }

  it('is reached by an internet gateway from a public address only', () => {
    expect(judge(vpc(published), { ...from(1), destination: WORLD }).isReachable).toBe(true)
    expect(codes(judge(vpc(published), { ...from(2), destination: WORLD }))).toEqual(['IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS'])
  })

  it('reaches a public address as groups and network ACLs allow, and the answer needs a route to the gateway', () => {
    const outside = { source: { outside: WORLD }, destination: PUBLIC }
    expect(judge(vpc(published), outside).isReachable).toBe(true)
    expect(codes(judge(vpc(published), { ...outside, destinationPort: 80 }))).toEqual(['ENI_SG_RULES_MISMATCH'])
    const unrouted = vpc({ ...published, routeTables: [{ routeTableId: 'rtb-01', routes: [] }] })
    expect(codes(judge(unrouted, outside))).toEqual(['answer: NO_ROUTE_TO_DESTINATION'])
    expect(codes(judge(vpc({ ...published, hasInternetGateway: false }), outside))).toEqual(['IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS'])
    expect(codes(judge(vpc(published), { ...outside, destination: '10.0.0.11' }))).toEqual(['IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS'])
    expect(codes(judge(vpc(published), { source: { outside: '10.0.0.12' }, destination: PUBLIC }))).toEqual(['GATEWAY_REJECTS_SPOOFED_TRAFFIC'])
  })

  it('has the public addresses of other VPCs, and those that nobody has lead nowhere', () => {
    const other = vpcSpec({
      vpcId: 'vpc-02', slot: 2, subnets, groups: [group('sg-09', [tcp(22, { cidr: `${PUBLIC}/32` })])],
      ports: [port(4, { publicIp: '198.18.0.14', groupIds: ['sg-09'] })],
    })
    const verdict = judge([vpc(published), other], { ...from(1), destination: '198.18.0.14' })
    expect(verdict.isReachable).toBe(true)
    expect(kinds(verdict)).toBe(
      'interface security-group network-acl route-table internet-gateway internet-gateway network-acl security-group interface')
    const elsewhere = { ...other, cidrs: ['10.9.0.0/16'], ports: [] }
    expect(codes(judge([vpc(published), elsewhere], { ...from(1), destination: '10.9.0.14' })))
      .toEqual(['IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS'])
    expect(codes(judge([vpc(published), other], { ...from(1), destination: '198.18.0.200' })))
      .toEqual(['IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS'])
  })

  it('takes what goes to a public address out and in again, so that a group is no longer seen', () => {
    const named = {
      groups: [group('sg-01', [tcp(22, { groupId: 'sg-01' })])],
      ports: [port(1, { publicIp: PUBLIC }), port(2, { publicIp: '198.18.0.12' })],
    }
    expect(judge(vpc(named), { ...from(1), destination: '10.0.0.12' }).isReachable).toBe(true)
    expect(codes(judge(vpc(named), { ...from(1), destination: '198.18.0.12' }))).toEqual(['ENI_SG_RULES_MISMATCH'])
  })
})

describe('routes', () => {
  it('the longest prefix wins, and the VPC\'s own blocks before all', () => {
    const routes = [toGateway, route('203.0.113.0/24', { kind: 'blackhole' }), route('10.0.0.0/20', { kind: 'blackhole' })]
    const there = apart(routes, {}, { ports: [port(1), port(3, { publicIp: PUBLIC })] })
    expect(codes(judge(there, { ...from(3), destination: WORLD }))).toEqual(['BAD_STATE_ROUTE'])
    expect(judge(there, { ...from(3), destination: '192.0.2.1' }).isReachable).toBe(true)
    expect(judge(there, { ...from(3), destination: '10.0.0.11' }).isReachable).toBe(true)
  })

  it('without one nothing leaves', () => {
    const verdict = judge(apart([]), { ...from(3), destination: WORLD })
    expect(explain(verdict.obstacles[0]!)).toBe('rtb-02, which subnet-02 uses, has no route to 203.0.113.9; add one')
  })

  it('to a gateway, NAT gateway, interface or peering that is gone drop', () => {
    for (const target of [
      { kind: 'nat-gateway', natGatewayId: 'nat-09' }, { kind: 'interface', interfaceId: 'eni-09' }, { kind: 'peering', peeringId: 'pcx-09' },
    ] as const) {
      expect(codes(judge(apart([route('0.0.0.0/0', target)]), { ...from(3), destination: WORLD }))).toEqual(['BAD_STATE_ROUTE'])
    }
    expect(codes(judge(apart([toGateway], {}, { hasInternetGateway: false }), { ...from(3), destination: WORLD }))).toEqual(['BAD_STATE_ROUTE'])
  })
})

describe('a NAT gateway', () => {
  const nat = {
    natGatewayId: 'nat-01', interfaceId: 'eni-0a', subnetId: 'subnet-01', slot: 9, mac: '02:00:00:00:00:0a',
    privateIp: '10.0.0.50', publicIp: '198.18.0.50',
  }
  const withNat = (change: Partial<VpcSpec> = {}, routes = [toNat]) => apart(routes, {}, { natGateways: [nat], ...change })

  it('lets a private subnet out, and its answers back', () => {
    const verdict = judge(withNat(), { ...from(3), destination: WORLD })
    expect(codes(verdict)).toEqual([])
    expect(kinds(verdict)).toBe(
      'interface security-group network-acl route-table network-acl nat-gateway network-acl route-table internet-gateway')
    expect(verdict.back.map((hop) => hop.kind).join(' ')).toBe(
      'internet-gateway network-acl nat-gateway network-acl route-table network-acl interface')
  })

  it('lets nothing in', () => {
    expect(codes(judge(withNat(), { source: { outside: WORLD }, destination: '198.18.0.50' }))).toEqual(['NGW_DEST_ADDRESS_PRESERVATION'])
    expect(codes(judge(withNat(), { ...from(1), destination: '10.0.0.50' }))).toEqual(['NGW_DEST_ADDRESS_PRESERVATION'])
  })

  it('is judged by the network ACL of its own subnet, for answers too', () => {
    const acl = (change: Partial<NetworkAclSpec>): VpcSpec => {
      const base = withNat()
      return { ...base, networkAcls: base.networkAcls.map((each) => (each.networkAclId === 'acl-01' ? { ...each, ...change } : each)) }
    }
    const high = { protocol: 'tcp', fromPort: 1024, toPort: 65_535 }
    expect(codes(judge(acl({ ingress: [entry(1, { cidr: '10.0.0.0/16' })] }), { ...from(3), destination: WORLD })))
      .toEqual(['answer: SUBNET_ACL_RESTRICTION'])
    expect(judge(acl({ ingress: [entry(1, { cidr: '10.0.0.0/16' }), entry(2, high)] }), { ...from(3), destination: WORLD }).isReachable).toBe(true)
  })

  it('needs a public address and a route to the internet gateway', () => {
    expect(codes(judge(withNat({ natGateways: [{ ...nat, publicIp: null }] }), { ...from(3), destination: WORLD })))
      .toEqual(['IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS'])
    const circle = withNat({ natGateways: [{ ...nat, subnetId: 'subnet-02', privateIp: '10.0.16.50' }] })
    expect(codes(judge(circle, { ...from(3), destination: WORLD }))).toEqual(['NO_POSSIBLE_DESTINATION'])
  })

  it('passes TCP, UDP and ICMP only', () => {
    expect(codes(judge(withNat(), { ...from(3), destination: WORLD, protocol: 47 }))).toEqual(['PROTOCOL_RESTRICTION'])
  })

  it('does not carry the answers of what came in by the internet gateway', () => {
    const there = withNat({ ports: [port(3, { publicIp: PUBLIC })] })
    expect(codes(judge(there, { source: { outside: WORLD }, destination: PUBLIC }))).toEqual(['answer: NGW_SOURCE_ADDRESS_REASSIGN'])
  })
})

describe('an instance that routes', () => {
  const via = (change: Partial<PortSpec>) => apart(
    [route('0.0.0.0/0', { kind: 'interface', interfaceId: 'eni-01' })], {},
    { groups: [group('sg-01', [all])], ports: [port(1, change), port(3, { publicIp: PUBLIC })] })

  it('must have its source/destination check off', () => {
    expect(codes(judge(via({}), { ...from(3), destination: WORLD }))).toEqual(['ENI_SOURCE_DEST_CHECK_RESTRICTION'])
  })

  it('gets and sends on what is for others, as its groups allow', () => {
    const peering = { peeringId: 'pcx-01', slot: 1, peerVpcSlot: 2, side: 'requester' as const, peerVpcId: 'vpc-02', peerCidrs: ['10.1.0.0/16'] }
    const there = via({ sourceDestCheck: false })
    const near: VpcSpec = {
      ...there, peerings: [peering],
      routeTables: there.routeTables.map((table) => (table.routeTableId === 'rtb-01'
        ? { ...table, routes: [route('10.1.0.0/16', { kind: 'peering', peeringId: 'pcx-01' })] } : table)),
    }
    const far = vpcSpec({
      vpcId: 'vpc-02', slot: 2, cidrs: ['10.1.0.0/16'], subnets: [subnetSpec('subnet-09', '10.1.0.0/20')], groups: [group('sg-09', [all])],
      ports: [port(4, { privateIp: '10.1.0.14', subnetId: 'subnet-09', groupIds: ['sg-09'] })],
      peerings: [{ ...peering, side: 'accepter', peerVpcId: 'vpc-01', peerCidrs: ['10.0.0.0/16'] }],
      routeTables: [{ routeTableId: 'rtb-01', routes: [route('10.0.0.0/16', { kind: 'peering', peeringId: 'pcx-01' })] }],
    })
    const verdict = judge([near, far], { ...from(3), destination: '10.1.0.14' })
    // The answer comes straight back: the VPC's own blocks come before all routes.
    expect(codes(verdict)).toEqual([])
    expect(kinds(verdict)).toBe('interface security-group network-acl route-table network-acl security-group interface '
      + 'security-group network-acl route-table peering network-acl security-group interface')
  })

  it('must translate what it sends to an internet gateway', () => {
    const verdict = judge(via({ sourceDestCheck: false, publicIp: '198.18.0.12' }), { ...from(3), destination: WORLD })
    expect(codes(verdict)).toEqual(['IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS'])
    expect(explain(verdict.obstacles[0]!)).toMatch(/^eni-01 sends on what is from 10.0.16.13, .* translate it/)
  })

  it('does not send round in a circle', () => {
    const circle = vpc({
      ports: [port(1, { sourceDestCheck: false }), port(2)], groups: [group('sg-01', [all])],
      routeTables: [{ routeTableId: 'rtb-01', routes: [route('0.0.0.0/0', { kind: 'interface', interfaceId: 'eni-01' })] }],
    })
    expect(codes(judge(circle, { ...from(2), destination: WORLD }))).toEqual(['NO_POSSIBLE_DESTINATION'])
  })
})

describe('a peering', () => {
  const peering = (side: 'requester' | 'accepter') => ({
    peeringId: 'pcx-01', slot: 1, peerVpcSlot: 1, side,
    peerVpcId: side === 'requester' ? 'vpc-02' : 'vpc-01', peerCidrs: [side === 'requester' ? '10.1.0.0/16' : '10.0.0.0/16'],
  })
  const toPeer = (cidr: string) => ({ routeTableId: 'rtb-01', routes: [route(cidr, { kind: 'peering', peeringId: 'pcx-01' })] })
  const near = (cidr = '10.1.0.0/16') => vpc({ peerings: [peering('requester')], routeTables: [toPeer(cidr)] })
  const far = (change: Partial<VpcSpec> = {}) => vpcSpec({
    vpcId: 'vpc-02', slot: 2, cidrs: ['10.1.0.0/16'], subnets: [subnetSpec('subnet-09', '10.1.0.0/20')],
    ports: [port(4, { privateIp: '10.1.0.14', subnetId: 'subnet-09', groupIds: ['sg-09'] })],
    groups: [group('sg-09', [tcp(22, { groupId: 'sg-01' })])], foreignGroups: [{ groupId: 'sg-01', addresses: ['10.0.0.11'] }],
    peerings: [peering('accepter')], routeTables: [toPeer('10.0.0.0/16')], ...change,
  })

  it('joins two VPCs by routes on both sides, and groups are seen across it', () => {
    const verdict = judge([near(), far()], { ...from(1), destination: '10.1.0.14' })
    expect(codes(verdict)).toEqual([])
    expect(kinds(verdict)).toBe('interface security-group network-acl route-table peering network-acl security-group interface')
    expect(codes(judge([near(), far()], { ...from(2), destination: '10.1.0.14' }))).toEqual(['ENI_SG_RULES_MISMATCH'])
    const noWayBack = far({ routeTables: [{ routeTableId: 'rtb-01', routes: [] }] })
    expect(codes(judge([near(), noWayBack], { ...from(1), destination: '10.1.0.14' }))).toEqual(['answer: NO_ROUTE_TO_DESTINATION'])
  })

  it('leads to the other VPC\'s block only, not to its resolver, and not when the other end is gone', () => {
    expect(codes(judge([near('0.0.0.0/0'), far()], { ...from(1), destination: WORLD }))).toEqual(['PCX_REQUIRES_ADDRESS_IN_VPC_CIDR'])
    expect(codes(judge([near(), far()], { ...from(1), destination: '10.1.0.2', protocol: 17, destinationPort: 53 })))
      .toEqual(['NO_POSSIBLE_DESTINATION'])
    expect(codes(judge([near(), far({ peerings: [] })], { ...from(1), destination: '10.1.0.14' }))).toEqual(['NO_POSSIBLE_DESTINATION'])
  })
})

describe('what the VPC itself answers', () => {
  const shut = vpc({ groups: [group('sg-01', [], [])], networkAcls: [{ networkAclId: 'acl-01', ingress: [], egress: [] }] })
  const asks = (destination: string, protocol: number, destinationPort: number) =>
    judge(shut, { ...from(1), destination, protocol, destinationPort })

  it('is judged by no group and no network ACL', () => {
    expect(asks('10.0.0.2', 17, 53).isReachable).toBe(true)
    expect(asks('169.254.169.253', 6, 53).isReachable).toBe(true)
    expect(asks('169.254.169.254', 6, 80).isReachable).toBe(true)
    expect(asks('169.254.169.123', 17, 123).isReachable).toBe(true)
    expect(judge(shut, { ...from(1), destination: '10.0.0.1', protocol: 1 }).isReachable).toBe(true)
  })

  it('is nothing else', () => {
    expect(codes(asks('10.0.0.2', 6, 22))).toEqual(['PROTOCOL_RESTRICTION'])
    expect(codes(asks('169.254.169.254', 6, 443))).toEqual(['PROTOCOL_RESTRICTION'])
    expect(codes(asks('169.254.1.1', 6, 80))).toContain('NO_ROUTE_TO_DESTINATION')
  })

  it('the resolver is off without DNS support', () => {
    const verdict = judge({ ...shut, hasDns: false }, { ...from(1), destination: '10.0.0.2', protocol: 17, destinationPort: 53 })
    expect(explain(verdict.obstacles[0]!)).toMatch(/the resolver of vpc-01 is turned off/)
  })
})
