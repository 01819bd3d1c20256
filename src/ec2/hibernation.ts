import { ApiError } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import { keepsMemory } from '../model/memory.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'

/**
 * Checks that the instance was launched so that it can be hibernated.
 *
 * @throws ApiError UnsupportedHibernationConfiguration.
 */
export function checkHibernationConfigured(row: InstanceTable): void {
  if (instanceDoc(row).hibernation) return
  throw new ApiError(
    'UnsupportedHibernationConfiguration',
    `The instance can't be hibernated because it was not configured at launch for hibernation: ${row.instance_id}`,
  )
}

/**
 * Checks that a running instance can be hibernated now: its guest has come up once, so that there is something to keep (a
 * simulated one is up as soon as it runs), and nothing of its machine is about to change, which its memory
 * would not know of.
 *
 * @throws ApiError UnsupportedOperation.
 */
export async function checkReadyToHibernate({ db }: Context, row: InstanceTable): Promise<void> {
  const { contactMs, platform } = instanceDoc(row)
  const isUp = platform?.accelerator === 'sim' || contactMs !== null
  const changing = await db
    .selectFrom('volumes').select('volume_id').where('instance_id', '=', row.instance_id)
    .where((eb) => eb.or([eb('attach_state', '<>', 'attached'), eb('revision', '<>', eb.ref('synced_revision'))]))
    .unionAll(db
      .selectFrom('interfaces').select('interface_id as volume_id').where('instance_id', '=', row.instance_id)
      .where('status', '<>', 'in-use'))
    .execute()
  if (isUp && changing.length === 0) return
  throw new ApiError('UnsupportedOperation', `Instance ${row.instance_id} is not ready to hibernate yet, retry in a few minutes`)
}

/**
 * Refuses a change that the memory of a hibernated guest would not know of; `what` completes "its instance type".
 *
 * @throws ApiError UnsupportedOperation.
 */
export function refuseHibernated(row: InstanceTable, what: string): void {
  if (!keepsMemory(row)) return
  throw new ApiError(
    'UnsupportedOperation',
    `The instance '${row.instance_id}' is hibernated, and so ${what} cannot be changed. Start it, and stop it without ` +
      'hibernation first.',
  )
}
