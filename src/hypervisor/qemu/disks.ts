import { DisksError, type DiskSpec } from '../driver.ts'
import { BlockGraph, type FoundDisk } from './block-graph.ts'
import { clearAway } from './clear-away.ts'
import { freePorts, OPEN_TIMEOUT_MS, requestUnplug, says, type Execute, type Qemu } from './devices.ts'
import {
  deviceId, diskDevice, diskNodes, filter, filterNode, goneNode, goneNodes, keysOf, throttleGroup, throttleLimits,
} from './disk-nodes.ts'
import { cancelJob } from './jobs.ts'
import { giveLayers } from './launch.ts'
import { portForDisk } from './places.ts'
import { withKeys } from './secrets.ts'

const BYTES_PER_GIB = 1024 ** 3

/**
 * See Hypervisor.ensureDisks. What the machine has is read from QEMU every time, so that this may be
 * cut short anywhere and run again, also by another agent. A disk that cannot be had keeps none of the
 * others; the error is that of the first.
 */
export async function ensureDisks(qemu: Qemu, disks: readonly DiskSpec[], cutOff: readonly string[]): Promise<string[]> {
  const { execute } = qemu
  const failures: unknown[] = []
  const attempt = (step: Promise<unknown>) => step.catch((error: unknown) => void failures.push(error))
  const wanted = new Set(disks.map((disk) => disk.volumeId))
  const before = await BlockGraph.read(execute)
  for (const disk of before.disks) {
    const isWanted = disk.nodes.length > 0 && wanted.has(disk.volumeId)
    if (isWanted || (await isRoot(execute, disk))) continue
    await requestDiskUnplug(execute, disk)
    if (disk.nodes.length > 0 && cutOff.includes(disk.volumeId)) await attempt(takeFilesAway(execute, before, disk))
  }
  const cleared = await clearAway(execute)
  for (const disk of disks) {
    const found = cleared.diskOf(disk.volumeId)
    await attempt(found ? adjust(execute, found, disk) : plug(qemu, cleared, disk))
  }
  const hasPlugged = disks.some((disk) => !cleared.diskOf(disk.volumeId))
  const open = openVolumes(hasPlugged ? await BlockGraph.read(execute) : cleared, wanted)
  if (failures.length > 0) throw new DisksError(failures[0], open)
  return open
}

/** Volumes whose files a machine has open; one that it is to have only where it is a device. */
export function openVolumes(graph: Pick<BlockGraph, 'disks' | 'heldByNone'>, wanted: ReadonlySet<string>): string[] {
  const devices = graph.disks.filter((disk) => disk.nodes.length > 0).map((disk) => disk.volumeId)
  return [...new Set([...devices, ...graph.heldByNone().filter((volumeId) => !wanted.has(volumeId))])]
}

/** Whether the machine boots from it; that one is a part of it. */
async function isRoot(execute: Execute, disk: FoundDisk): Promise<boolean> {
  return (await execute('qom-get', { path: `/machine/peripheral/${deviceId(disk.name)}`, property: 'bootindex' })) === 1
}

/** One that an earlier version started with the machine sits on the root bus: it stays until the machine stops. */
async function requestDiskUnplug(execute: Execute, disk: FoundDisk): Promise<void> {
  await requestUnplug(execute, deviceId(disk.name)).catch((error: unknown) => {
    if (!says(error, 'does not support hotplugging')) throw error
  })
}

/**
 * Puts something that only fails in the place of the files, which nobody holds any more then. What the
 * guest has asked for before is done first: QEMU waits for that, and starts no more of it.
 */
async function takeFilesAway(execute: Execute, graph: BlockGraph, disk: FoundDisk): Promise<void> {
  if (disk.head !== filterNode(disk.name)) {
    throw new Error(`${disk.volumeId} cannot be taken from a machine that an earlier version of Hearth started; stop the instance`)
  }
  await cancelJob(execute, disk.volumeId)
  if (!graph.nodes.has(goneNode(disk.name))) await execute('blockdev-add', goneNodes(disk.name, disk.sizeBytes))
  await execute('blockdev-reopen', { options: [{ ...filter(disk.name), file: goneNode(disk.name) }] }, OPEN_TIMEOUT_MS)
}

async function plug(qemu: Qemu, graph: BlockGraph, disk: DiskSpec): Promise<void> {
  const { execute, folder, uid } = qemu
  const port = portForDisk(await freePorts(execute))
  // Guests that do not let go of devices can keep all ports; the next try may find one.
  if (port === undefined) return
  const name = freeName(graph, disk.volumeId)
  if (uid !== null) giveLayers(disk.layers, uid)
  await execute('object-add', { 'qom-type': 'throttle-group', id: throttleGroup(name), limits: throttleLimits(disk.limits) })
  const nodes = diskNodes(disk, name, folder)
  await withKeys(execute, keysOf(disk.layers, disk.volumeId), () => execute('blockdev-add', nodes, OPEN_TIMEOUT_MS))
    .catch((error: unknown) => {
      throw new Error(`${disk.volumeId} cannot be opened: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    })
  await execute('device_add', { ...diskDevice(disk, name), bus: port })
}

/**
 * A name for one more device of a volume. A device that the guest has just let go is listed no more while its nodes, and
 * with them its name's throttle group, stand for a moment longer.
 */
export function freeName({ disks, nodes }: { disks: readonly Pick<FoundDisk, 'name'>[]; nodes: Pick<BlockGraph['nodes'], 'has'> }, volumeId: string): string {
  const isTaken = (name: string) => disks.some((each) => each.name === name) || nodes.has(filterNode(name))
  let name = volumeId
  for (let count = 2; isTaken(name); count++) name = `${volumeId}.${count}`
  return name
}

/** Sets the size and the limits of a disk that is there. */
async function adjust(execute: Execute, found: FoundDisk, disk: DiskSpec): Promise<void> {
  const sizeBytes = disk.sizeGib * BYTES_PER_GIB
  if (found.sizeBytes < sizeBytes) {
    // A job allows no other size; what it has done so far stays done.
    await cancelJob(execute, disk.volumeId)
    await execute('block_resize', { 'node-name': found.head, size: sizeBytes }, OPEN_TIMEOUT_MS)
  }
  const limits = throttleLimits(disk.limits)
  if (found.head !== filterNode(found.name)) return setDeviceLimits(execute, found, limits)
  const group = { path: `/objects/${throttleGroup(found.name)}`, property: 'limits' }
  const current = (await execute('qom-get', group)) as Record<string, number>
  // Setting them anew would forget what of a burst is used up.
  if (Object.entries(limits).some(([key, value]) => current[key] !== value)) await execute('qom-set', { ...group, value: limits })
}

/** For a disk of a machine that an earlier version started: it has no filter. */
async function setDeviceLimits(execute: Execute, found: FoundDisk, limits: Record<string, number>): Promise<void> {
  await execute('block_set_io_throttle', {
    id: `/machine/peripheral/${deviceId(found.name)}/virtio-backend`,
    bps: limits['bps-total'], bps_rd: 0, bps_wr: 0, iops: limits['iops-total'], iops_rd: 0, iops_wr: 0,
    ...(limits['iops-total-max'] === 0 ? {} : { iops_max: limits['iops-total-max'], iops_max_length: limits['iops-total-max-length'] }),
  })
}
