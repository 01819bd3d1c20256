import { existsSync } from 'node:fs'
import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { DiskSpec, MemoryImage } from '../driver.ts'
import type { MachineFolder } from './folder.ts'
import { forgetLoaded, isLoaded } from './load.ts'
import { deleteImages, hasImages, imageFile } from './memory-images.ts'
import { isAlive } from './process.ts'
import { isPaused, type QemuProcesses } from './processes.ts'
import { letGoOn, saveMemory } from './save.ts'

/** One machine, which nobody else does anything to meanwhile. */
export interface Machine {
  processes: QemuProcesses
  folder: MachineFolder
  clock: Clock
  random: Random
}

/** See Hypervisor.ensureSaved. */
export async function ensureSaved(
  machine: Machine, image: MemoryImage, disks: readonly DiskSpec[], signal?: AbortSignal,
): Promise<'saved' | 'absent'> {
  const { processes, folder, clock, random } = machine
  const isWhole = existsSync(imageFile(folder.path, image.memoryId))
  const found = processes.locate(folder)
  if (!found) return isWhole ? 'saved' : 'absent'
  if (!(isWhole && (await isAsSaved(machine, image)))) {
    try {
      if (!(await saveMemory({ qemu: processes.qemu(folder), pid: found.pid, clock, random }, image, disks, signal))) return 'absent'
    } catch (error) {
      // Its memory is gone with it.
      if (!isAlive(found)) return 'absent'
      throw error
    }
  }
  await processes.stop(folder)
  return 'saved'
}

/** Whether the guest has not gone on since that image was made of it, or it was made of that image. */
async function isAsSaved({ processes, folder }: Machine, image: MemoryImage): Promise<boolean> {
  const status = await processes.status(folder)
  return status === 'postmigrate' || (status === 'paused' && (await isLoaded(processes.executor(folder), image.memoryId)))
}

/** See Hypervisor.ensureReleased. @returns whether a guest goes on that stood still. */
export async function ensureReleased({ processes, folder, clock }: Machine): Promise<boolean> {
  const found = processes.locate(folder)
  const status = found ? await processes.status(folder) : 'gone'
  if (status === 'inmigrate') throw new Error(`${folder.instanceId} has not loaded all of its memory yet`)
  if (status === undefined && (await hasImages(folder.path))) throw new Error(`${folder.instanceId} has a QEMU that does not answer`)
  await deleteImages(folder.path)
  if (status === undefined || !isPaused(status)) return false
  const qemu = processes.qemu(folder)
  await letGoOn({ qemu, clock })
  await forgetLoaded(qemu.execute)
  return true
}
