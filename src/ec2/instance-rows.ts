import { ApiError } from '../core/errors.ts'
import { inBatches } from '../store/batch.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'

/**
 * The rows of all instances named, each once, in the order of their names in the call.
 *
 * @throws ApiError MissingParameter without ids; InvalidInstanceID.Malformed or .NotFound when one is wrong.
 */
export async function requireInstances(
  { db, account }: Pick<Context, 'db' | 'account'>,
  ids: readonly string[] | undefined,
): Promise<InstanceTable[]> {
  if (!ids || ids.length === 0) throw missingParameter('InstanceId')
  checkIds(RESOURCE_KINDS.instance, ids)
  const rows = await inBatches([...new Set(ids)], (batch) =>
    db.selectFrom('instances').selectAll().where('account_id', '=', account).where('instance_id', 'in', batch).execute())
  const byId = new Map(rows.map((row) => [row.instance_id, row]))
  requireAll(RESOURCE_KINDS.instance, ids, new Set(byId.keys()))
  return [...new Set(ids)].flatMap((id) => byId.get(id) ?? [])
}

/** The row of the one instance named; errors as of `requireInstances`. */
export async function requireInstance(context: Context, id: string | undefined): Promise<InstanceTable> {
  const [row] = await requireInstances(context, id ? [id] : [])
  if (!row) throw new Error(`${id} was found without a row`)
  return row
}

/** The row of an instance that is not on its way out, which nothing can be changed of any more. */
export async function requireLivingInstance(context: Context, id: string | undefined): Promise<InstanceTable> {
  const row = await requireInstance(context, id)
  if (row.state === 'shutting-down' || row.state === 'terminated') {
    throw incorrectState(`The instance '${row.instance_id}' is not in the 'running' or 'stopped' states.`)
  }
  return row
}

/** Checks that an instance is stopped, as some of its attributes want. */
export function requireStopped(row: InstanceTable): void {
  if (row.state !== 'stopped') throw incorrectState(`The instance '${row.instance_id}' is not in the 'stopped' state.`)
}

/** EC2's error for an instance in a state that does not allow what was asked. */
export function incorrectState(message: string): ApiError {
  return new ApiError('IncorrectInstanceState', message)
}
