import { once } from 'node:events'
import { waitFor, type Clock } from '../../core/clock.ts'
import { MemoryImageError, type MachineSpec, type MemoryImage } from '../driver.ts'
import { BlockGraph } from './block-graph.ts'
import { childrenOf, type Execute } from './devices.ts'
import { MEMORY_SOCKET, type MachineFolder } from './folder.ts'
import { checkHardware, type Hardware } from './hardware.ts'
import { openMemoryFile, type MemoryFile } from './memory-file.ts'
import { imageFile } from './memory-images.ts'
import { LONG_TIMEOUT_MS, POLL_MS, statusOf, within } from './migration.ts'
import { StartError, type QemuProcesses, type StartedQemu } from './processes.ts'
import { openSocket } from './qmp.ts'
import { deleteObject, forgetKeys } from './secrets.ts'

/** Where there is no trying again with the same QEMU on the same host. */
const CANNOT_OFFER = /unsupported machine type|unable to find CPU model|does not support .* CPU|KVM|kvm/
const END_TIMEOUT_MS = 5000

export interface Loading {
  processes: QemuProcesses
  folder: MachineFolder
  clock: Clock
  /** Whether this host can run guests under KVM. */
  kvm: boolean
}

/** A mark that QEMU keeps itself: it has loaded all of that image, and its guest has not gone on since. */
const mark = (memoryId: string) => `loaded-${memoryId}`

/** See Hypervisor.ensureLoaded; nobody else starts or ends that machine meanwhile. */
export async function ensureLoaded(loading: Loading, spec: MachineSpec, image: MemoryImage): Promise<'loaded' | 'missing'> {
  const { processes, folder } = loading
  const file = await openMemoryFile(imageFile(folder.path, image.memoryId), image)
  if (!file) return 'missing'
  try {
    const found = processes.locate(folder)
    const status = found ? await processes.settledStatus(folder, found) : 'gone'
    if (status === undefined) throw new Error(`${spec.instanceId} has a QEMU that does not answer`)
    if (status === 'running' || status === 'io-error') throw new Error(`${spec.instanceId} runs, and cannot be given its memory`)
    const execute = processes.executor(folder)
    if (status === 'paused' && (await isLoaded(execute, image.memoryId))) return 'loaded'
    if (status !== 'gone') await processes.stop(folder)
    checkHardware(file.about as Hardware, spec, { kvm: loading.kvm })
    const started = await start(loading, spec, (file.about as Hardware).layout)
    try {
      await load(loading, spec, file, started)
      await execute('object-add', { 'qom-type': 'secret', id: mark(image.memoryId), data: 'x' })
      await forgetKeys(execute)
      return 'loaded'
    } catch (error) {
      await processes.stop(folder, [started.process])
      throw error
    }
  } finally {
    await file.close()
  }
}

/** Whether QEMU has loaded all of that image, and the guest has not gone on since. */
export async function isLoaded(execute: Execute, memoryId: string): Promise<boolean> {
  return (await marksOf(execute)).includes(mark(memoryId))
}

/** Whether QEMU has loaded some image, and nobody has done yet what is to be done when the guest goes on. */
export async function isAnyLoaded(execute: Execute): Promise<boolean> {
  return (await marksOf(execute)).length > 0
}

/** The machine is not one that was loaded any more: its guest goes on. */
export async function forgetLoaded(execute: Execute): Promise<void> {
  for (const id of await marksOf(execute)) await deleteObject(execute, id)
}

async function marksOf(execute: Execute): Promise<string[]> {
  return (await childrenOf(execute, '/objects')).filter((id) => id.startsWith(mark('')))
}

async function start({ processes, folder }: Loading, spec: MachineSpec, layout: Hardware['layout']): Promise<StartedQemu> {
  try {
    const started = await processes.launch(spec, folder, layout)
    if (!started) throw new Error(`${spec.instanceId} is started and ended elsewhere on this host at the same time; try again`)
    return started
  } catch (error) {
    if (error instanceof StartError && CANNOT_OFFER.test(error.said)) {
      throw new MemoryImageError(`this host cannot make the machine that its guest was saved in: ${error.said}`)
    }
    throw error
  }
}

async function load({ processes, folder, clock }: Loading, spec: MachineSpec, file: MemoryFile, qemu: StartedQemu): Promise<void> {
  const execute = processes.executor(folder)
  await execute('migrate-incoming', { uri: `unix:${MEMORY_SOCKET}` }, LONG_TIMEOUT_MS)
  await send(file, folder.path, clock).catch(async (error: unknown) => {
    if (error instanceof MemoryImageError) throw error
    // A QEMU that cannot go on closes the connection, then says why and ends.
    await waitFor(clock, 'QEMU to end', END_TIMEOUT_MS, () => qemu.end() !== undefined, POLL_MS).catch(() => {
      throw error
    })
  })
  const status = await waitFor(clock, 'QEMU to have loaded its memory', LONG_TIMEOUT_MS, async () => {
    if (qemu.end() !== undefined) return 'gone'
    const current = await statusOf(execute).catch(() => undefined)
    return current === 'inmigrate' ? undefined : current
  }, POLL_MS)
  if (status === 'gone') {
    const message = `QEMU cannot go on with the memory: ${qemu.end()}\n${qemu.said()}`
    // Anything else may have ended it.
    throw /exit code/.test(qemu.end() ?? '') ? new MemoryImageError(message) : new Error(message)
  }
  if (status !== 'paused') throw new MemoryImageError(`QEMU has loaded the memory, and is ${status}`)
  // It opens the disks to write only now, and tells of a failure in its log alone.
  const graph = await BlockGraph.read(execute)
  for (const disk of graph.disks) {
    const top = spec.disks.find(({ volumeId }) => volumeId === disk.volumeId)?.layers[0]?.layerId
    if (disk.layers[0] !== top) throw new MemoryImageError(`QEMU cannot write to ${disk.volumeId}: ${qemu.said()}`)
  }
}

/** One piece is read and decrypted while QEMU takes the one before. */
async function send(file: MemoryFile, folder: string, clock: Clock): Promise<void> {
  const socket = openSocket(folder, MEMORY_SOCKET)
  // Whoever waits for it to take something is told.
  socket.on('error', () => {})
  try {
    await within(clock, LONG_TIMEOUT_MS, 'QEMU to listen', once(socket, 'connect'))
    let taken: Promise<void> = Promise.resolve()
    for await (const chunk of file.chunks()) {
      await within(clock, LONG_TIMEOUT_MS, 'QEMU to take its memory', taken)
      taken = new Promise((resolve, reject) => socket.write(chunk, (error) => (error ? reject(error) : resolve())))
      taken.catch(() => {})
    }
    await within(clock, LONG_TIMEOUT_MS, 'QEMU to take its memory', taken)
  } finally {
    // What it has taken still arrives.
    socket.destroySoon()
  }
}
