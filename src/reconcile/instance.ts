import { maxInterfacesOf } from '../catalogue/instance-types.ts'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Hypervisor, MachineSpec } from '../hypervisor/driver.ts'
import type { Keys } from '../keys/keys.ts'
import {
  changeInstanceDoc, instanceDoc, moveInstance, STATE_REASONS, TERMINATED_RETENTION_MS, userInitiated, type InstanceDoc,
} from '../model/instance.ts'
import { releaseSlot } from '../model/slot.ts'
import { inDiskOrder } from '../model/volume.ts'
import type { Network } from '../network/driver.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, InterfaceTable, VolumeTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { diskSpecs } from './disks.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'
import {
  cutOff, interfaceChanges, INTERFACES_INTERVAL_MS, isSecondary, nicSpecs, recordInterfaces,
} from './interfaces.ts'
import { planInstance, POWER_BUTTON_INTERVAL_MS, SHUTDOWN_DEADLINE_MS, type InstanceStep } from './plan-instance.ts'
import { purgeInstance, releaseAttachments } from './release-instance.ts'
import { shrinkToHost, type HostLimits } from './shrink.ts'

export interface InstanceReconcilerOptions {
  store: Store
  clock: Clock
  log: Logger
  hypervisor: Hypervisor
  /** Only for names and paths; interfaces and volumes have reconcilers of their own. */
  network: Pick<Network, 'tapOf' | 'netnsPathOf'>
  volumes: Pick<Volumes, 'pathOf'>
  keys: Pick<Keys, 'unwrap'>
  limits: HostLimits
  /** When the machine last woke from sleep; deadlines of guests that were under way begin anew then. */
  awakeSinceMs: () => number
}

interface Loaded {
  row: InstanceTable
  doc: InstanceDoc
  interfaces: InterfaceTable[]
  volumes: VolumeTable[]
  vpcSlot: number | undefined
}

/** Owns the machine of an instance: the only caller of the hypervisor. */
export function createInstanceReconciler(options: InstanceReconcilerOptions): Reconciler {
  return { reconcile: (id) => reconcile(options, id) }
}

async function reconcile(options: InstanceReconcilerOptions, instanceId: string): Promise<Outcome> {
  const loaded = await options.store.read((db) => load(db, instanceId))
  if (!loaded) {
    await options.hypervisor.remove(instanceId)
    return DONE
  }
  const { row, doc, interfaces, volumes } = loaded
  const step = planInstance({
    state: row.state,
    doc,
    rebootRequested: row.reboot_requested,
    rebootCompleted: row.reboot_completed,
    inStateMs: options.clock.now() - Math.max(row.state_ms, options.awakeSinceMs()),
    isEquipped: [...interfaces.filter((each) => each.status !== 'detaching'), ...volumes].every((each) => each.ready === 1),
    hasSecondaryInterfaces: interfaces.some(isSecondary),
    machine: await options.hypervisor.observe(instanceId),
  })
  return take(options, loaded, step)
}

const instanceOf = prepared((db, instanceId: string) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId))
const interfacesOf = prepared((db, instanceId: string) =>
  db.selectFrom('interfaces').selectAll().where('instance_id', '=', instanceId).orderBy('device_index'))
const volumesOf = prepared((db, instanceId: string) =>
  db.selectFrom('volumes').selectAll().where('instance_id', '=', instanceId))
const vpcSlotOf = prepared((db, hostId: string, vpcId: string) =>
  db.selectFrom('slots').select('slot').where('host_id', '=', hostId).where('kind', '=', 'vpc').where('owner_id', '=', vpcId))

async function load(db: Db, instanceId: string): Promise<Loaded | undefined> {
  const [row] = await instanceOf(db, instanceId)
  if (!row) return undefined
  const [slot] = row.vpc_id === null ? [] : await vpcSlotOf(db, row.host_id, row.vpc_id)
  const doc = instanceDoc(row)
  return {
    row,
    doc,
    interfaces: await interfacesOf(db, instanceId),
    volumes: inDiskOrder(await volumesOf(db, instanceId), doc.rootDeviceName),
    vpcSlot: slot?.slot,
  }
}

async function take(options: InstanceReconcilerOptions, loaded: Loaded, step: InstanceStep): Promise<Outcome> {
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
    case 'ensure-interfaces':
      return ensureInterfaces(options, loaded)
    case 'give-up':
      return destroyThen(options, row, step.to, { stateReason: STATE_REASONS.serverError })
    case 'press-power-button':
      await hypervisor.requestShutdown(id)
      return again(step.afterMs)
    case 'destroy-then':
      return destroyThen(options, row, step.to)
    case 'reboot':
      return reboot(options, loaded)
    case 'resume':
      return resume(options, loaded, step.afterMs)
    case 'record-resumed':
      options.log.info('a guest goes on: the disk has room again', { id })
      return recording('instance.resumed', (db) => changeInstanceDoc(db, id, { outOfSpaceSinceMs: null }))
    case 'record-shutdown':
      return recordShutdown(options, row, step)
    case 'purge':
      return purge(options, row)
  }
}

async function start(options: InstanceReconcilerOptions, loaded: Loaded): Promise<Outcome> {
  const { store, hypervisor, log } = options
  const { row } = loaded
  try {
    const pinned = await pinHardware(options, loaded)
    await hypervisor.ensureRunning(await machineSpec(options, loaded, pinned))
  } catch (error) {
    log.warn('machine did not start', { id: row.instance_id, error: messageOf(error) })
    await store.transaction('instance.start-failed', (db) =>
      changeInstanceDoc(db, row.instance_id, { startFailures: loaded.doc.startFailures + 1 }))
    throw error
  }
  return recordRunning(options, loaded)
}

/** A reboot that was asked for before the instance stopped has come about with its start. */
function recordRunning({ clock }: InstanceReconcilerOptions, { row, interfaces }: Loaded): Outcome {
  return recording('instance.running', async (db) => {
    const moved = await moveInstance(db, row, 'running', clock.now(), { hasRun: true, startFailures: 0, reboot: null })
    if (!moved || row.reboot_requested === row.reboot_completed) return
    await db
      .updateTable('instances').set({ reboot_completed: row.reboot_requested }).where('instance_id', '=', row.instance_id).execute()
  },
  // Some interfaces may have come or gone while it was starting.
  interfaces.some(isSecondary) ? again(0) : DONE)
}

/** Plugs in what was attached to a running machine, and has the guest give up what was detached. */
async function ensureInterfaces({ clock, hypervisor, network }: InstanceReconcilerOptions, { row, interfaces }: Loaded): Promise<Outcome> {
  const plugged = await hypervisor.ensureNics(row.instance_id, nicSpecs(network, interfaces), cutOff(interfaces))
  const changes = interfaceChanges(interfaces, plugged)
  const outcome = changes.isSettled ? DONE : again(INTERFACES_INTERVAL_MS)
  if (changes.attached.length + changes.detached.length === 0) return outcome
  return recording('instance.interfaces', (db) => recordInterfaces(db, row, changes, clock.now()), outcome)
}

/** Writes down, before the first start, the hardware that must not change later. */
async function pinHardware(options: InstanceReconcilerOptions, { row, doc }: Loaded): Promise<InstanceDoc> {
  const promised = { vcpus: row.vcpus, memoryMib: row.memory_mib }
  const real = shrinkToHost(promised, options.limits)
  const isShrunk = real.vcpus < promised.vcpus || real.memoryMib < promised.memoryMib
  const pinned: InstanceDoc = {
    ...doc,
    platform: doc.platform ?? (await options.hypervisor.platform()),
    granted: isShrunk ? real : null,
  }
  if (JSON.stringify(pinned) === JSON.stringify(doc)) return doc
  await options.store.transaction('instance.pin', async (db) => {
    await changeInstanceDoc(db, row.instance_id, { platform: pinned.platform, granted: pinned.granted })
    if (isShrunk) {
      const value = `${real.vcpus} of ${promised.vcpus} vCPUs, ${real.memoryMib} of ${promised.memoryMib} MiB`
      await db
        .insertInto('tags')
        .values({ account_id: row.account_id, resource_type: 'instance', resource_id: row.instance_id, key: 'hearth:shrunk', value })
        .onConflict((conflict) => conflict.columns(['resource_id', 'account_id', 'key']).doUpdateSet({ value }))
        .execute()
    }
  })
  return pinned
}

async function machineSpec(options: InstanceReconcilerOptions, loaded: Loaded, doc: InstanceDoc): Promise<MachineSpec> {
  const { network } = options
  const { row } = loaded
  if (row.slot === null || doc.platform === null || loaded.vpcSlot === undefined) {
    throw new Error(`${row.instance_id} has no slot on this host`)
  }
  return {
    instanceId: row.instance_id,
    uuid: doc.uuid,
    slot: row.slot,
    vcpus: doc.granted?.vcpus ?? row.vcpus,
    memoryMib: doc.granted?.memoryMib ?? row.memory_mib,
    platform: doc.platform,
    disks: await diskSpecs(options, loaded.volumes),
    nics: nicSpecs(network, loaded.interfaces),
    // A type that was changed may allow fewer than there are.
    maxNics: Math.max(maxInterfacesOf(row.instance_type), loaded.interfaces.length),
    netnsPath: network.netnsPathOf(loaded.vpcSlot),
  }
}

/** Ends the machine, then in one transaction everything that ends with it. */
async function destroyThen(
  { clock, hypervisor }: InstanceReconcilerOptions,
  row: InstanceTable,
  to: 'stopped' | 'terminated',
  change: Partial<InstanceDoc> = {},
): Promise<Outcome> {
  await hypervisor.ensureStopped(row.instance_id)
  if (row.state === to) return DONE
  return recording(`instance.${to}`, async (db) => {
    const moved = await moveInstance(db, row, to, clock.now(), { force: false, ...change })
    if (moved) await releaseAttachments(db, moved, clock.now())
  }, again(0))
}

/**
 * A reboot that was asked for: the guest shuts down and is started again in the same place. A
 * guest that does not listen is ended hard after the deadline, as EC2 does.
 */
async function reboot(options: InstanceReconcilerOptions, loaded: Loaded): Promise<Outcome> {
  const { store, clock, hypervisor } = options
  const { row, doc } = loaded
  const id = row.instance_id
  const machine = await hypervisor.observe(id)
  const pid = machine.status === 'absent' ? null : machine.pid
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
  await hypervisor.ensureRunning(await machineSpec(options, loaded, doc))
  return recording('instance.rebooted', async (db) => {
    await db
      .updateTable('instances').set({ reboot_completed: row.reboot_requested }).where('instance_id', '=', id).execute()
    await changeInstanceDoc(db, row.instance_id, { reboot: null })
  }, again(0))
}

/** A guest without space: said once, and tried again until the disk has room. */
async function resume(options: InstanceReconcilerOptions, { row, doc }: Loaded, afterMs: number): Promise<Outcome> {
  const { clock, hypervisor, log } = options
  const id = row.instance_id
  await hypervisor.resume(id)
  if (doc.outOfSpaceSinceMs !== null) return again(afterMs)
  log.warn('a guest stands still: the disk of the host is full; free some space', { id })
  return recording('instance.out-of-space', (db) =>
    changeInstanceDoc(db, id, { outOfSpaceSinceMs: clock.now() }), again(afterMs))
}

function recordShutdown(
  { clock, log }: InstanceReconcilerOptions,
  row: InstanceTable,
  step: Extract<InstanceStep, { step: 'record-shutdown' }>,
): Outcome {
  const reason = step.cause === 'guest' ? STATE_REASONS.guestShutdown : STATE_REASONS.hostFailure
  if (step.cause === 'failure') log.warn('machine ended unexpectedly', { id: row.instance_id })
  return recording('instance.guest-shutdown', (db) =>
    moveInstance(db, row, step.to, clock.now(), {
      stateReason: reason,
      stateTransitionReason: step.cause === 'guest' ? userInitiated(clock.now()) : reason.message,
    }), again(0))
}

async function purge({ clock, hypervisor }: InstanceReconcilerOptions, row: InstanceTable): Promise<Outcome> {
  const leftMs = row.state_ms + TERMINATED_RETENTION_MS - clock.now()
  if (leftMs > 0) return again(leftMs)
  await hypervisor.remove(row.instance_id)
  return recording('instance.purge', async (db) => {
    await purgeInstance(db, row.instance_id)
    await releaseSlot(db, row.host_id, 'machine', row.instance_id)
  })
}
