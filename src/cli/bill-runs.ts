import type { BilledRun, BillPeriod } from '../billing/bill.ts'
import { LEAST_BILLED_MS, type SpotPriceAt } from '../billing/charge.ts'
import { meteredOf, spotPricesOf } from '../market/seal-usage.ts'
import { usageRunDoc } from '../model/usage-run.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { Db } from '../store/store.ts'

/** The runs that may have cost something within a period, and the prices that they are charged at. */
export async function readRuns(
  db: Db,
  { region, nowMs }: { region: string; nowMs: number },
  { fromMs, untilMs }: BillPeriod,
): Promise<{ runs: BilledRun[]; spotPriceAt: SpotPriceAt }> {
  const rows = await db
    .selectFrom('usage_runs').selectAll().where('from_ms', '<', untilMs)
    // The least that is charged may reach beyond the end of a run.
    .where((eb) => eb.or([eb('until_ms', 'is', null), eb('until_ms', '>=', fromMs - LEAST_BILLED_MS)]))
    .orderBy('from_ms').execute()
  const running = rows.filter((row) => row.until_ms === null).map((row) => row.instance_id)
  const tags = groupBy(
    await inBatches(running, (batch) =>
      db.selectFrom('tags').selectAll().where('resource_type', '=', 'instance').where('resource_id', 'in', batch).execute()),
    (tag) => tag.resource_id,
  )
  const tagsNow = (id: string) => Object.fromEntries((tags.get(id) ?? []).map(({ key, value }) => [key, value]))
  return {
    runs: rows.map((row) => {
      const doc = usageRunDoc(row)
      return {
        ...meteredOf(row), instanceId: row.instance_id, accountId: row.account_id, imageId: doc.imageId,
        tags: row.until_ms === null ? tagsNow(row.instance_id) : doc.tags,
      }
    }),
    spotPriceAt: await spotPricesOf(db, region, rows, nowMs),
  }
}
