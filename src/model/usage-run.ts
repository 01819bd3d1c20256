import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, UsageRunTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { instanceDoc } from './instance.ts'

/** What one run has cost on one day, UTC. */
export interface DayCharge {
  /** 2026-01-31 */
  day: string
  /** For how long it was to be paid. */
  billedMs: number
  costMicroUsd: number
  /** What as much of the type would have cost on demand. */
  onDemandMicroUsd: number
}

/** What of a run SQL never looks into. */
export interface UsageRunDoc {
  imageId: string
  /** The type's price on demand when the run began, micro-dollars per hour; null for a type without a known one. */
  onDemandMicroUsd: number | null
  /** The most that the user of a spot instance pays, micro-dollars per hour; null where nothing limits it. */
  maxPriceMicroUsd: number | null
  /** The instance's tags when the run ended; those of one that goes on are the instance's. */
  tags: Record<string, string>
  /** The market took the instance away: what ended so in its first hour is free. */
  isInterrupted: boolean
  /** What days have cost whose prices may not be known any more one day; the first one first. */
  sealed: DayCharge[]
}

/** How long a bill goes back: what ended more months ago is forgotten. */
export const USAGE_RETENTION_MONTHS = 13

/** Codes of the reasons of instances that the market took away. */
const TAKEN_AWAY = /^Server\.Spot/

export function usageRunDoc(row: Pick<UsageRunTable, 'doc'>): UsageRunDoc {
  return JSON.parse(row.doc) as UsageRunDoc
}

const openRun = prepared((db, instanceId: string) =>
  db.selectFrom('usage_runs').selectAll().where('instance_id', '=', instanceId).where('until_ms', 'is', null))
const insertRun = prepared((
  db, instanceId: string, fromMs: number, account: string, zone: string, type: string, lifecycle: UsageRunTable['lifecycle'], doc: string,
) => db
  .insertInto('usage_runs')
  .values({
    instance_id: instanceId, from_ms: fromMs, until_ms: null, account_id: account, zone, instance_type: type, lifecycle,
    unsealed_from_ms: fromMs, doc,
  })
  // Two that begin in one millisecond, as only a clock that stands still can have them, are one.
  .onConflict((conflict) => conflict.columns(['instance_id', 'from_ms']).doUpdateSet((eb) => ({
    until_ms: eb.ref('excluded.until_ms'), unsealed_from_ms: eb.ref('excluded.unsealed_from_ms'), doc: eb.ref('excluded.doc'),
  }))))
const endRun = prepared((db, untilMs: number, doc: string, instanceId: string, fromMs: number) =>
  db.updateTable('usage_runs').set({ until_ms: untilMs, doc }).where('instance_id', '=', instanceId).where('from_ms', '=', fromMs))
const setRunDoc = prepared((db, doc: string, instanceId: string, fromMs: number) =>
  db.updateTable('usage_runs').set({ doc }).where('instance_id', '=', instanceId).where('from_ms', '=', fromMs))
const tagsOf = prepared((db, instanceId: string) =>
  db.selectFrom('tags').select(['key', 'value']).where('resource_type', '=', 'instance').where('resource_id', '=', instanceId))
const maxPriceOf = prepared((db, requestId: string) =>
  db.selectFrom('spot_requests').select('max_price_micro_usd').where('request_id', '=', requestId))

/**
 * Starts and stops the meter of an instance as its state changes: it is to be paid for while it is `running`, and while it is
 * `stopping` to be hibernated; reboots and recoveries are no change of state, a start after a stop begins anew. `before` is
 * null for a launch.
 *
 * Source: AWS, "Amazon EC2 instance state changes", https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
 */
export async function meterInstance(db: Db, before: InstanceTable | null, after: InstanceTable, nowMs: number): Promise<void> {
  if (after.state === 'running') {
    await beginRun(db, after, nowMs)
    return
  }
  if (before?.state !== 'running' && before?.state !== 'stopping') return
  const [run] = await openRun(db, after.instance_id)
  if (!run) return
  const doc = usageRunDoc(run)
  const { stateReason, hibernate } = instanceDoc(after)
  // What comes after that says no more why the instance stopped running.
  if (before.state === 'running') doc.isInterrupted = after.lifecycle === 'spot' && TAKEN_AWAY.test(stateReason?.code ?? '')
  if (after.state === 'stopping' && hibernate === true) {
    await setRunDoc(db, JSON.stringify(doc), run.instance_id, run.from_ms)
    return
  }
  doc.tags = Object.fromEntries((await tagsOf(db, after.instance_id)).map(({ key, value }) => [key, value]))
  await endRun(db, Math.max(run.from_ms, nowMs), JSON.stringify(doc), run.instance_id, run.from_ms)
}

async function beginRun(db: Db, row: InstanceTable, nowMs: number): Promise<void> {
  const [request] = row.spot_request_id === null ? [] : await maxPriceOf(db, row.spot_request_id)
  const doc: UsageRunDoc = {
    imageId: row.image_id, onDemandMicroUsd: onDemandMicroUsd(row.instance_type) ?? null,
    maxPriceMicroUsd: request?.max_price_micro_usd ?? null, tags: {}, isInterrupted: false, sealed: [],
  }
  await insertRun(db, row.instance_id, nowMs, row.account_id, row.zone, row.instance_type, row.lifecycle, JSON.stringify(doc))
}

/** Starts the meters of instances that have run since before there was one, from now on. */
export async function meterRunning(db: Db, nowMs: number): Promise<void> {
  const rows = await db
    .selectFrom('instances').selectAll().where('state', '=', 'running')
    .where('instance_id', 'not in', (eb) => eb.selectFrom('usage_runs').select('usage_runs.instance_id').where('until_ms', 'is', null))
    .execute()
  for (const row of rows) await beginRun(db, row, nowMs)
}
