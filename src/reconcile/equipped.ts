import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

/**
 * Marks an instance due when the last of its interfaces and volumes has become ready; until then it
 * could only wait. For the transaction that records that one of them is.
 */
export async function enqueueEquipped(db: Db, instanceId: string, hostId: string, nowMs: number): Promise<void> {
  const missingPort = await db
    .selectFrom('interfaces').select('interface_id').where('instance_id', '=', instanceId).where('ready', '=', 0)
    .limit(1).executeTakeFirst()
  if (missingPort) return
  const missingVolume = await db
    .selectFrom('volumes').select('volume_id').where('instance_id', '=', instanceId).where('ready', '=', 0)
    .limit(1).executeTakeFirst()
  if (!missingVolume) await enqueue(db, { kind: 'instance', id: instanceId, hostId }, nowMs)
}
