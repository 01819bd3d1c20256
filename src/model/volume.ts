import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { isSameDevice } from './volume-device.ts'

/** What of a volume SQL never looks into. */
export interface VolumeDoc {
  iops: number | null
  throughputMibps: number | null
  /** The key that it is encrypted under; absent for a plain one. */
  kmsKeyId?: string
  /** It is being detached without waiting for the guest. */
  forceDetach?: boolean
  /** What the attribute autoEnableIO says. Nothing here ever disables the I/O of a volume. */
  autoEnableIo?: boolean
  /** The calls that asked for it, for its deletion and for its attachment; events name them. */
  requestIds?: { create?: string; delete?: string; attach?: string }
  /** Why its state is `error`. */
  errorMessage?: string
}

/** The doc of a volume row. */
export function volumeDoc(row: Pick<VolumeTable, 'doc'>): VolumeDoc {
  return JSON.parse(row.doc) as VolumeDoc
}

/** Changes part of a volume's doc; what is undefined goes. */
export async function changeVolumeDoc(
  db: Db,
  row: Pick<VolumeTable, 'volume_id' | 'doc'>,
  change: { [Name in keyof VolumeDoc]?: VolumeDoc[Name] | undefined },
): Promise<void> {
  await db
    .updateTable('volumes').set({ doc: JSON.stringify({ ...volumeDoc(row), ...change }) })
    .where('volume_id', '=', row.volume_id).execute()
}

/**
 * The volumes of an instance in the order of its disks: the root, from which it boots, then the
 * others as they were attached, by device name where that was at once.
 */
export function inDiskOrder<Row extends Pick<VolumeTable, 'attached_ms' | 'device'>>(
  rows: readonly Row[],
  rootDeviceName: string,
): Row[] {
  const ranks = (row: Row) => [isSameDevice(row.device, rootDeviceName) ? 0 : 1, row.attached_ms ?? 0, (row.device ?? '').length]
  return rows.toSorted((a, b) => {
    const [ranksA, ranksB] = [ranks(a), ranks(b)]
    const differing = ranksA.findIndex((rank, index) => rank !== ranksB[index])
    if (differing >= 0) return (ranksA[differing] ?? 0) - (ranksB[differing] ?? 0)
    return (a.device ?? '') < (b.device ?? '') ? -1 : 1
  })
}
