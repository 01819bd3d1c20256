import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

/** The host of an instance that lacks nothing. */
const hostOfEquipped = prepared((db, instanceId: string) =>
  db.selectFrom('instances').select('instances.host_id').where('instances.instance_id', '=', instanceId)
    .where(({ not, exists, selectFrom }) => not(exists(
      selectFrom('interfaces').select('interface_id').where('interfaces.instance_id', '=', instanceId).where('ready', '=', 0)
        .where('status', '<>', 'detaching'))))
    .where(({ not, exists, selectFrom }) => not(exists(
      selectFrom('volumes').select('volume_id').where('volumes.instance_id', '=', instanceId).where('ready', '=', 0)))))

/**
 * Marks an instance due when the last of its interfaces and volumes has become ready; until then it
 * could only wait (not for an interface that it is giving up). For the transaction that records that one of them is.
 */
export async function enqueueEquipped(db: Db, instanceId: string, nowMs: number): Promise<void> {
  const [instance] = await hostOfEquipped(db, instanceId)
  if (instance) await enqueue(db, { kind: 'instance', id: instanceId, hostId: instance.host_id }, nowMs)
}
