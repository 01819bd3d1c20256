import { describe, expect, it } from 'vitest'
import { STATE_CODES, STATE_REASONS, type InstanceState } from '../model/instance.ts'
import { SPOT_REQUEST_TRANSITIONS, SPOT_STATUSES, type SpotRequestState, type SpotStatusCode } from '../model/spot-request.ts'
import { planSpotRequest, type SpotRequestFacts } from './spot-request-plan.ts'

const NOW_MS = 1_000_000
const INSTANCE_STATES = Object.keys(STATE_CODES) as InstanceState[]

/** Every combination of what a request may be and of what its instance may be. */
function* everything(): Generator<SpotRequestFacts> {
  const ends = [null, NOW_MS - 1, NOW_MS + 1]
  const reasons = [null, STATE_REASONS.userShutdown, STATE_REASONS.spotTermination, STATE_REASONS.spotShutdown, STATE_REASONS.serverError]
  for (const [status, { states }] of Object.entries(SPOT_STATUSES) as [SpotStatusCode, { states: readonly SpotRequestState[] }][]) {
    for (const state of states) for (const [type, fleetId] of [['one-time', null], ['persistent', null], ['persistent', 'fleet-1']] as const) for (const untilMs of ends) for (const fromMs of ends) {
      const row = { state, status_code: status, type, fleet_id: fleetId, valid_from_ms: fromMs, valid_until_ms: untilMs }
      const common = { row, endedMs: ['closed', 'cancelled', 'failed'].includes(state) ? NOW_MS - 5 : null, nowMs: NOW_MS }
      yield { ...common, instance: null }
      for (const instanceState of INSTANCE_STATES) for (const stateReason of reasons) for (const actionMs of ends) {
        const interruption = actionMs === null ? null : { action: 'stop' as const, cause: 'by-price' as const, noticeMs: 0, actionMs }
        yield { ...common, instance: { state: instanceState, stateReason, hasRun: stateReason !== STATE_REASONS.serverError, interruption } }
      }
    }
  }
}

describe('What becomes of a spot request', () => {
  it('is always a move that the tables of states and statuses have', () => {
    let moves = 0
    for (const facts of everything()) {
      const step = planSpotRequest(facts)
      if (step.kind !== 'move') continue
      moves += 1
      const states: readonly SpotRequestState[] = SPOT_STATUSES[step.to.status].states
      if (!SPOT_REQUEST_TRANSITIONS[facts.row.state].includes(step.to.state) || !states.includes(step.to.state)) expect.fail(JSON.stringify({ facts, step }))
    }
    expect(moves).toBeGreaterThan(1000)
  })

  it('comes to rest: after a few moves there is something to wait for', () => {
    for (const start of everything()) {
      let facts = start
      for (let steps = 0; ; steps++) {
        const step = planSpotRequest(facts)
        if (step.kind !== 'move') break
        if (steps > 3) expect.fail(JSON.stringify({ start, step }))
        const { state, status } = step.to
        const isEnd = ['closed', 'cancelled', 'failed'].includes(state)
        facts = {
          ...facts, row: { ...facts.row, state, status_code: status }, endedMs: isEnd ? NOW_MS : null, instance: state === 'open' ? null : facts.instance,
        }
      }
    }
  })

  it('is never to wait for a time that is past', () => {
    for (const facts of everything()) {
      const step = planSpotRequest(facts)
      if (step.kind === 'wait' && step.untilMs !== null && step.untilMs <= NOW_MS) expect.fail(JSON.stringify({ facts, step }))
    }
  })
})
