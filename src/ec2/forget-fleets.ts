import { isForgotten } from '../model/fleet.ts'
import { inBatches } from '../store/batch.ts'
import type { FleetTable } from '../store/schema.ts'
import { forgetTokensOf } from './client-token.ts'
import type { Context } from './context.ts'
import { deleteTagsOf } from './tags.ts'

/** Forgets the account's fleets of a kind that are shown to nobody any more, with their tags, tokens and history. */
export async function forgetFleets(context: Context, kind: FleetTable['kind']): Promise<void> {
  const { db, account, nowMs } = context
  const rows = await db
    .selectFrom('fleets').selectAll().where('account_id', '=', account).where('kind', '=', kind)
    .where('state', 'in', ['deleted_terminating', 'deleted']).execute()
  const ids = rows.filter((row) => isForgotten(row, nowMs)).map((row) => row.fleet_id)
  await deleteTagsOf(db, ids)
  for (const id of ids) await forgetTokensOf(context, id)
  await inBatches(ids, (batch) => db.deleteFrom('fleets').where('fleet_id', 'in', batch).execute())
}
