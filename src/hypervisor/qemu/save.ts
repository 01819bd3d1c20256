import { rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { resolve } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { messageOf } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import { MemoryImageError, type DiskSpec, type MemoryImage } from '../driver.ts'
import { BlockGraph } from './block-graph.ts'
import type { Execute, Qemu } from './devices.ts'
import { keysOf } from './disk-nodes.ts'
import { MEMORY_SOCKET } from './folder.ts'
import { readHardware } from './hardware.ts'
import { cancelJob, volumesWithJobs } from './jobs.ts'
import { writeMemoryFile } from './memory-file.ts'
import { completeImage, deleteImages, partFile } from './memory-images.ts'
import { endMigration, listenForMemory, LONG_TIMEOUT_MS, migrationOf, POLL_MS, statusOf } from './migration.ts'
import { forgetKeys, withKeys } from './secrets.ts'
import { syncFile } from './sync-file.ts'

/** Far more than any memory: QEMU holds itself back by default. */
const MAX_BANDWIDTH_BYTES = 2 ** 40
/** Without a byte for so long, nothing comes any more. */
const STALL_TIMEOUT_MS = 60_000

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
 * @throws MemoryImageError when it cannot be saved: the guest goes on.
 */
export async function saveMemory(saving: Saving, image: MemoryImage, disks: readonly DiskSpec[]): Promise<boolean> {
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
      await write(saving, image)
      return true
    } catch (error) {
      await letGoOn(saving)
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

async function write(saving: Saving, image: MemoryImage): Promise<void> {
  const { execute, folder } = saving.qemu
  const hardware = await readHardware(execute, saving.pid)
  const graph = await BlockGraph.read(execute)
  await receive(saving, image, hardware)
  // QEMU writes to no disk any more; what it has written is to be there when the image is.
  for (const { nodes: [top = ''] } of graph.disks) await syncFile(resolve(folder, graph.fileOf(top)))
  await completeImage(folder, image.memoryId)
}

/** Has QEMU send the memory, and writes it to the part. */
async function receive({ qemu: { execute, folder, uid }, clock, random }: Saving, image: MemoryImage, about: unknown): Promise<void> {
  const part = partFile(folder, image.memoryId)
  await rm(part, { recursive: true, force: true })
  const listener = await listenForMemory(folder, uid)
  try {
    await execute('migrate-set-parameters', { 'max-bandwidth': MAX_BANDWIDTH_BYTES })
    await execute('migrate', { uri: `unix:${MEMORY_SOCKET}` }, LONG_TIMEOUT_MS)
    let connected: Socket | undefined
    let failure: { error: unknown } | undefined
    const fail = (error: unknown) => {
      failure ??= { error }
      connected?.destroy()
    }
    const writing = listener.connection.then((socket) => {
      connected = socket
      return writeMemoryFile(part, image, about, socket, random)
    }).catch(fail)
    await sent(execute, clock, () => (failure ? undefined : connected?.bytesRead ?? 0)).catch(fail)
    // Without a connection there is nothing to wait for.
    if (connected) await writing
    if (failure) throw failure.error
  } finally {
    listener.close()
  }
}

/**
 * Waits until QEMU has sent all, or nobody takes it any more: then there is no count of bytes.
 *
 * @throws Error with what QEMU says of it when it could not.
 */
async function sent(execute: Execute, clock: Clock, bytesTaken: () => number | undefined): Promise<void> {
  let [last, lastMs] = [0, clock.now()]
  for (let taken = bytesTaken(); taken !== undefined; taken = bytesTaken()) {
    const { status = 'none', 'error-desc': why } = await migrationOf(execute)
    if (status === 'completed') return
    if (status === 'failed' || status === 'cancelled') throw new Error(`QEMU could not send its memory${why === undefined ? '' : `: ${why}`}`)
    if (taken !== last) [last, lastMs] = [taken, clock.now()]
    if (clock.now() - lastMs > STALL_TIMEOUT_MS) throw new Error('QEMU does not send its memory')
    await clock.sleep(POLL_MS)
  }
}

function notSaved(status: string): string {
  return status === 'io-error' ? 'its guest stands still, since its disk has no room' : `its guest is in a state that cannot be saved (${status})`
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code === 'ENOSPC' ? 'there is no room for its memory on the disk of this host' : messageOf(error)
}
