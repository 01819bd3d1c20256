import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AclEntrySpec, RuleSpec, VpcSpec } from '../../src/network/driver.ts'
import { protocolName } from '../../src/vpc/reach-filters.ts'
import { explain } from '../../src/vpc/reach-text.ts'
import { reach, type Verdict } from '../../src/vpc/reach.ts'
import type { Obstacle } from '../../src/vpc/reach-walk.ts'
import { randomProbe, randomVpcs, worldOf } from '../support/random-vpcs.ts'

const all: RuleSpec = { protocol: '-1', fromPort: null, toPort: null, peer: { cidr: '0.0.0.0/0' } }
const everything = fc.record({ vpcs: randomVpcs, probe: randomProbe })
const RUNS = { numRuns: 1000 }

/** The VPCs with every group, or network ACL, changed. */
const withGroups = (vpcs: VpcSpec[], change: (vpc: VpcSpec) => VpcSpec['groups']) => vpcs.map((vpc) => ({ ...vpc, groups: change(vpc) }))

/** What the sentence of an obstacle says to do, where it is to allow something. */
function heed(vpcs: VpcSpec[], { code, packet, direction, holder, networkAclId }: Obstacle): VpcSpec[] {
  const address = direction === 'ingress' ? packet.source : packet.destination
  const [fromPort, toPort] = packet.icmp ? [packet.icmp.type, packet.icmp.code] : [packet.destinationPort, packet.destinationPort]
  const allowed = { protocol: protocolName(packet.protocol), fromPort, toPort }
  const key = direction ?? 'ingress'
  if (code === 'ENI_SG_RULES_MISMATCH') {
    const rule: RuleSpec = { ...allowed, peer: { cidr: `${address}/32` } }
    return withGroups(vpcs, (vpc) => vpc.groups.map((group) => (
      group.groupId === holder?.port.groupIds[0] ? { ...group, [key]: [...group[key], rule] } : group)))
  }
  const entry: AclEntrySpec = { ...allowed, cidr: `${address}/32`, ruleNumber: 1, action: 'allow' }
  return vpcs.map((vpc) => ({
    ...vpc, networkAcls: vpc.networkAcls.map((acl) => (acl.networkAclId === networkAclId ? { ...acl, [key]: [entry, ...acl[key]] } : acl)),
  }))
}

const isFilter = ({ code }: Obstacle) => code === 'ENI_SG_RULES_MISMATCH' || code === 'SUBNET_ACL_RESTRICTION'
const hasPassed = ({ forward }: Verdict) => forward.some((hop) => hop.kind === 'security-group')

describe('reachability', () => {
  it('is not lost by a rule that allows more', () => {
    let reached = 0
    fc.assert(fc.property(everything, ({ vpcs, probe }) => {
      if (!reach(worldOf(vpcs), probe).isReachable) return
      reached++
      const wider = withGroups(vpcs, (vpc) => vpc.groups.map((group) => (
        { ...group, ingress: [...group.ingress, all], egress: [...group.egress, all] })))
      expect(reach(worldOf(wider), probe).isReachable).toBe(true)
    }), RUNS)
    // Else the property says nothing.
    expect(reached).toBeGreaterThan(RUNS.numRuns / 20)
  })

  it('ends where groups have no rules, but for what an instance says to itself', () => {
    fc.assert(fc.property(everything, ({ vpcs, probe }) => {
      const closed = withGroups(vpcs, (vpc) => vpc.groups.map(({ groupId }) => ({ groupId, ingress: [], egress: [] })))
      const verdict = reach(worldOf(closed), probe)
      expect(hasPassed(verdict)).toBe(false)
      if (verdict.packet.source !== verdict.packet.destination) expect(verdict.isReachable).toBe(false)
    }), RUNS)
  })

  it('stays within a VPC without routes', () => {
    fc.assert(fc.property(everything, ({ vpcs, probe }) => {
      const unrouted = vpcs.map((vpc) => ({ ...vpc, routeTables: vpc.routeTables.map((table) => ({ ...table, routes: [] })) }))
      const { isReachable, forward, back } = reach(worldOf(unrouted), probe)
      if (!isReachable) return
      expect(new Set([...forward, ...back].map((hop) => hop.vpc.vpcId)).size).toBe(1)
      expect([...forward, ...back].map((hop) => hop.kind)).not.toContain('internet-gateway')
    }), RUNS)
  })

  it('comes of doing what the explanations of filters say', () => {
    fc.assert(fc.property(everything, ({ vpcs, probe }) => {
      const { obstacles } = reach(worldOf(vpcs), probe)
      const filters = obstacles.filter(isFilter)
      const heeded = filters.reduce(heed, vpcs)
      const left = reach(worldOf(heeded), probe).obstacles
      expect(left.filter(isFilter)).toEqual([])
      expect(left.map((each) => each.code)).toEqual(obstacles.filter((each) => !isFilter(each)).map((each) => each.code))
    }), RUNS)
  })

  it('is told in sentences without gaps, and changes nothing', () => {
    fc.assert(fc.property(everything, ({ vpcs, probe }) => {
      const before = structuredClone(vpcs)
      const { obstacles, isReachable } = reach(worldOf(vpcs), probe)
      expect(isReachable).toBe(obstacles.length === 0)
      for (const obstacle of obstacles) expect(explain(obstacle)).not.toMatch(/undefined|null|NaN| {2}/)
      expect(vpcs).toEqual(before)
    }), RUNS)
  })
})
