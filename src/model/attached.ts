import type { VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { emitVolumeEvent } from './ebs-events.ts'
import { volumeDoc } from './volume.ts'

/** Records that a volume that was being attached is there; one that is something else by now is left alone. */
export async function recordAttached(
  db: Db,
  { volumeId, instanceId }: { volumeId: string; instanceId: string },
  nowMs: number,
): Promise<void> {
  const row = await db
    .updateTable('volumes').set({ attach_state: 'attached' })
    .where('volume_id', '=', volumeId).where('instance_id', '=', instanceId).where('attach_state', '=', 'attaching').returningAll().executeTakeFirst()
  if (row) await tell(db, row, nowMs)
}

/** The same for all that have their files, of an instance without a machine. */
export async function recordAttachedAtRest(db: Db, instanceId: string, nowMs: number): Promise<void> {
  const rows = await db
    .updateTable('volumes').set({ attach_state: 'attached' })
    .where('instance_id', '=', instanceId).where('attach_state', '=', 'attaching').where('ready', '=', 1).returningAll().execute()
  for (const row of rows) await tell(db, row, nowMs)
}

/** Volumes that came with a launch were never attached by a call. */
async function tell(db: Db, row: VolumeTable, nowMs: number): Promise<void> {
  const requestId = volumeDoc(row).requestIds?.attach
  if (requestId !== undefined) await emitVolumeEvent(db, row, { event: 'attachVolume', result: 'attached', requestId }, nowMs)
}
