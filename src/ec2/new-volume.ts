import { newId } from '../core/ids.ts'
import { insertLayer, insertLayerCopy, isExposed } from '../model/layer.ts'
import type { VolumeDoc } from '../model/volume.ts'
import type { VolumeTypeName } from '../model/volume-type.ts'
import { insertRow, prepared } from '../store/prepared.ts'
import type { InstanceTable, LayerTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { insertTags, type TagInput } from './tags.ts'

/** What a new volume is to be; `iops`, `throughputMibps` and the key are in its doc. */
export interface NewVolume extends VolumeDoc {
  sizeGib: number
  volumeType: VolumeTypeName
  /** What it starts from; null for an empty one. */
  snapshotId: string | null
}

/** Where it is to be, and the instance that it is a part of from the beginning. */
export interface VolumePlace {
  hostId: string
  zone: string
  attachment: { instance: InstanceTable; deviceName: string; deleteOnTermination: boolean } | null
}

/** Writes a new volume with its layer and tags, and marks it due: its file does not exist yet. */
export async function insertVolume(
  context: Context,
  volume: NewVolume,
  place: VolumePlace,
  tags: readonly TagInput[],
  volumeId = newId(context.random, 'vol'),
): Promise<VolumeTable> {
  const { db, account, nowMs } = context
  const { attachment } = place
  const encryption = volume.kmsKeyId === undefined ? {} : { kmsKeyId: volume.kmsKeyId }
  const layer = await insertLayer(context, {
    account, hostId: place.hostId, parent: await layerFor(context, volume), state: 'making', sizeGib: volume.sizeGib,
    doc: encryption,
  })
  const row: VolumeTable = {
    volume_id: volumeId, account_id: account, host_id: place.hostId, zone: place.zone,
    size_gib: volume.sizeGib, volume_type: volume.volumeType, snapshot_id: volume.snapshotId,
    state: 'creating', ready: 0, instance_id: attachment?.instance.instance_id ?? null, device: attachment?.deviceName ?? null,
    attach_state: attachment ? 'attaching' : null, attached_ms: attachment ? nowMs : null,
    delete_on_termination: attachment?.deleteOnTermination ? 1 : 0,
    created_ms: nowMs, layer_id: layer.layer_id, next_layer_id: null, freeze: null,
    encrypted: volume.kmsKeyId === undefined ? 0 : 1, revision: 1, synced_revision: 0, binned_ms: null, bin_exit_ms: null,
    doc: JSON.stringify({ iops: volume.iops, throughputMibps: volume.throughputMibps, ...encryption, requestIds: { create: context.requestId } } satisfies VolumeDoc),
  }
  await insertRow(db, 'volumes', { ...row })
  await insertTags(db, account, 'volume', volumeId, tags)
  await enqueue(db, { kind: 'volume', id: volumeId, hostId: place.hostId }, nowMs)
  return row
}

/**
 * What the volume's own layer is to stand on: its snapshot's, or, for an encrypted volume of a plain snapshot, a copy of that
 * under the volume's key. The volume waits for it.
 */
async function layerFor(context: Context, { snapshotId, kmsKeyId }: NewVolume): Promise<LayerTable | null> {
  const under = await layerUnder(context.db, snapshotId)
  if (under === null || kmsKeyId === undefined || !(await isExposed(context.db, under))) return under
  return insertLayerCopy(context, under, { account: context.account, kmsKeyId })
}

const layerOfSnapshot = prepared((db, snapshotId: string) =>
  db.selectFrom('snapshots').innerJoin('layers', 'layers.layer_id', 'snapshots.layer_id').selectAll('layers')
    .where('snapshot_id', '=', snapshotId))

/** The layer with a snapshot's data. */
export async function layerUnder(db: Db, snapshotId: string | null): Promise<LayerTable | null> {
  if (snapshotId === null) return null
  const [layer] = await layerOfSnapshot(db, snapshotId)
  if (!layer) throw new Error(`snapshot ${snapshotId} has no layer`)
  return layer
}
