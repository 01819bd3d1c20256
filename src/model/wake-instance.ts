import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

const hostOf = prepared((db, instanceId: string) =>
  db.selectFrom('instances').select('host_id').where('instance_id', '=', instanceId))

/** Marks an instance due on its host, for those who know only its id: its volumes may be another host's. */
export async function wakeInstance(db: Db, instanceId: string, nowMs: number): Promise<void> {
  const [instance] = await hostOf(db, instanceId)
  if (instance) await enqueue(db, { kind: 'instance', id: instanceId, hostId: instance.host_id }, nowMs)
}
