import type { SpotInstanceRequest } from '@aws-sdk/client-ec2'
import { ENDED_RETENTION_MS, notScheduledYet, priceTooLow, spotRequestDoc, toStatus, type SpotRequestMove } from '../model/spot-request.ts'
import { spotRequestToWire } from '../model/spot-request-wire.ts'
import { instanceType } from '../catalogue/instance-types.ts'
import { inBatches } from '../store/batch.ts'
import type { SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { sizeOf } from './run-instances-input.ts'
import { dollars } from './spot-places.ts'
import { loadSpotPrices } from './spot-prices.ts'
import { loadSpotSupplies, spotRoom } from './spot-supply.ts'
import { tagsOf, toWireTags } from './tags.ts'

type Reader = Pick<Context, 'db' | 'account' | 'region' | 'zones' | 'nowMs'>

/** Whether a request is shown still: for four hours after its end, and that of its instance. */
export function isShown(row: SpotRequestTable, nowMs: number): boolean {
  const { endedMs } = spotRequestDoc(row)
  return endedMs === null || row.status_code === 'request-canceled-and-instance-running' || nowMs < endedMs + ENDED_RETENTION_MS
}

/** The account's requests with these ids as they are shown, in that order; those that are not there are left out. */
export async function loadSpotRequests(reader: Reader, ids: readonly string[]): Promise<SpotInstanceRequest[]> {
  const rows = await findSpotRequests(reader, ids)
  const byId = new Map(rows.map((row) => [row.request_id, row]))
  return toWire(reader, ids.flatMap((id) => byId.get(id) ?? []))
}

/** The account's rows with these ids. */
export function findSpotRequests({ db, account }: Pick<Reader, 'db' | 'account'>, ids: readonly string[]): Promise<SpotRequestTable[]> {
  return inBatches(ids, (batch) =>
    db.selectFrom('spot_requests').selectAll().where('account_id', '=', account).where('request_id', 'in', batch).execute())
}

/** Requests as DescribeSpotInstanceRequests shows them. */
export async function toWire(reader: Reader, rows: readonly SpotRequestTable[]): Promise<SpotInstanceRequest[]> {
  const { db, account } = reader
  const tags = await tagsOf(db, rows.map((row) => row.request_id), account)
  const statusOf = await statuses(reader, rows)
  const groupIds = rows.flatMap((row) => spotRequestDoc(row).launch.SecurityGroupIds ?? [])
  const groups = await inBatches(new Set(groupIds), (batch) =>
    db.selectFrom('security_groups').select(['group_id', 'name']).where('group_id', 'in', batch).execute())
  const names = new Map(groups.map((each) => [each.group_id, each.name]))
  return rows.map((row) => spotRequestToWire(row, statusOf(row), { tags: toWireTags(tags.get(row.request_id)), groupNames: names }))
}

/** What an open request waits for follows from price and supply, and is not written down for each whenever these change. */
const FOLLOWING = new Set(['pending-evaluation', 'price-too-low', 'capacity-not-available', 'not-scheduled-yet'])

/** The statuses of requests as they are now. */
async function statuses({ db, region, zones: all, nowMs }: Reader, rows: readonly SpotRequestTable[]): Promise<(row: SpotRequestTable) => SpotRequestMove> {
  const asWritten = (row: SpotRequestTable) => ({ state: row.state, status: row.status_code, message: spotRequestDoc(row).statusMessage }) as SpotRequestMove
  if (!rows.some((row) => row.state === 'open' && FOLLOWING.has(row.status_code))) return asWritten
  const prices = await loadSpotPrices(db, region, nowMs)
  const supplies = await loadSpotSupplies(db, region)
  return (row) => {
    if (row.state !== 'open' || !FOLLOWING.has(row.status_code)) return asWritten(row)
    if (row.valid_from_ms !== null && row.valid_from_ms > nowMs) return notScheduledYet(row.valid_from_ms)
    const zones = row.zone === null ? spotRequestDoc(row).zones ?? all : [row.zone]
    const priced = zones.map((zone) => ({ zone, price: prices.priceMicroUsd(row.instance_type, zone) ?? Number.POSITIVE_INFINITY }))
    const affordable = priced.filter(({ price }) => price <= row.max_price_micro_usd)
    const lowest = Math.min(...priced.map(({ price }) => price))
    if (affordable.length === 0) return toStatus('open', 'price-too-low', priceTooLow(dollars(row.max_price_micro_usd), dollars(lowest)))
    const info = instanceType(row.instance_type)
    const hasRoom = info && affordable.some(({ zone }) => spotRoom(supplies.get(zone), sizeOf(row.instance_type, info)) > 0)
    if (!hasRoom || row.status_code === 'capacity-not-available') return toStatus('open', 'capacity-not-available')
    return toStatus('open', 'pending-evaluation')
  }
}
