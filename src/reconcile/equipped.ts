import { wakeInstance } from '../model/wake-instance.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

const missing = prepared((db, instanceId: string) =>
  db.selectFrom('interfaces').select('interface_id as id').where('instance_id', '=', instanceId).where('ready', '=', 0)
    .where('status', '<>', 'detaching')
    .unionAll(db.selectFrom('volumes').select('volume_id as id').where('instance_id', '=', instanceId).where('ready', '=', 0))
    .limit(1))

/**
 * Marks an instance due when the last of its interfaces and volumes has become ready; until then it
 * could only wait (not for an interface that it is giving up). For the transaction that records that one of them is.
 */
export async function enqueueEquipped(db: Db, instanceId: string, nowMs: number): Promise<void> {
  if ((await missing(db, instanceId)).length > 0) return
  await wakeInstance(db, instanceId, nowMs)
}
