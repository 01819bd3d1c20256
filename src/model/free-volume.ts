import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { volumeDoc } from './volume.ts'

/**
 * Lets a volume go that no machine has open any more: it is available. What is still to be done with it
 * (a freeze, more room) its own reconciler does from here on.
 */
export async function freeVolume(
  db: Db,
  row: Pick<VolumeTable, 'volume_id' | 'host_id' | 'doc'>,
  nowMs: number,
): Promise<void> {
  const { forceDetach: _gone, ...doc } = volumeDoc(row)
  await db
    .updateTable('volumes')
    .set({
      instance_id: null, device: null, attach_state: null, attached_ms: null, delete_on_termination: 0, state: 'available',
      doc: JSON.stringify(doc),
    })
    .where('volume_id', '=', row.volume_id).execute()
  await enqueue(db, { kind: 'volume', id: row.volume_id, hostId: row.host_id }, nowMs)
}
