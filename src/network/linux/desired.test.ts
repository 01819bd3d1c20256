import { describe, expect, it } from 'vitest'
import type { VpcSpec } from '../driver.ts'
import { portSpec, subnetSpec, vpcSpec } from '../../../test/support/vpc-spec.ts'
import { DesiredVpc } from './desired.ts'
import { gatewayOf, resolversOf } from './frame.ts'
import { createNames } from './names.ts'

const names = createNames('0abc')
const empty = vpcSpec({ vpcId: 'vpc-1', slot: 1, subnets: [subnetSpec('subnet-1', '10.0.0.0/20')] })
const group = { groupId: 'sg-1', ingress: [], egress: [] }
const port = portSpec({
  interfaceId: 'eni-1', subnetId: 'subnet-1', slot: 1, mac: '02:00:00:00:00:01', privateIp: '10.0.0.5', groupIds: ['sg-1'],
})
const desiredOf = (spec: VpcSpec) => new DesiredVpc(spec, { names, present: new Set(), publicInterface: null })
const factsOf = (desired: DesiredVpc) => desired.facts.inside.map((each) => each.set).toSorted()

describe('what a VPC should have in the kernel', () => {
  it('has the same marker for the same rules and another for others', () => {
    const { marker } = desiredOf(empty)
    expect(desiredOf(structuredClone(empty)).marker).toBe(marker)
    expect(desiredOf({ ...empty, groups: [group] }).marker).not.toBe(marker)
  })

  it('makes a set for a group that is only named as a peer', () => {
    const ingress = [{ protocol: '-1', fromPort: null, toPort: null, peer: { groupId: 'sg-9' } }]
    const rules = desiredOf({ ...empty, groups: [{ ...group, ingress }] }).wholeRules
    expect(rules).toContain('set m_sg_9 {\ntype ipv4_addr\n}')
    expect(rules).toContain('chain gi_sg_1 {\nip saddr @m_sg_9 accept\n}')
  })

  it('is after a change as if it had been made anew', () => {
    const desired = desiredOf({ ...empty, groups: [group] })
    desired.apply({ ports: [port], removed: [], groups: [] })
    const whole = desiredOf({ ...empty, groups: [group], ports: [port] })
    expect(desired.marker).toBe(whole.marker)
    expect(factsOf(desired)).toEqual(factsOf(whole))
    desired.apply({ ports: [], removed: ['eni-1'], groups: [] })
    expect(desired.marker).toBe(desiredOf({ ...empty, groups: [group] }).marker)
  })

  it('changes a part of a large group where one rule changes', () => {
    const rules = Array.from({ length: 1000 }, (_, index) => (
      { protocol: 'tcp', fromPort: index, toPort: index, peer: { cidr: '10.0.0.0/8' } }))
    const desired = desiredOf({ ...empty, groups: [{ ...group, ingress: rules }] })
    const changed = { ...group, ingress: [...rules.slice(1), { ...rules[0]!, fromPort: 5000, toPort: 5001 }] }
    const text = desired.apply({ ports: [], removed: [], groups: [changed] }).rules ?? ''
    expect(text).toContain('tcp dport 5000-5001 accept')
    expect(text.split('\n').length).toBeLessThan(150)
    expect(desired.marker).toBe(desiredOf({ ...empty, groups: [changed] }).marker)
  })

  it('changes nothing where nothing changes', () => {
    const desired = desiredOf({ ...empty, groups: [group], ports: [port] })
    expect(desired.apply({ ports: [structuredClone(port)], removed: [], groups: [group] }))
      .toEqual({ rules: null, devices: [], inside: [], host: [] })
  })

  it('leads a route to an interface only while that forwards', () => {
    const routes = [{ destination: '192.168.0.0/16', target: { kind: 'interface' as const, interfaceId: 'eni-1' } }]
    const desired = desiredOf({ ...empty, groups: [group], routeTables: [{ routeTableId: 'rtb-01', routes }] })
    const routeOf = () => factsOf(desired).find((each) => each.includes('192.168.0.0/16'))
    expect(routeOf()).toContain('blackhole')
    desired.apply({ ports: [port], removed: [], groups: [] })
    expect(routeOf()).toContain('blackhole')
    desired.apply({ ports: [{ ...port, sourceDestCheck: false }], removed: [], groups: [] })
    expect(routeOf()).toContain(`via 10.0.0.5 dev ${names.tap(1)} onlink`)
    desired.apply({ ports: [], removed: ['eni-1'], groups: [] })
    expect(routeOf()).toContain('blackhole')
  })

  it('refuses an address that another port has', () => {
    const desired = desiredOf({ ...empty, groups: [group], ports: [port] })
    const other = { ...port, interfaceId: 'eni-2', slot: 2, mac: '02:00:00:00:00:02' }
    expect(() => desired.apply({ ports: [other], removed: [], groups: [] })).toThrow('bad network spec')
  })

  it('gives an address from one port to another', () => {
    const ports = [{ ...port, publicIp: '198.18.4.9' }, { ...port, interfaceId: 'eni-2', slot: 2, mac: '02:00:00:00:00:02', privateIp: '10.0.0.6' }]
    const desired = desiredOf({ ...empty, groups: [group], ports })
    const moved = [{ ...ports[1]!, publicIp: '198.18.4.9' }, { ...ports[0]!, publicIp: null }]
    desired.apply({ ports: moved, removed: [], groups: [] })
    expect(desired.marker).toBe(desiredOf({ ...empty, groups: [group], ports: moved }).marker)
  })
})

it('puts the router at base + 1 and the resolver at base + 2', () => {
  expect(gatewayOf('172.31.16.0/20')).toBe('172.31.16.1')
  expect(resolversOf({ cidrs: ['172.31.0.0/16', '10.0.0.0/16'] })).toEqual(['172.31.0.2', '169.254.169.253'])
})
