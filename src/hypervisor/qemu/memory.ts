import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import type { DiskSpec, MemoryImage } from '../driver.ts'
import type { MachineFolder } from './folder.ts'
import { forgetLoaded, isAnyLoaded, isLoaded } from './load.ts'
import { deleteImages, hasImage } from './memory-images.ts'
import { isAlive, type ProcessId } from './process.ts'
import { isPaused, type QemuProcesses } from './processes.ts'
import { letGoOn, saveMemory } from './save.ts'
import { forgetKeys } from './secrets.ts'

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
  const isSaved = () => hasImage(folder.path, image.memoryId)
  const isWhole = await isSaved()
  const found = processes.locate(folder)
  if (!found) return isWhole ? 'saved' : 'absent'
  if (!(isWhole && (await isAsSaved(machine, found, image)))) {
    try {
      if (!(await saveMemory({ qemu: processes.qemu(folder), pid: found.pid, clock, random }, image, disks, signal))) return 'absent'
    } catch (error) {
      // Its memory is gone with it, unless it was saved just before.
      if (!isAlive(found)) return (await isSaved()) ? 'saved' : 'absent'
      throw error
    }
  }
  await processes.stop(folder)
  return 'saved'
}

/**
 * Whether the guest has not gone on since that image was made of it, or it was made of that image. Of a QEMU that does not
 * answer, or ends, that is so, too: whoever lets a guest go on deletes its images before.
 */
async function isAsSaved({ processes, folder }: Machine, found: ProcessId, { memoryId }: MemoryImage): Promise<boolean> {
  const status = await processes.settledStatus(folder, found)
  if (status === undefined || ['gone', 'inmigrate', 'postmigrate'].includes(status)) return true
  return status === 'paused' && (await isLoaded(processes.executor(folder), memoryId))
}

/** See Hypervisor.ensureReleased. @returns whether a guest goes on that stood still, by this call or one that was cut short. */
export async function ensureReleased({ processes, folder, clock }: Machine): Promise<boolean> {
  const found = processes.locate(folder)
  const status = found ? await processes.settledStatus(folder, found) : 'gone'
  if (status === undefined) throw new Error(`${folder.instanceId} cannot be let go on: its QEMU does not answer`)
  if (status === 'inmigrate') throw new Error(`${folder.instanceId} has not loaded all of its memory yet`)
  await deleteImages(folder.path)
  if (status === 'gone') return false
  const qemu = processes.qemu(folder)
  if (isPaused(status)) await letGoOn({ qemu, clock })
  else if (await isAnyLoaded(qemu.execute)) await forgetKeys(qemu.execute)
  else return false
  await forgetLoaded(qemu.execute)
  return true
}
