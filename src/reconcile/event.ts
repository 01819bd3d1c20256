import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { instanceDoc, moveInstance, serviceInitiated, STATE_REASONS } from '../model/instance.ts'
import { endEvent, eventDoc, type InstanceEventDoc } from '../model/instance-event.ts'
import { stopsAs, withoutNotice } from '../model/spot-interruption.ts'
import type { InstanceEventTable, InstanceTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { again, DONE, recording, type Reconciler } from './loop.ts'
import { planEvent, type EventStep } from './plan-event.ts'

export interface EventReconcilerOptions {
  store: Store
  clock: Clock
  log: Logger
}

/**
 * Brings scheduled events about: it writes the intent that a caller of StopInstances or RebootInstances would, and the
 * instance's reconciler does the rest. Protection against API calls does not hold it up, as in EC2. All of a step
 * is one transaction, which decides anew on the rows as they are in it.
 */
export function createEventReconciler({ store, clock, log }: EventReconcilerOptions): Reconciler {
  return {
    async reconcile(eventId) {
      const step = await store.read((db) => decide(db, eventId, clock.now()))
      if (!step) return DONE
      if (step.step === 'wait') return again(step.afterMs)
      if (step.step !== 'forget') log.info('a scheduled event', { id: eventId, step: step.step })
      return recording(`event.${step.step}`, (db) => take(db, eventId, clock.now()), again(0))
    },
  }
}

async function decide(db: Db, eventId: string, nowMs: number): Promise<EventStep | undefined> {
  const facts = await load(db, eventId)
  return facts && planEvent({ ...facts, nowMs })
}

async function load(
  db: Db,
  eventId: string,
): Promise<{ event: InstanceEventTable; instance: InstanceTable | undefined } | undefined> {
  const event = await db.selectFrom('instance_events').selectAll().where('event_id', '=', eventId).executeTakeFirst()
  if (!event) return undefined
  const instance = await db.selectFrom('instances').selectAll().where('instance_id', '=', event.instance_id).executeTakeFirst()
  return { event, instance }
}

async function take(db: Db, eventId: string, nowMs: number): Promise<void> {
  const facts = await load(db, eventId)
  if (!facts) return
  const { event, instance } = facts
  const { step } = planEvent({ event, instance, nowMs })
  if (step === 'complete') await endEvent(db, event, 'completed', nowMs)
  if (step === 'forget') await db.deleteFrom('instance_events').where('event_id', '=', eventId).execute()
  if (step === 'stop' && instance) await stop(db, event, instance, nowMs)
  if (step === 'reboot' && instance) await reboot(db, event, instance, nowMs)
}

async function stop(db: Db, event: InstanceEventTable, instance: InstanceTable, nowMs: number): Promise<void> {
  await moveInstance(db, instance, await stopsAs(db, instance), nowMs, {
    ...withoutNotice(instanceDoc(instance)),
    stateReason: STATE_REASONS.scheduledStop, stateTransitionReason: serviceInitiated(nowMs), force: false, hibernate: false,
  })
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
  await change(db, event, { begunMs: nowMs })
}

async function reboot(db: Db, event: InstanceEventTable, instance: InstanceTable, nowMs: number): Promise<void> {
  const rebootGeneration = instance.reboot_requested + 1
  await db
    .updateTable('instances').set({ reboot_requested: rebootGeneration })
    .where('instance_id', '=', instance.instance_id).execute()
  await enqueue(db, { kind: 'instance', id: instance.instance_id, hostId: instance.host_id }, nowMs)
  await change(db, event, { begunMs: nowMs, rebootGeneration })
}

async function change(db: Db, event: InstanceEventTable, doc: Partial<InstanceEventDoc>): Promise<void> {
  await db
    .updateTable('instance_events').set({ doc: JSON.stringify({ ...eventDoc(event), ...doc }) })
    .where('event_id', '=', event.event_id).execute()
}
