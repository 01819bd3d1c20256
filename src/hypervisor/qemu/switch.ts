import { resolve } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { DiskSwitch } from '../driver.ts'
import { BlockGraph, type FoundDisk } from './block-graph.ts'
import { OPEN_TIMEOUT_MS, type Qemu } from './devices.ts'
import { keysOf, layerNode, topNodes } from './disk-nodes.ts'
import { ensureThawed, whileQuiesced } from './quiesce.ts'
import { cancelJob } from './jobs.ts'
import { giveToMachine } from './launch.ts'
import { withKeys } from './secrets.ts'
import { syncFile } from './sync-file.ts'

/** Everything that was written before is on its disk by the end of it. */
const SWITCH_TIMEOUT_MS = 60_000

interface PlannedSwitch extends DiskSwitch {
  disk: FoundDisk
}

/** See Hypervisor.switchDisks. */
export async function switchDisks(
  qemu: Qemu,
  switches: readonly DiskSwitch[],
  options: { quiesce: boolean; clock: Clock },
): Promise<{ switched: string[]; isQuiesced: boolean }> {
  const { execute } = qemu
  const graph = await BlockGraph.read(execute)
  const present = switches.flatMap((each): PlannedSwitch[] => {
    const disk = graph.diskOf(each.volumeId)
    return disk ? [{ ...each, disk }] : []
  })
  const due = present.filter(({ disk, to }) => disk.layers[0] !== to.layerId)
  for (const each of due) await prepare(qemu, graph, each)
  const isQuiesced = await freezeAndSwitch(qemu, due, { ...options, quiesce: options.quiesce && present.length > 0 })
  return { switched: present.map(({ volumeId }) => volumeId), isQuiesced }
}

async function freezeAndSwitch(
  qemu: Qemu,
  due: readonly PlannedSwitch[],
  { quiesce, clock }: { quiesce: boolean; clock: Clock },
): Promise<boolean> {
  // Whoever switched them may have died before the guest could go on.
  if (due.length === 0) return quiesce && ensureThawed(qemu, clock)
  if (quiesce) return whileQuiesced(qemu, clock, () => switchAtOnce(qemu, due))
  await switchAtOnce(qemu, due)
  return false
}

/** Does beforehand what takes time: opens the new layer, and has the old one's file written to its disk. */
async function prepare(qemu: Qemu, graph: BlockGraph, { volumeId, to, disk }: PlannedSwitch): Promise<void> {
  const { execute, folder, uid } = qemu
  await cancelJob(execute, volumeId)
  const node = layerNode(to.layerId, volumeId)
  // One that was opened by an attempt that was cut short; the file may have changed since.
  if (graph.nodes.has(node)) await execute('blockdev-del', { 'node-name': node })
  if (uid !== null) giveToMachine(to.path, uid)
  const nodes = topNodes(to, volumeId, folder, null)
  await withKeys(execute, keysOf([to], volumeId), () => execute('blockdev-add', nodes, OPEN_TIMEOUT_MS))
  const added = (await BlockGraph.read(execute)).nodes.get(node)
  // The disk may have grown since the layer was made.
  if (added && added.sizeBytes < disk.sizeBytes) {
    await execute('block_resize', { 'node-name': node, size: disk.sizeBytes }, OPEN_TIMEOUT_MS)
  }
  // QEMU stands still while it waits for its disk; what is there already need not be waited for then.
  await syncFile(resolve(folder, graph.fileOf(disk.nodes[0] ?? '')))
}

/** One transaction: no disk writes into its new layer before all others have stopped writing into their old ones. */
async function switchAtOnce({ execute }: Qemu, due: readonly PlannedSwitch[]): Promise<void> {
  const actions = due.map(({ disk, volumeId, to }) => ({
    type: 'blockdev-snapshot', data: { node: disk.nodes[0], overlay: layerNode(to.layerId, volumeId) },
  }))
  await execute('transaction', { actions }, SWITCH_TIMEOUT_MS)
}
