import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FleetState } from '../model/fleet.ts'
import { DEFAULT_ON_DEMAND, DEFAULT_SPOT, NO_PROGRESS, type FleetProgress, type FleetSpec } from '../model/fleet-spec.ts'
import { chooseExcess, planFleet, sizeOf, type FleetMember, type FleetSituation } from './fleet-plan.ts'

const NOW_MS = 1_800_000_000_000

const spec = (change: Partial<FleetSpec> = {}): FleetSpec => ({
  type: 'maintain', sources: [], target: { onDemand: 0, spot: 2, unitType: 'units' }, onDemand: DEFAULT_ON_DEMAND, spot: DEFAULT_SPOT,
  terminatesExcess: true, terminatesWithExpiration: false, replacesUnhealthy: false, validFromMs: null, validUntilMs: null, launchTags: [], ...change,
})
const member = (instanceId: string, change: Partial<FleetMember> = {}): FleetMember => ({
  instanceId, lifecycle: 'spot', typeName: 't3.micro', zone: 'us-east-1a', state: 'running', weight: 1, launchedMs: NOW_MS, isAtRisk: false,
  isUnhealthy: false, notice: null, rests: null, ...change,
})
const plan = ({ state = 'active', nowMs = NOW_MS, ...change }: Partial<Omit<FleetSituation, 'spec' | 'progress'>> & { spec?: Partial<FleetSpec>; progress?: Partial<FleetProgress> }) =>
  planFleet({ state, nowMs, members: change.members ?? [], spec: spec(change.spec), progress: { ...NO_PROGRESS, ...change.progress } })

describe('a fleet that is maintained', () => {
  it('becomes active, and launches all of it', () => {
    expect(plan({ state: 'submitted' })).toMatchObject({
      moves: [{ to: 'active', subType: 'active' }], missing: { onDemand: 0, spot: 2 }, progress: { activity: 'pending_fulfillment' },
    })
  })

  it('replaces what has ended, and counts what is about to run', () => {
    expect(plan({ members: [member('i-1', { state: 'pending' }), member('i-2', { state: 'shutting-down' }), member('i-3', { state: 'stopped' })] }))
      .toMatchObject({ missing: { spot: 1 }, progress: { fulfilledSpot: 1 } })
    expect(plan({ members: [member('i-1'), member('i-2')] })).toMatchObject({ missing: { onDemand: 0, spot: 0 }, nextMs: null, progress: { activity: 'fulfilled' } })
  })

  it('does not take one kind for the other', () => {
    const target = { onDemand: 1, spot: 1, unitType: 'units' } as const
    expect(plan({ spec: { target }, members: [member('i-1'), member('i-2')] })).toMatchObject({ missing: { onDemand: 1, spot: 0 }, excess: { onDemand: 0, spot: 1 } })
  })

  it('waits after launches that failed', () => {
    const backoff = { failures: 1, untilMs: NOW_MS + 5, told: [] }
    expect(plan({ progress: { backoff } })).toMatchObject({ missing: { spot: 0 }, nextMs: NOW_MS + 5, progress: { activity: 'error' } })
    expect(plan({ progress: { backoff }, nowMs: NOW_MS + 5 })).toMatchObject({ missing: { spot: 2 } })
  })

  it('waits for no launch any more once it is deleted', () => {
    const backoff = { failures: 1, untilMs: NOW_MS - 5, told: [] }
    for (const state of ['deleted', 'deleted_running', 'deleted_terminating'] as const) {
      expect(plan({ state, progress: { backoff }, members: [member('i-1')] })).toMatchObject({ nextMs: null, progress: { backoff: null } })
    }
  })

  it('terminates what is too much only where that is its policy', () => {
    const members = [member('i-1'), member('i-2'), member('i-3')]
    expect(plan({ members })).toMatchObject({ excess: { spot: 1 }, progress: { activity: 'pending_termination' } })
    expect(plan({ members, spec: { terminatesExcess: false } })).toMatchObject({ excess: { spot: 0 }, progress: { activity: 'fulfilled' } })
  })

  it('replaces unhealthy spot instances where it is told to', () => {
    const members = [member('i-1', { isUnhealthy: true }), member('i-2')]
    expect(plan({ members })).toMatchObject({ end: [], missing: { spot: 0 } })
    expect(plan({ members, spec: { replacesUnhealthy: true } })).toMatchObject({ end: ['i-1'], missing: { spot: 1 } })
  })

  it('launches a replacement for what is likely to be interrupted, and terminates that after its delay', () => {
    const risky = member('i-1', { isAtRisk: true })
    expect(plan({ members: [risky, member('i-2')] })).toMatchObject({ missing: { spot: 0 } })
    const rebalance = (terminationDelayMs: number | null) => ({ spot: { ...DEFAULT_SPOT, rebalance: { terminationDelayMs } } })
    expect(plan({ spec: rebalance(120_000), members: [risky, member('i-2')] })).toMatchObject({ missing: { spot: 1 }, end: [], progress: { replacedMs: {} } })
    const members = [risky, member('i-2'), member('i-3')]
    const replaced = plan({ spec: rebalance(120_000), members })
    expect(replaced).toMatchObject({ missing: { spot: 0 }, excess: { spot: 0 }, end: [], progress: { replacedMs: { 'i-1': NOW_MS } } })
    expect(plan({ spec: rebalance(120_000), members, progress: replaced.progress, nowMs: NOW_MS + 119_999 })).toMatchObject({ end: [], nextMs: NOW_MS + 120_000 })
    expect(plan({ spec: rebalance(120_000), members, progress: replaced.progress, nowMs: NOW_MS + 120_000 })).toMatchObject({ end: ['i-1'] })
    expect(plan({ spec: rebalance(null), members, progress: replaced.progress, nowMs: NOW_MS + 9e9 })).toMatchObject({ end: [], excess: { spot: 0 } })
  })
})

describe('a fleet of type request', () => {
  it('launches once what it never had', () => {
    const type = 'request'
    expect(plan({ spec: { type }, progress: { launchedSpot: 1 } })).toMatchObject({ missing: { spot: 1 } })
    expect(plan({ spec: { type }, progress: { launchedSpot: 2 } })).toMatchObject({ missing: { spot: 0 }, end: [], progress: { activity: 'fulfilled' } })
  })
})

describe('the time of a fleet', () => {
  it('begins and ends', () => {
    expect(plan({ state: 'submitted', spec: { validFromMs: NOW_MS + 1 } })).toMatchObject({ moves: [], missing: { spot: 0 }, nextMs: NOW_MS + 1 })
    expect(plan({ spec: { validUntilMs: NOW_MS + 1 } })).toMatchObject({ isExpired: false, nextMs: NOW_MS + 1 })
    const members = [member('i-1')]
    expect(plan({ spec: { validUntilMs: NOW_MS }, members })).toMatchObject({ isExpired: true, moves: [{ to: 'deleted_running' }], end: [] })
    expect(plan({ spec: { validUntilMs: NOW_MS, terminatesWithExpiration: true }, members })).toMatchObject({
      isExpired: true, moves: [{ to: 'deleted_terminating' }], end: ['i-1'],
    })
    expect(plan({ spec: { validUntilMs: NOW_MS } })).toMatchObject({ moves: [{ to: 'deleted_running' }, { to: 'deleted' }] })
  })

  it('is over when a deleted fleet has no instance left', () => {
    const state: FleetState = 'deleted_terminating'
    const members = [member('i-1', { state: 'shutting-down' }), member('i-2', { state: 'stopped' })]
    expect(plan({ state, members })).toMatchObject({ moves: [], end: ['i-2'], missing: { spot: 0 } })
    expect(plan({ state })).toMatchObject({ moves: [{ to: 'deleted' }] })
    expect(plan({ state: 'deleted_running', members })).toMatchObject({ moves: [], end: [] })
    expect(plan({ state: 'deleted' })).toMatchObject({ moves: [], nextMs: null })
  })
})

describe('who goes', () => {
  it('is who comes first in the order, the newest of equals, and nobody without whom the target would not be reached', () => {
    const members = [member('i-1', { launchedMs: 1 }), member('i-2', { launchedMs: 2 }), member('i-3', { weight: 4, launchedMs: 3 })]
    expect(chooseExcess(members, 2, () => [0]).map((each) => each.instanceId)).toEqual(['i-2', 'i-1'])
    expect(chooseExcess(members, 4, ({ weight }) => [-weight]).map((each) => each.instanceId)).toEqual(['i-3'])
  })

  it('leaves pools even where that is the order', () => {
    const members = ['a', 'a', 'a', 'b'].map((zone, index) => member(`i-${index}`, { zone, launchedMs: index }))
    expect(chooseExcess(members, 2, (_member, heldUnits) => [-heldUnits]).map((each) => each.instanceId)).toEqual(['i-2', 'i-1'])
  })

  it('never takes a fleet below its target', () => {
    const members = fc.array(fc.integer({ min: 1, max: 6 }).map((weight) => member('i', { weight })), { maxLength: 20 })
    fc.assert(fc.property(members, fc.integer({ min: 0, max: 40 }), (some, target) => {
      const all = some.map((each, index) => ({ ...each, instanceId: `i-${index}` }))
      const { spot } = sizeOf(all)
      const gone = chooseExcess(all, Math.max(0, spot - target), () => [0])
      const left = all.filter((each) => !gone.includes(each))
      expect(sizeOf(left).spot).toBeGreaterThanOrEqual(Math.min(spot, target))
      if (left.length > 0 && spot > target) expect(sizeOf(left).spot - Math.min(...left.map((each) => each.weight))).toBeLessThan(target)
    }))
  })
})
