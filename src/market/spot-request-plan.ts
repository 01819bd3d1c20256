import type { InstanceState, StateReason } from '../model/instance.ts'
import { wasInterrupted, type Interruption } from '../model/spot-interruption.ts'
import { ENDED_RETENTION_MS, notScheduledYet, toStatus, type SpotRequestMove, type SpotStatusCode } from '../model/spot-request.ts'
import type { SpotRequestTable } from '../store/schema.ts'

/** What decides what becomes of a request. */
export interface SpotRequestFacts {
  row: Pick<SpotRequestTable, 'state' | 'status_code' | 'type' | 'valid_from_ms' | 'valid_until_ms' | 'status_ms' | 'fleet_id'>
  /** When it ended; null before. */
  endedMs: number | null
  /** That fulfils it, or did last; null for none, and for one that is forgotten. */
  instance: { state: InstanceState; stateReason: StateReason | null; hasRun: boolean; interruption: Interruption | null } | null
  nowMs: number
}

/** The next thing to be done for a request. */
export type SpotRequestStep =
  /** Nothing until then; null: until something else happens. */
  | { kind: 'wait'; untilMs: number | null }
  | { kind: 'move'; to: SpotRequestMove; endsInstance?: true }
  /** The notice is over. */
  | { kind: 'interrupt' }
  /** The instance was stopped by an interruption, and nobody may start it again. */
  | { kind: 'end-instance' }
  | { kind: 'forget' }

/** What is to be done for a request now. Pure: the same facts give the same step. */
export function planSpotRequest(facts: SpotRequestFacts): SpotRequestStep {
  const { row, nowMs, endedMs, instance } = facts
  switch (row.state) {
    case 'open': return planOpen(facts)
    case 'active': return planActive(facts)
    case 'disabled': return planDisabled(facts)
    case 'cancelled': {
      const step = instance ? planCancelled(facts, instance) : undefined
      if (step) return step
    }
  }
  if (row.status_code === 'request-canceled-and-instance-running') return { kind: 'move', to: toStatus('cancelled', 'instance-terminated-by-user') }
  const forgetMs = (endedMs ?? nowMs) + ENDED_RETENTION_MS
  return nowMs < forgetMs ? wait(forgetMs) : { kind: 'forget' }
}

type Instance = NonNullable<SpotRequestFacts['instance']>

const wait = (untilMs: number | null): SpotRequestStep => ({ kind: 'wait', untilMs })

/** How often it is looked whether a constraint can be fulfilled by now: hosts, zones and types come with a restart of a node. */
const CONSTRAINT_RETRY_MS = 5 * 60_000

function planOpen({ row: { valid_from_ms: fromMs, valid_until_ms: untilMs, status_code: status, status_ms: statusMs }, nowMs }: SpotRequestFacts): SpotRequestStep {
  if (isOver(untilMs, nowMs)) return { kind: 'move', to: toStatus('cancelled', 'schedule-expired') }
  if (fromMs !== null && nowMs < fromMs) return status === 'not-scheduled-yet' ? wait(fromMs) : { kind: 'move', to: notScheduledYet(fromMs) }
  if (status === 'constraint-not-fulfillable' && nowMs < statusMs + CONSTRAINT_RETRY_MS) {
    return wait(Math.min(untilMs ?? Infinity, statusMs + CONSTRAINT_RETRY_MS))
  }
  if (status === 'not-scheduled-yet' || status === 'constraint-not-fulfillable') return { kind: 'move', to: toStatus('open', 'pending-evaluation') }
  return wait(untilMs)
}

function isOver(untilMs: number | null, nowMs: number): boolean {
  return untilMs !== null && nowMs >= untilMs
}

function planActive(facts: SpotRequestFacts): SpotRequestStep {
  const { row, instance, nowMs } = facts
  if (!instance || instance.state === 'terminated') return { kind: 'move', to: afterEnd(facts) }
  if (instance.state === 'stopped') return { kind: 'move', to: toStatus('disabled', stoppedBy(instance)) }
  // It is told of when it has come to an end.
  if (instance.state === 'stopping' || instance.state === 'shutting-down') return wait(null)
  const { interruption } = instance
  if (interruption) return nowMs >= interruption.actionMs ? { kind: 'interrupt' } : wait(interruption.actionMs)
  if (isOver(row.valid_until_ms, nowMs)) return { kind: 'move', to: toStatus('cancelled', 'request-canceled-and-instance-running') }
  if (row.status_code !== 'fulfilled') return { kind: 'move', to: toStatus('active', 'fulfilled') }
  return wait(row.valid_until_ms)
}

function planDisabled(facts: SpotRequestFacts): SpotRequestStep {
  const { row, instance, nowMs } = facts
  if (!instance || instance.state === 'terminated') return { kind: 'move', to: afterEnd(facts) }
  if (instance.state === 'pending' || instance.state === 'running') return { kind: 'move', to: toStatus('active', 'fulfilled') }
  if (instance.state !== 'stopped') return wait(null)
  if (!isOver(row.valid_until_ms, nowMs)) return wait(row.valid_until_ms)
  if (row.status_code === 'instance-stopped-by-user') return { kind: 'move', to: toStatus('cancelled', 'instance-stopped-by-user') }
  return { kind: 'move', to: toStatus('cancelled', 'instance-terminated-by-service'), endsInstance: true }
}

/** A cancelled request is told of the end of its instance; undefined where there is nothing more to be told. */
function planCancelled({ row, nowMs }: SpotRequestFacts, instance: Instance): SpotRequestStep | undefined {
  const { state, interruption } = instance
  if (state === 'pending' || state === 'running') {
    if (interruption) return nowMs >= interruption.actionMs ? { kind: 'interrupt' } : wait(interruption.actionMs)
    return wait(null)
  }
  if (state === 'stopping' || state === 'shutting-down') return wait(null)
  if (state === 'stopped') return wasInterrupted(instance) ? { kind: 'end-instance' } : wait(null)
  const isTold = row.status_code !== 'request-canceled-and-instance-running' && row.status_code !== 'instance-stopped-by-user'
  return isTold ? undefined : { kind: 'move', to: toStatus('cancelled', endedBy(instance)) }
}

/**
 * A persistent request wants another instance when its has ended, whoever ended it; a one-time one has had its. One of a fleet has, too:
 * it is the fleet that launches another instance, with a request of its own, or does not because it wants fewer, or is deleted.
 */
function afterEnd({ row, instance }: SpotRequestFacts): SpotRequestMove {
  const status = instance ? endedBy(instance) : 'instance-terminated-by-user'
  // What cannot be launched is not launched for ever: EC2 closes such a request, too, whatever its type.
  if (row.type === 'one-time' || row.fleet_id !== null || status === 'system-error') return toStatus('closed', status)
  const isByUser = status === 'instance-terminated-by-user' || status === 'instance-terminated-by-schedule'
  return isByUser ? toStatus('open', 'pending-evaluation') : toStatus('open', status)
}

type EndStatus = Extract<SpotStatusCode, `instance-terminated-${string}` | 'system-error'>

function endedBy(instance: Instance): Exclude<EndStatus, 'instance-terminated-by-service'> {
  const { stateReason, interruption, hasRun } = instance
  if (wasInterrupted(instance) && interruption) {
    if (interruption.cause === 'by-price') return 'instance-terminated-by-price'
    if (interruption.cause === 'fleet-excess') return 'instance-terminated-by-user'
    return interruption.cause === 'no-capacity' ? 'instance-terminated-no-capacity' : 'instance-terminated-launch-group-constraint'
  }
  if (stateReason?.code === 'Server.ScheduledStop') return 'instance-terminated-by-schedule'
  return !hasRun && stateReason?.code.endsWith('.InternalError') ? 'system-error' : 'instance-terminated-by-user'
}

function stoppedBy(instance: Instance): SpotStatusCode {
  if (!wasInterrupted(instance)) return 'instance-stopped-by-user'
  return instance.interruption?.cause === 'by-price' ? 'instance-stopped-by-price' : 'instance-stopped-no-capacity'
}
