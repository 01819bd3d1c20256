import { open } from 'node:fs/promises'
import { writeAll } from './files.ts'
import { buildHeader, CLUSTER_BYTES } from './header.ts'
import { LUKS_HEADER_BYTES, newLuksHeader } from './luks.ts'

/** What an entry of the first-level table reaches: a table of 8-byte entries for one cluster each. */
const BYTES_PER_L1_ENTRY = (CLUSTER_BYTES / 8) * CLUSTER_BYTES
/** As many clusters as the first block of reference counts has counts for, 2 bytes each. */
const COUNTED_CLUSTERS = CLUSTER_BYTES / 2

export interface NewDisk {
  sizeBytes: number
  /** Name of the layer below, relative to the file; null for none. */
  backing: string | null
  /** Passphrase of a disk that is encrypted; null for a plain one. */
  key: string | null
}

/**
 * Writes an empty qcow2 file, for its owner alone: header, reference counts, an empty first-level table
 * and the LUKS header. The same as `qemu-img create` makes, without a process, so that a launch is not
 * slowed down by it; nothing else of the format is ever written here.
 *
 * @throws Error EEXIST when the file is there.
 */
export async function makeDisk(file: string, { sizeBytes, backing, key }: NewDisk): Promise<void> {
  const entries = Math.ceil(sizeBytes / BYTES_PER_L1_ENTRY)
  const luksClusters = key === null ? 0 : Math.ceil(LUKS_HEADER_BYTES / CLUSTER_BYTES)
  const l1Cluster = 3 + luksClusters
  const clusters = l1Cluster + Math.ceil((entries * 8) / CLUSTER_BYTES)
  if (clusters > COUNTED_CLUSTERS) throw new Error(`a disk cannot have ${sizeBytes} bytes`)
  const luks = key === null ? null : { offset: 3 * CLUSTER_BYTES, bytes: LUKS_HEADER_BYTES }
  const header = buildHeader({
    sizeBytes, backing, luks, l1: { offset: l1Cluster * CLUSTER_BYTES, entries }, refcountTableOffset: CLUSTER_BYTES,
  })
  const refcountTable = Buffer.alloc(8)
  refcountTable.writeBigUInt64BE(BigInt(2 * CLUSTER_BYTES))
  const refcounts = Buffer.alloc(clusters * 2)
  for (let cluster = 0; cluster < clusters; cluster++) refcounts.writeUInt16BE(1, cluster * 2)
  const luksHeader = key === null ? null : await newLuksHeader(key)

  const handle = await open(file, 'wx', 0o600)
  try {
    await writeAll(handle, header, 0)
    await writeAll(handle, refcountTable, CLUSTER_BYTES)
    await writeAll(handle, refcounts, 2 * CLUSTER_BYTES)
    if (luks && luksHeader) await writeAll(handle, luksHeader, luks.offset)
    await handle.truncate(clusters * CLUSTER_BYTES)
  } finally {
    await handle.close()
  }
}
