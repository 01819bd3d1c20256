import { recordAttached } from '../model/attached.ts'
import { freeVolume } from '../model/free-volume.ts'
import { layerDoc, MOST_LAYERS } from '../model/layer.ts'
import { volumeDoc } from '../model/volume.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { completeModification } from './modification.ts'
import type { RestWork } from './plan-instance.ts'

/**
 * How often a machine is looked at whose volumes are not as they should be. A guest's answer is heard at
 * once; asked again within 5 s, some guests take that for a change of mind.
 */
export const VOLUMES_INTERVAL_MS = 10_000

/** A volume of an instance, with what it writes into now, and next. */
export interface AttachedVolume {
  row: VolumeTable
  head: LayerTable
  next: LayerTable | null
}

/** Whether it is to go on in a layer whose file is there: a machine may have changed over already. */
export function canSwitch({ next }: AttachedVolume): boolean {
  return next?.state === 'open'
}

/** Whether its machine was told to change over, and nobody has written down yet that it did. */
export function isSwitching({ head, next }: AttachedVolume): boolean {
  return next !== null && layerDoc(head).frozenFor !== undefined
}

/**
 * The size that a machine is to have it in, GiB. A change of layers must not make it smaller, so while
 * one is ahead it becomes no larger than the next layer is.
 */
export function sizeInMachine({ row, next }: AttachedVolume): number {
  return next === null ? row.size_gib : Math.min(row.size_gib, next.size_gib)
}

/** Whether it is smaller in a machine than it has to be before the layers change. */
export function mustGrowFirst(volume: AttachedVolume): boolean {
  return volume.next !== null && volume.head.size_gib < sizeInMachine(volume)
}

/**
 * Those that a machine is to have: their files are there, and they are not to be given up. One that another machine
 * may have changed over before it was detached waits until that is written down.
 */
export function forMachine(volumes: readonly AttachedVolume[]): AttachedVolume[] {
  return volumes.filter((volume) => {
    const { ready, state, attach_state: attachState } = volume.row
    if (ready === 0 || state === 'error' || attachState === 'detaching') return false
    return attachState !== 'attaching' || !canSwitch(volume)
  })
}

/** Ids of volumes that are detached without waiting for the guest. */
export function forcedOut(volumes: readonly AttachedVolume[]): string[] {
  return volumes.filter(({ row }) => row.attach_state === 'detaching' && volumeDoc(row).forceDetach)
    .map(({ row }) => row.volume_id)
}

/** Whether something about it comes into force only by comparing it with what a running machine has. */
export function isUnsettled({ row }: AttachedVolume): boolean {
  if (row.ready === 0 || row.state === 'error') return false
  return row.attach_state !== 'attached' || row.revision !== row.synced_revision
}

/** Whether a running machine may bring its layers together. */
export function hasLongChain({ row, head, next }: AttachedVolume): boolean {
  return head.depth + 1 > MOST_LAYERS && next === null && row.attach_state === 'attached' && row.ready === 1
}

/** What there is to do with an instance's volumes while it has no machine. */
export function restWorkOf(volumes: readonly AttachedVolume[]): RestWork {
  const usable = volumes.filter(({ row }) => row.ready === 1 && row.state !== 'error')
  const cannotWait = usable.some((volume) =>
    canSwitch(volume) || volume.row.attach_state === 'detaching' || isTooSmall(volume))
  if (cannotWait) return 'before-start'
  return usable.some((volume) => volume.next === null && isUnsettled(volume)) ? 'modifications' : 'none'
}

/** Whether its file is smaller than it should be, and may be made larger. */
export function isTooSmall({ row, head, next }: AttachedVolume): boolean {
  return next === null && head.state === 'open' && head.size_gib < row.size_gib
}

/** What follows from the volumes that a machine was seen to have open. */
export interface VolumeChanges {
  /** There now, and not yet said to be. */
  attached: VolumeTable[]
  /** Given up by the guest, or taken from it. */
  detached: VolumeTable[]
  /** There, with the size and the limits that they should have. */
  inForce: AttachedVolume[]
  /** Whether there is nothing to wait for. */
  isSettled: boolean
}

export function volumeChanges(volumes: readonly AttachedVolume[], open: readonly string[]): VolumeChanges {
  const isOpen = ({ row }: AttachedVolume) => open.includes(row.volume_id)
  const leaving = volumes.filter(({ row }) => row.attach_state === 'detaching')
  const detached = leaving.filter((volume) => !isOpen(volume))
  const staying = forMachine(volumes)
  return {
    attached: staying.filter((volume) => volume.row.attach_state === 'attaching' && isOpen(volume)).map(({ row }) => row),
    detached: detached.map(({ row }) => row),
    inForce: staying.filter((volume) => isOpen(volume) && needsRecord(volume)),
    isSettled: detached.length === leaving.length && staying.every(isOpen),
  }
}

/** One that is to become larger than its next layer waits for that first; there is nothing to write down until then. */
function needsRecord(volume: AttachedVolume): boolean {
  const { row, head } = volume
  const sizeGib = sizeInMachine(volume)
  return head.size_gib < sizeGib || (row.revision !== row.synced_revision && sizeGib === row.size_gib)
}

/** Writes it down; volumes that are something else by now are left alone. */
export async function recordVolumes(db: Db, instanceId: string, changes: VolumeChanges, nowMs: number): Promise<void> {
  for (const { volume_id: id } of changes.attached) {
    await recordAttached(db, { volumeId: id, instanceId }, nowMs)
  }
  for (const { volume_id: id } of changes.detached) {
    const row = await db
      .selectFrom('volumes').selectAll()
      .where('volume_id', '=', id).where('instance_id', '=', instanceId).where('attach_state', '=', 'detaching')
      .executeTakeFirst()
    if (row) await freeVolume(db, row, nowMs)
  }
  for (const volume of changes.inForce) await completeModification(db, volume.row, nowMs, sizeInMachine(volume))
}
