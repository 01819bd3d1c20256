import { changeInstanceDoc, changeInstanceOptions, type InstanceOptions } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import type { InstanceSize } from './run-instances-input.ts'

/**
 * Gives a stopped instance another size; the next start takes capacity for it. What the guest really got is found out
 * again at the start, so that the tag that tells of it goes.
 */
export async function resize(
  { db }: Pick<Context, 'db'>,
  row: InstanceTable,
  { name, vcpus, memoryMib }: InstanceSize,
  cpu: InstanceOptions['cpu'],
): Promise<void> {
  await db
    .updateTable('instances').set({ instance_type: name, vcpus, memory_mib: memoryMib })
    .where('instance_id', '=', row.instance_id).execute()
  await changeInstanceDoc(db, row.instance_id, { granted: null })
  await changeInstanceOptions(db, row.instance_id, { cpu })
  await db
    .deleteFrom('tags')
    .where('account_id', '=', row.account_id).where('resource_id', '=', row.instance_id).where('key', '=', 'hearth:shrunk')
    .execute()
}
