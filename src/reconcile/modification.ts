import { emitVolumeEvent } from '../model/ebs-events.ts'
import { modificationDoc } from '../model/volume-modification.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/**
 * For the transaction that records that size and limits of a volume are in force as they were read in
 * `row`: its layer has that size, and a modification is complete (what EC2 calls optimizing takes no time
 * here). Where the row asks for something else by now, or is another instance's, nothing is complete.
 *
 * @param sizeGib the size that is in force, when it is not yet the one that the row asks for.
 */
export async function completeModification(db: Db, row: VolumeTable, nowMs: number, sizeGib = row.size_gib): Promise<void> {
  const now = await db
    .selectFrom('volumes').select(['revision', 'layer_id', 'instance_id']).where('volume_id', '=', row.volume_id)
    .executeTakeFirst()
  if (!now || now.layer_id !== row.layer_id || now.instance_id !== row.instance_id) return
  await db
    .updateTable('layers').set({ size_gib: sizeGib })
    .where('layer_id', '=', row.layer_id).where('size_gib', '<', sizeGib).execute()
  if (now.revision !== row.revision || sizeGib !== row.size_gib) return
  await db.updateTable('volumes').set({ synced_revision: row.revision }).where('volume_id', '=', row.volume_id).execute()
  const completed = await db
    .updateTable('volume_modifications').set({ state: 'completed', ended_ms: nowMs })
    .where('volume_id', '=', row.volume_id).where('state', 'in', ['modifying', 'optimizing']).returning('doc').executeTakeFirst()
  if (!completed) return
  // Whoever makes a file system larger waits for the first, which takes no time here.
  for (const result of ['optimizing', 'completed'] as const) {
    await emitVolumeEvent(db, row, { event: 'modifyVolume', result, requestId: modificationDoc(completed).requestId }, nowMs)
  }
}
