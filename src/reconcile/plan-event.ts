import { ENDED_EVENT_RETENTION_MS, eventDoc } from '../model/instance-event.ts'
import type { InstanceEventTable, InstanceTable } from '../store/schema.ts'

/** What the reconciler knows of an event when it decides. */
export interface EventFacts {
  event: InstanceEventTable
  /** Undefined when it is forgotten. */
  instance: Pick<InstanceTable, 'state' | 'launch_ms' | 'reboot_requested' | 'reboot_completed'> | undefined
  nowMs: number
}

export type EventStep =
  | { step: 'wait'; afterMs: number }
  | { step: 'stop' }
  | { step: 'reboot' }
  | { step: 'complete' }
  /** It was over long ago. */
  | { step: 'forget' }

/** How often it is looked whether what was begun has come about. */
const LOOK_AGAIN_MS = 1000

/** Decides the next step of a scheduled event; pure. */
export function planEvent({ event, instance, nowMs }: EventFacts): EventStep {
  const { notAfterMs, endedMs } = eventDoc(event)
  if (!instance) return { step: 'forget' }
  if (event.state !== 'scheduled') {
    const leftMs = (endedMs ?? event.not_before_ms) + ENDED_EVENT_RETENTION_MS - nowMs
    return leftMs > 0 ? { step: 'wait', afterMs: leftMs } : { step: 'forget' }
  }
  if (isDone(event, instance)) return { step: 'complete' }
  const isMaintenance = event.code === 'system-maintenance'
  const dueMs = isMaintenance ? Math.max(notAfterMs ?? 0, event.not_before_ms) : event.not_before_ms
  if (nowMs < dueMs) return { step: 'wait', afterMs: dueMs - nowMs }
  return isMaintenance ? { step: 'complete' } : planDue(event, instance)
}

/** Whether its owner has done already what it is for, or the cloud has. */
function isDone(event: InstanceEventTable, instance: NonNullable<EventFacts['instance']>): boolean {
  if (instance.state === 'shutting-down' || instance.state === 'terminated') return true
  // Stopped and started: EC2 takes it to another host, where nothing is planned.
  if (instance.launch_ms > event.created_ms) return true
  const { rebootGeneration } = eventDoc(event)
  return rebootGeneration !== null && instance.reboot_completed >= rebootGeneration
}

function planDue(event: InstanceEventTable, instance: NonNullable<EventFacts['instance']>): EventStep {
  const wait: EventStep = { step: 'wait', afterMs: LOOK_AGAIN_MS }
  const { begunMs, rebootGeneration } = eventDoc(event)
  const isStop = event.code === 'instance-stop' || event.code === 'instance-retirement'
  switch (instance.state) {
    case 'pending':
      return wait
    case 'running': {
      if (isStop) return begunMs === null ? { step: 'stop' } : wait
      // One that its owner has asked for is under way, or the event's own.
      return rebootGeneration !== null && instance.reboot_requested >= rebootGeneration ? wait : { step: 'reboot' }
    }
    case 'stopping':
      return isStop ? wait : { step: 'complete' }
    default:
      // Stopped: there is nothing to stop or to reboot.
      return { step: 'complete' }
  }
}
