import { messageOf } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { MemoryImageError } from '../hypervisor/driver.ts'
import { KeysError } from '../keys/keys.ts'
import { changeInstanceDoc, moveInstance, notHibernated, STATE_REASONS, type SavedMemory, type StateReason } from '../model/instance.ts'
import { layerDoc } from '../model/layer.ts'
import { interruptionOf } from '../model/spot-interruption.ts'
import type { InstanceTable } from '../store/schema.ts'
import { forMachine, isUnsettled } from './attached-volumes.ts'
import { attend, attentionOf } from './attend.ts'
import { diskSpecs } from './disks.ts'
import { isHibernationWanted, watchHibernation } from './hibernation-watch.ts'
import { cutOff, INTERFACES_INTERVAL_MS, isSecondary, nicSpecs } from './interfaces.ts'
import { loadInstance, type InstanceReconcilerOptions, type LoadedInstance } from './load-instance.ts'
import { again, isFatal, recording, type Outcome } from './loop.ts'
import { memoryImage } from './memory-image.ts'
import type { Attention } from './plan-instance.ts'
import { releaseAttachments } from './release-instance.ts'

/** How long what comes and goes in a running machine may delay that it is hibernated. */
const SETTLE_DEADLINE_MS = 60_000

/** How long hibernation may fail for reasons that may pass; an agent that starts begins to count anew. */
export const HIBERNATE_DEADLINE_MS = 300_000

/** How often a machine is looked at that is to be hibernated, and has something to settle before. */
const SETTLE_INTERVAL_MS = 1000

/**
 * Saves a guest's memory and ends its machine; when that cannot be, it becomes a normal stop that says so. The key of
 * the memory is written down before the memory is; that the instance is hibernated, when the whole memory is in its file
 * and nobody writes to the disks any more. The guest runs while it waits for its turn.
 */
export async function hibernate(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { row, doc: { memory } } = loaded
  try {
    if (memory?.state !== 'saving') return await prepare(options, loaded)
    return await options.memoryTurns.take(row, () => save(options, loaded, memory))
  } catch (error) {
    if (isFatal(error)) throw error
    if (error instanceof MemoryImageError || error instanceof KeysError) return stopInstead(options, row, error.message)
    if (options.memoryTurns.failedForMs(row, options.awakeSinceMs()) < HIBERNATE_DEADLINE_MS) throw error
    options.log.error('hibernation fails', { id: row.instance_id, error: messageOf(error) })
    return stopInstead(options, row, 'it could not be done in time')
  }
}

/** What is under way with the machine's devices is done before: the guest would wait for it in vain when it goes on. */
async function prepare(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { row } = loaded
  const inStateMs = options.clock.now() - Math.max(row.state_ms, options.awakeSinceMs())
  const machine = await options.hypervisor.observe(row.instance_id)
  if (machine.status === 'absent' || machine.status === 'shutdown') return stopInstead(options, row, 'its guest was down')
  const unsettled = machine.status === 'running' ? unsettledOf(loaded) : []
  if (unsettled.length > 0 && inStateMs < SETTLE_DEADLINE_MS) {
    const outcome = await attend(options, loaded, unsettled)
    return outcome.kind === 'again' ? outcome : { ...outcome, ...again(SETTLE_INTERVAL_MS) }
  }
  if (machine.status === 'running' && await hasStrayNic(options, loaded)) {
    if (inStateMs < SETTLE_DEADLINE_MS) return again(INTERFACES_INTERVAL_MS)
    return stopInstead(options, row, 'its guest did not give up an interface that was detached')
  }
  if (hasChangingDevices(loaded)) return stopInstead(options, row, 'a volume or an interface was still being attached or detached')
  return options.memoryTurns.take(row, async () => {
    const memory = await begin(options, loaded)
    return memory ? save(options, loaded, memory) : again(0)
  })
}

/** A guest whose file systems are frozen thaws before; a freeze that waits for a reboot comes with the stop. */
function unsettledOf(loaded: LoadedInstance): Attention[] {
  const { row, volumes, interfaces } = loaded
  const isRebooting = row.reboot_requested > row.reboot_completed
  return attentionOf(loaded).filter((each) =>
    (each === 'freeze' && !isRebooting) || (each === 'volumes' && volumes.some(isUnsettled)) ||
    (each === 'interfaces' && interfaces.some(isComingOrGoing)))
}

/**
 * An interface that was detached by force is another's to have at once, while its guest may have the device still: it could not
 * go on without it.
 */
async function hasStrayNic(
  { hypervisor, network }: InstanceReconcilerOptions,
  { row, interfaces }: LoadedInstance,
): Promise<boolean> {
  const nics = nicSpecs(network, interfaces)
  const plugged = await hypervisor.ensureNics(row.instance_id, nics, cutOff(interfaces))
  return plugged.some((attachmentId) => !nics.some((nic) => nic.attachmentId === attachmentId))
}

function isComingOrGoing(row: LoadedInstance['interfaces'][number]): boolean {
  return isSecondary(row) && row.status !== 'in-use'
}

function hasChangingDevices({ volumes, interfaces }: LoadedInstance): boolean {
  return volumes.some(({ row }) => row.attach_state !== 'attached') || interfaces.some(isComingOrGoing)
}

/** Writes down what is to be saved, under a new key. Undefined when nobody wants that any more. */
async function begin(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<SavedMemory | undefined> {
  const { keys, random, store } = options
  const [root] = loaded.volumes
  const { kmsKeyId } = root ? layerDoc(root.head) : {}
  if (kmsKeyId === undefined) throw new MemoryImageError('its root volume is not encrypted')
  const { wrapped } = await keys.newDataKey(kmsKeyId)
  const memory: SavedMemory = {
    memoryId: newId(random, 'mem'), state: 'saving', generation: loaded.doc.generation ?? 0, volumeIds: volumeIdsOf(loaded),
    kmsKeyId, wrappedKey: wrapped,
  }
  const id = loaded.row.instance_id
  return store.transaction('instance.hibernating', async (db) => {
    if (!(await isHibernationWanted(db, id))) return undefined
    await changeInstanceDoc(db, id, { memory })
    return memory
  })
}

async function save(options: InstanceReconcilerOptions, loaded: LoadedInstance, memory: SavedMemory): Promise<Outcome> {
  const { clock, random } = options
  const { row } = loaded
  const id = row.instance_id
  const saved = await saveWhileWanted(options, loaded, memory)
  if (saved === 'given-up') return again(0)
  if (saved === 'absent') return stopInstead(options, row, 'its guest was down')
  return recording('instance.hibernated', async (db) => {
    // Forced meanwhile, or terminated: the next look forgets the memory.
    if (!(await isHibernationWanted(db, id))) return
    const now = await loadInstance(db, id)
    const isAsSaved = now && !hasChangingDevices(now) && volumeIdsOf(now).join() === memory.volumeIds.join()
    if (!isAsSaved) {
      await changeInstanceDoc(db, id, {
        hibernate: false, memory: null, stateReason: stoppedBecause(row, 'a volume or an interface was attached or detached meanwhile'),
      })
      return
    }
    const nowMs = clock.now()
    const moved = await moveInstance(db, row, 'stopped', nowMs, {
      hibernate: false, memory: { ...memory, state: 'saved' },
      stateReason: interruptionOf(now.row) ? STATE_REASONS.spotShutdown : STATE_REASONS.userHibernate,
      // The process that a reboot was to end is gone; the guest is rebooted when it goes on.
      reboot: null,
    })
    if (moved) await releaseAttachments({ db, random, nowMs }, moved)
  }, again(0))
}

/** An interruption is one, whatever became of the memory: by that its instance is known when it may come back. */
function stoppedBecause(row: InstanceTable, why: string): StateReason {
  return interruptionOf(row) ? STATE_REASONS.spotShutdown : notHibernated(why)
}

/** A save takes as long as the memory is large: it ends early when the instance is forced to stop, or terminated. */
async function saveWhileWanted(
  options: InstanceReconcilerOptions,
  { row, volumes }: LoadedInstance,
  memory: SavedMemory,
): Promise<'saved' | 'absent' | 'given-up'> {
  const image = await memoryImage(options, row, memory, memory.volumeIds)
  const disks = await diskSpecs(options, forMachine(volumes))
  const watch = watchHibernation(options, row.instance_id)
  try {
    return await options.hypervisor.ensureSaved(row.instance_id, image, disks, watch.signal)
  } catch (error) {
    if (isFatal(error) || !watch.signal.aborted) throw error
    return 'given-up'
  } finally {
    watch.end()
  }
}

function volumeIdsOf({ volumes }: LoadedInstance): string[] {
  return forMachine(volumes).map(({ row }) => row.volume_id).toSorted()
}

/**
 * From here on the stop is a normal one, with all the time that one has. A guest that stands still goes on, to shut down;
 * what was saved of it is forgotten first.
 */
async function stopInstead(
  { clock, hypervisor, log }: InstanceReconcilerOptions,
  row: InstanceTable,
  why: string,
): Promise<Outcome> {
  const { instance_id: id } = row
  log.warn('an instance could not be hibernated, and is stopped', { id, error: why })
  try {
    await hypervisor.ensureReleased(id)
  } catch (error) {
    if (isFatal(error)) throw error
    // It does not answer, or cannot go on: nobody can ask it to shut down.
    log.warn('its guest does not go on, and is ended', { id, error: messageOf(error) })
    await hypervisor.ensureStopped(id)
    await hypervisor.ensureForgotten(id)
  }
  return recording('instance.not-hibernated', async (db) => {
    if (!(await isHibernationWanted(db, id))) return
    await changeInstanceDoc(db, id, { hibernate: false, memory: null, stateReason: stoppedBecause(row, why) })
    await db.updateTable('instances').set({ state_ms: clock.now() }).where('instance_id', '=', id).execute()
  }, again(0))
}
