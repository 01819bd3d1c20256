import { messageOf } from '../core/errors.ts'
import { changeInstanceDoc, instanceDoc, moveInstance, STATE_REASONS, TERMINATED_RETENTION_MS, userInitiated, type InstanceDoc } from '../model/instance.ts'
import { wakeEvents } from '../model/instance-event.ts'
import { releaseSlot } from '../model/slot.ts'
import { stopsAs, withoutNotice } from '../model/spot-interruption.ts'
import { hostZone } from '../model/zone.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { restWorkOf } from './attached-volumes.ts'
import { attend, attentionOf } from './attend.ts'
import { destroyThen } from './end-machine.ts'
import { handOverInstance } from './hand-over.ts'
import { hibernate } from './hibernate.ts'
import { lacksPrimaryPort, PORT_WAIT_MS } from './interfaces.ts'
import { loadInstance, type InstanceReconcilerOptions, type LoadedInstance } from './load-instance.ts'
import { forgetMemory, loadMemory, release } from './load-memory.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'
import { machineSpec, noteColdStart } from './machine-spec.ts'
import { noteStartFailure } from './note-start-failure.ts'
import { planInstance, POWER_BUTTON_INTERVAL_MS, SHUTDOWN_DEADLINE_MS, type InstanceStep } from './plan-instance.ts'
import { afterStart, recordRunning } from './record-running.ts'
import { recover, recoveryOf } from './recover.ts'
import { purgeInstance } from './release-instance.ts'
import { settleVolumes } from './settle-volumes.ts'

/** How long a reboot waits before it asks again whether the layers that it is for are there. */
const REBOOT_WAIT_MS = 1000

/** When they cannot be made, as on a full disk, the reboot comes all the same, and the snapshots some time after it. */
const MOST_REBOOT_WAIT_MS = 60_000

/** How soon a machine is looked at again that may have ended with the power of its zone, unless that is put in force before. */
const ZONE_WAIT_MS = 1000

/** Owns the machine of an instance: the only caller of the hypervisor. */
export function createInstanceReconciler(options: InstanceReconcilerOptions): Reconciler {
  return { reconcile: (id) => reconcile(options, id) }
}

async function reconcile(options: InstanceReconcilerOptions, instanceId: string): Promise<Outcome> {
  const loaded = await options.store.read((db) => loadInstance(db, instanceId))
  if (!loaded) {
    await options.hypervisor.remove(instanceId)
    return DONE
  }
  const { row, doc, interfaces, volumes } = loaded
  if (row.host_id !== options.hostId) return handOverInstance(options, options, instanceId)
  // The host that it was on before marks it due when it has let go of it; nobody waits for himself.
  if (doc.movedFrom && doc.movedFrom !== options.hostId) return DONE
  const step = planInstance({
    state: row.state,
    doc,
    rebootRequested: row.reboot_requested,
    rebootCompleted: row.reboot_completed,
    inStateMs: options.clock.now() - Math.max(row.state_ms, options.awakeSinceMs()),
    isEquipped: interfaces.every((each) => each.status === 'detaching' || each.ready === 1) &&
      volumes.every((each) => each.row.ready === 1 && each.next?.state !== 'making'),
    hasBrokenVolume: volumes.some((each) => each.row.state === 'error'),
    attention: attentionOf(loaded),
    rest: restWorkOf(volumes),
    machine: await options.hypervisor.observe(instanceId),
    recovery: recoveryOf(options, loaded),
  })
  return take(options, loaded, step)
}

async function take(options: InstanceReconcilerOptions, loaded: LoadedInstance, step: InstanceStep): Promise<Outcome> {
  const { hypervisor } = options
  const { row } = loaded
  const id = row.instance_id
  switch (step.step) {
    case 'none':
      return DONE
    case 'start':
      return start(options, loaded)
    case 'record-running':
      return recordRunning(options, loaded)
    case 'attend':
      return attend(options, loaded, step.to)
    case 'settle-volumes':
      return settleVolumes(options, loaded)
    case 'give-up':
      return giveUp(options, row, step)
    case 'press-power-button':
      await hypervisor.requestShutdown(id)
      return again(step.afterMs)
    case 'destroy-then':
      return destroyThen(options, row, step.to)
    case 'load-memory':
      return loadMemory(options, loaded)
    case 'release':
      return release(options, loaded)
    case 'hibernate':
      return hibernate(options, loaded)
    case 'forget-memory':
      return forgetMemory(options, loaded)
    case 'recover':
      return recover(options, loaded)
    case 'reboot':
      return reboot(options, loaded)
    case 'resume':
      return resume(options, loaded, step.afterMs)
    case 'record-resumed':
      options.log.info('a guest goes on: the disk has room again', { id })
      return recording('instance.resumed', (db) => changeInstanceDoc(db, id, { outOfSpaceSinceMs: null }))
    case 'record-shutdown':
      return recordShutdown(options, loaded, step)
    case 'purge':
      return purge(options, row)
  }
}

async function start(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { hypervisor, log } = options
  const { row, doc: { memory } } = loaded
  const isLost = Boolean(memory) && memory?.state !== 'given-up'
  if (isLost) log.warn('the memory of a hibernated guest is lost: it boots', { id: row.instance_id })
  let noted = loaded.doc
  try {
    noted = await noteColdStart(options, loaded)
    await hypervisor.ensureRunning(await machineSpec(options, loaded, noted))
  } catch (error) {
    log.warn('machine did not start', { id: row.instance_id, error: messageOf(error) })
    await noteStartFailure(options, loaded)
    throw error
  }
  return recordRunning(options, { ...loaded, doc: noted })
}

function giveUp(
  options: InstanceReconcilerOptions,
  row: InstanceTable,
  step: Extract<InstanceStep, { step: 'give-up' }>,
): Promise<Outcome> {
  const stateReason = step.cause === 'volume' ? STATE_REASONS.volumeFailure : STATE_REASONS.serverError
  return destroyThen(options, row, step.to, { stateReason })
}

/**
 * A reboot that was asked for: the guest shuts down and is started again in the same place. A
 * guest that does not listen is ended hard after the deadline, as EC2 does. Snapshots that wait for the guest to be
 * down have their layers ready before, so that it is no longer down than for any reboot.
 */
async function reboot(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { store, clock, hypervisor } = options
  const { row, doc, volumes, interfaces } = loaded
  const id = row.instance_id
  const machine = await hypervisor.observe(id)
  const pid = machine.status === 'absent' ? null : machine.pid
  const isEarly = volumes.some(({ row: { freeze }, next }) =>
    freeze === 'down' && next?.state === 'making' && clock.now() - next.created_ms < MOST_REBOOT_WAIT_MS)
  if (machine.status === 'running' && isEarly) {
    // The volume's reconciler marks the instance due when it is there.
    return again(REBOOT_WAIT_MS)
  }
  const begun = doc.reboot ?? { begunMs: clock.now(), pid }
  if (!doc.reboot) {
    await store.transaction('instance.reboot-begun', (db) => changeInstanceDoc(db, id, { reboot: begun }))
  }
  if (machine.status === 'running' && pid === begun.pid) {
    if (clock.now() - Math.max(begun.begunMs, options.awakeSinceMs()) < SHUTDOWN_DEADLINE_MS.reboot) {
      await hypervisor.requestShutdown(id)
      return again(POWER_BUTTON_INTERVAL_MS)
    }
    await hypervisor.ensureStopped(id)
  }
  const isUp = machine.status === 'running' && pid !== begun.pid
  if (!isUp) {
    if (restWorkOf(volumes) === 'before-start') return settleVolumes(options, loaded)
    if (lacksPrimaryPort(interfaces)) return again(PORT_WAIT_MS)
    const noted = await noteColdStart(options, loaded)
    await hypervisor.ensureRunning(await machineSpec(options, loaded, noted))
  }
  return recording('instance.rebooted', async (db) => {
    await db
      .updateTable('instances').set({ reboot_completed: row.reboot_requested }).where('instance_id', '=', id).execute()
    await changeInstanceDoc(db, row.instance_id, { reboot: null, ...afterStart(options, loaded) })
    await wakeEvents(db, row, clock.now())
  }, again(0))
}

/** A guest without space: said once, and tried again until the disk has room. */
async function resume(options: InstanceReconcilerOptions, { row, doc }: LoadedInstance, afterMs: number): Promise<Outcome> {
  const { clock, hypervisor, log } = options
  const id = row.instance_id
  await hypervisor.resume(id)
  if (doc.outOfSpaceSinceMs !== null) return again(afterMs)
  log.warn('a guest stands still: the disk of the host is full; free some space', { id })
  return recording('instance.out-of-space', (db) =>
    changeInstanceDoc(db, id, { outOfSpaceSinceMs: clock.now() }), again(afterMs))
}

/**
 * A machine that is not there and may have ended with the power of its zone has not gone down: it is started again when that is
 * healed. A guest that was seen to be down did go down.
 */
async function recordShutdown(
  { clock, hypervisor, log }: InstanceReconcilerOptions,
  { row, zone }: LoadedInstance,
  step: Extract<InstanceStep, { step: 'record-shutdown' }>,
): Promise<Outcome> {
  const isDown = step.cause === 'guest'
  if (!isDown && !zone.isSettled) return again(ZONE_WAIT_MS)
  // Power that has gone asks no guest to shut down.
  if (step.cause === 'host-failure') await hypervisor.ensureStopped(row.instance_id)
  const reason = { guest: STATE_REASONS.guestShutdown, failure: STATE_REASONS.hostFailure, 'host-failure': STATE_REASONS.hostRestart }[step.cause]
  if (!isDown) log.warn('machine ended unexpectedly', { id: row.instance_id, cause: step.cause })
  return recording('instance.guest-shutdown', async (db) => {
    if (!isDown && !(await hostZone(db, row.host_id)).isSettled) return
    const to = step.to === 'stopping' ? await stopsAs(db, row) : step.to
    await moveInstance(db, row, to, clock.now(), {
      // A guest that goes down before it is interrupted has gone by itself.
      ...(isDown ? withoutNotice(await docNow(db, row)) : {}),
      recovery: null,
      stateReason: reason,
      stateTransitionReason: isDown ? userInitiated(clock.now()) : reason.message,
    })
  }, again(0))
}

/** What is written of it meanwhile, such as a notice. */
async function docNow(db: Db, { instance_id: id }: InstanceTable): Promise<InstanceDoc> {
  return instanceDoc(await db.selectFrom('instances').select('doc').where('instance_id', '=', id).executeTakeFirstOrThrow())
}

async function purge({ clock, hypervisor }: InstanceReconcilerOptions, row: InstanceTable): Promise<Outcome> {
  const leftMs = row.state_ms + TERMINATED_RETENTION_MS - clock.now()
  if (leftMs > 0) return again(leftMs)
  await hypervisor.remove(row.instance_id)
  return recording('instance.purge', async (db) => {
    if (await purgeInstance(db, row.instance_id)) await releaseSlot(db, row.node_id, 'machine', row.instance_id)
  })
}
