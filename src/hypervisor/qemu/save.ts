import { resolve } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import { MemoryImageError, type DiskSpec, type MemoryImage } from '../driver.ts'
import { BlockGraph } from './block-graph.ts'
import type { Qemu } from './devices.ts'
import { keysOf } from './disk-nodes.ts'
import { readHardware } from './hardware.ts'
import { cancelJob, volumesWithJobs } from './jobs.ts'
import { completeImage, deleteImages, partFile } from './memory-images.ts'
import { endMigration, LONG_TIMEOUT_MS, statusOf } from './migration.ts'
import { receiveMemory } from './receive.ts'
import { forgetKeys, withKeys } from './secrets.ts'
import { syncFile } from './sync-file.ts'

/** A machine that has a process, and what it takes to save its memory. */
export interface Saving {
  qemu: Qemu
  pid: number
  clock: Clock
  random: Random
}

/**
 * Stops the guest and makes a durable image of its memory; the process is left standing. What an earlier call that was
 * cut short has left in QEMU or in the folder does not matter.
 *
 * @returns false when the guest has powered itself off.
 * @throws MemoryImageError when it cannot be saved, `signal.reason` when it is aborted: the guest goes on.
 */
export async function saveMemory(
  saving: Saving, image: MemoryImage, disks: readonly DiskSpec[], signal?: AbortSignal,
): Promise<boolean> {
  const { execute, folder } = saving.qemu
  await deleteImages(folder)
  await endMigration(execute, saving.clock)
  for (const volumeId of await volumesWithJobs(execute)) await cancelJob(execute, volumeId)
  // QEMU closes its disks at the end, and they are lost to a guest that goes on afterwards when it does not know the keys.
  return withKeys(execute, disks.flatMap((disk) => keysOf(disk.layers, disk.volumeId)), async () => {
    const before = await statusOf(execute)
    if (before === 'shutdown') return false
    if (!['running', 'paused', 'postmigrate'].includes(before)) throw new MemoryImageError(notSaved(before))
    // It sends its memory only once until the guest has gone on.
    if (before === 'postmigrate') await execute('cont', undefined, LONG_TIMEOUT_MS)
    await execute('stop', undefined, LONG_TIMEOUT_MS)
    const status = await statusOf(execute)
    if (status === 'shutdown') return false
    try {
      if (status !== 'paused') throw new MemoryImageError(notSaved(status))
      await write(saving, image, signal)
      return true
    } catch (error) {
      await letGoOn(saving)
      signal?.throwIfAborted()
      if (error instanceof MemoryImageError) throw error
      throw new MemoryImageError(reasonOf(error))
    }
  })
}

/** What was saved of it is deleted before, durably. */
export async function letGoOn({ qemu: { execute, folder }, clock }: Pick<Saving, 'qemu' | 'clock'>): Promise<void> {
  await deleteImages(folder)
  await endMigration(execute, clock)
  await execute('cont', undefined, LONG_TIMEOUT_MS)
  await forgetKeys(execute)
}

async function write(saving: Saving, image: MemoryImage, signal?: AbortSignal): Promise<void> {
  const { execute, folder } = saving.qemu
  const hardware = await readHardware(execute, saving.pid)
  const graph = await BlockGraph.read(execute)
  await receiveMemory(saving, partFile(folder, image.memoryId), image, hardware, signal)
  // QEMU writes to no disk any more; what it has written is to be there when the image is.
  for (const { nodes: [top = ''] } of graph.disks) await syncFile(resolve(folder, graph.fileOf(top)))
  signal?.throwIfAborted()
  await completeImage(folder, image.memoryId)
}

function notSaved(status: string): string {
  return status === 'io-error' ? 'its guest stands still, since its disk has no room' : `its guest is in a state that cannot be saved (${status})`
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code === 'ENOSPC' ? 'there is no room for its memory on the disk of this host' : messageOf(error)
}
