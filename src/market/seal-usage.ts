import { forgottenBeforeMs, dayStartMs, sealOf, type Metered, type SpotPriceAt } from '../billing/charge.ts'
import { loadSpotPrices } from '../ec2/spot-prices.ts'
import type { Clock } from '../core/clock.ts'
import { meterRunning, usageRunDoc } from '../model/usage-run.ts'
import { again, type Reconciler } from '../reconcile/loop.ts'
import type { UsageRunTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'

/** How often it is looked for runs whose cost is to be written down. */
const SEAL_INTERVAL_MS = 10 * 60_000
/** Runs that are sealed in one transaction. */
const BATCH = 200

/** What of a row its cost follows from. */
export function meteredOf(row: UsageRunTable): Metered {
  const { onDemandMicroUsd, maxPriceMicroUsd, isInterrupted, sealed } = usageRunDoc(row)
  return {
    instanceType: row.instance_type, zone: row.zone, lifecycle: row.lifecycle, fromMs: row.from_ms, untilMs: row.until_ms,
    onDemandMicroUsd, maxPriceMicroUsd, isInterrupted, sealed,
  }
}

/**
 * Writes down what runs have cost while their prices are known: of those that have ended all, of others the days that are over.
 * Runs that are too old for any bill are forgotten.
 */
export async function sealUsage(store: Store, region: string, nowMs: number): Promise<void> {
  let sealed = BATCH
  while (sealed === BATCH) sealed = await store.transaction('usage.seal', (db) => sealSome(db, region, nowMs))
  await store.transaction('usage.forget', (db) =>
    db.deleteFrom('usage_runs').where('until_ms', '<', forgottenBeforeMs(nowMs)).where('unsealed_from_ms', 'is', null).execute())
}

/** What the cost of these runs follows from, as far as it is not written down. */
export async function spotPricesOf(db: Db, region: string, runs: readonly UsageRunTable[], nowMs: number): Promise<SpotPriceAt> {
  const unsealed = runs.filter((run) => run.lifecycle === 'spot' && run.unsealed_from_ms !== null)
  if (unsealed.length === 0) return () => undefined
  const fromMs = unsealed.reduce((least, run) => Math.min(least, run.unsealed_from_ms ?? run.from_ms), nowMs)
  // The price of an hour is that of its beginning, which may be before the day.
  const prices = await loadSpotPrices(db, region, nowMs, fromMs - 3_600_000)
  return (type, zone, atMs) => prices.priceMicroUsd(type, zone, atMs)
}

async function sealSome(db: Db, region: string, nowMs: number): Promise<number> {
  const open = db.selectFrom('usage_runs').selectAll().where('unsealed_from_ms', 'is not', null)
  const ended = await open.where('until_ms', 'is not', null).orderBy('until_ms').limit(BATCH).execute()
  const long = await open
    .where('until_ms', 'is', null).where('unsealed_from_ms', '<', dayStartMs(nowMs)).orderBy('unsealed_from_ms').limit(BATCH).execute()
  const rows = [...ended, ...long].slice(0, BATCH)
  const priceAt = await spotPricesOf(db, region, rows, nowMs)
  let changed = 0
  for (const row of rows) {
    const { sealed, unsealedFromMs } = sealOf(meteredOf(row), nowMs, priceAt)
    if (unsealedFromMs === row.unsealed_from_ms) continue
    changed++
    await db
      .updateTable('usage_runs').set({ unsealed_from_ms: unsealedFromMs, doc: JSON.stringify({ ...usageRunDoc(row), sealed }) })
      .where('instance_id', '=', row.instance_id).where('from_ms', '=', row.from_ms).execute()
  }
  return changed
}

/** The one thing of the kind `usage`. */
export const USAGE_BOOKS = 'books'

/** Keeps the books of a region: at its first run it starts the meters of what has run since before there were any. */
export function createUsageReconciler({ store, clock, region }: { store: Store; clock: Clock; region: string }): Reconciler {
  let hasMetered = false
  return {
    async reconcile() {
      const nowMs = clock.now()
      if (!hasMetered) await store.transaction('usage.begin', (db) => meterRunning(db, nowMs))
      hasMetered = true
      await sealUsage(store, region, nowMs)
      return again(SEAL_INTERVAL_MS)
    },
  }
}
