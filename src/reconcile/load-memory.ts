import { messageOf } from '../core/errors.ts'
import { MemoryImageError } from '../hypervisor/driver.ts'
import { KeysError } from '../keys/keys.ts'
import { changeInstanceDoc, instanceDoc, notResumed, type SavedMemory } from '../model/instance.ts'
import { hostZone } from '../model/zone.ts'
import type { Db } from '../store/store.ts'
import { forMachine } from './attached-volumes.ts'
import { destroyThen } from './end-machine.ts'
import { loadInstance, type InstanceReconcilerOptions, type LoadedInstance } from './load-instance.ts'
import { again, DONE, isFatal, recording, type Outcome } from './loop.ts'
import { machineSpec } from './machine-spec.ts'
import { memoryImage } from './memory-image.ts'
import { noteStartFailure } from './note-start-failure.ts'
import { recordRunning } from './record-running.ts'

/**
 * Starts a machine with the memory that was saved, and writes down that it is consumed before its guest may go on: from
 * then on the disks are newer than what the file holds. What cannot be loaded stays, with the instance, for a person to
 * mend what is wrong or to give the memory up. An instance that is terminated meanwhile waits until it is loaded.
 */
export function loadMemory(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  return options.memoryTurns.take(loaded.row, () => load(options, loaded))
}

async function load(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  const { hypervisor, log, store } = options
  const { row, doc, volumes } = loaded
  const id = row.instance_id
  const { memory } = doc
  if (!memory) throw new Error(`${id} has no saved memory`)
  try {
    const volumeIds = forMachine(volumes).map((volume) => volume.row.volume_id)
    const image = await memoryImage(options, row, memory, volumeIds)
    const found = await hypervisor.ensureLoaded(await machineSpec(options, loaded, doc), image)
    if (found === 'missing') {
      log.warn('the file with the memory of a hibernated guest is gone: it boots', { id, memoryId: memory.memoryId })
      return recording('instance.memory-missing', (db) => changeInstanceDoc(db, id, { memory: null }), again(0))
    }
  } catch (error) {
    if (isFatal(error)) throw error
    const why = messageOf(error)
    // It may have failed with its zone, and that says nothing of the memory.
    if (!(await store.read((db) => hostZone(db, row.host_id))).isSettled) throw error
    log.warn('a hibernated guest does not go on', { id, error: why })
    if (error instanceof MemoryImageError || error instanceof KeysError) {
      const stateReason = notResumed(id, why)
      return destroyThen(options, row, 'stopped', { stateReason, stateTransitionReason: stateReason.message })
    }
    await noteStartFailure(options, loaded)
    throw error
  }
  const consumed = await store.transaction('instance.memory-consumed', (db) => consume(db, id, memory))
  return consumed ? release(options, { ...loaded, doc: { ...doc, memory: consumed } }) : again(0)
}

/**
 * Undefined when the instance is to be something else by now, and where the machine may have lost its power since, or stand
 * still, with its zone: its guest has not gone on, and the memory is for the next start.
 */
async function consume(db: Db, instanceId: string, { memoryId }: SavedMemory): Promise<SavedMemory | undefined> {
  const row = await db
    .selectFrom('instances').select(['host_id', 'doc']).where('instance_id', '=', instanceId).where('state', '=', 'pending').executeTakeFirst()
  if (row && !(await hostZone(db, row.host_id)).isSettled) return undefined
  const now = row && instanceDoc(row)
  if (now?.memory?.memoryId !== memoryId || now.memory.state !== 'saved') return undefined
  const memory = { ...now.memory, state: 'consumed' } as const
  await changeInstanceDoc(db, instanceId, { memory, generation: (now.generation ?? 0) + 1 })
  return memory
}

/** Deletes the memory of an instance that is to boot at its next start. */
export async function forgetMemory({ hypervisor }: InstanceReconcilerOptions, { row }: LoadedInstance): Promise<Outcome> {
  const id = row.instance_id
  await hypervisor.ensureForgotten(id)
  return recording('instance.memory-forgotten', async (db) => {
    const now = await loadInstance(db, id)
    if (now?.doc.memory?.state === 'given-up') await changeInstanceDoc(db, id, { memory: null })
  }, again(0))
}

/** Lets a guest go on that stands still: one whose memory was just loaded, or that ought to run. */
export async function release(options: InstanceReconcilerOptions, loaded: LoadedInstance): Promise<Outcome> {
  try {
    await options.hypervisor.ensureReleased(loaded.row.instance_id)
  } catch (error) {
    if (!isFatal(error) && loaded.row.state === 'pending') await noteStartFailure(options, loaded)
    throw error
  }
  return loaded.row.state === 'pending' ? recordRunning(options, loaded) : DONE
}
