import type { Clock } from '../core/clock.ts'
import { changeInstanceDoc, hasContact, instanceDoc } from '../model/instance.ts'
import type { Store } from '../store/store.ts'

/**
 * Notes that the guest with this interface asked for its address, which every guest does once its
 * kernel and network are up: the sign of life that DescribeInstanceStatus goes by. Written once a start.
 */
export async function noteContact(
  { store, clock }: { store: Store; clock: Clock },
  vpcId: string,
  mac: string,
): Promise<void> {
  const row = await store.read((db) =>
    db
      .selectFrom('interfaces').innerJoin('instances', 'instances.instance_id', 'interfaces.instance_id')
      .select(['instances.instance_id', 'instances.launch_ms', 'instances.doc'])
      .where('interfaces.vpc_id', '=', vpcId).where('mac', '=', mac.toLowerCase())
      .executeTakeFirst())
  if (!row || hasContact(row, instanceDoc(row))) return
  const contactMs = Math.max(clock.now(), row.launch_ms)
  await store.transaction('instance.contact', (db) => changeInstanceDoc(db, row.instance_id, { contactMs }))
}
