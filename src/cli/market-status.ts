import { instanceDoc } from '../model/instance.ts'
import { frozenSince } from '../model/market-orders.ts'
import { loadMarket, NOTICE_MS } from '../model/spot-market.ts'
import type { Db } from '../store/store.ts'
import { formatDuration } from './terminal.ts'

/** What `hearth status` tells of the spot market. */
export interface SpotStatus {
  /** Spot instances that run, or start. */
  running: number
  /** Of these, the ones that have had notice. */
  underNotice: string[]
  /** From the notice of an interruption to the end of an instance. */
  noticeMs: number
  /** Since when prices stand still, as ISO 8601; null while they do not. */
  frozenSince: string | null
}

/** Null before the market of the region has begun. */
export async function readSpot(db: Db, region: string): Promise<SpotStatus | null> {
  const market = await loadMarket(db, region)
  if (!market) return null
  const rows = await db
    .selectFrom('instances').select(['instance_id', 'doc']).where('lifecycle', '=', 'spot').where('state', 'in', ['pending', 'running']).execute()
  const frozenMs = frozenSince(market)
  return {
    running: rows.length,
    underNotice: rows.filter((row) => instanceDoc(row).spot?.interruption).map((row) => row.instance_id),
    noticeMs: market.noticeMs, frozenSince: frozenMs === null ? null : new Date(frozenMs).toISOString(),
  }
}

/** A line, where there is anything to tell: nobody on spot, EC2's notice and prices that move are nothing new. */
export function spotLines({ running, underNotice, noticeMs, frozenSince: frozen }: SpotStatus): string[] {
  const parts = [
    ...(running > 0 ? [`${running} instance${running === 1 ? '' : 's'}`] : []),
    ...(underNotice.length > 0 ? [`${underNotice.length} under notice (${underNotice.join(', ')})`] : []),
    ...(noticeMs === NOTICE_MS ? [] : [`notice of ${formatDuration(noticeMs)}`]),
    ...(frozen === null ? [] : [`prices frozen since ${frozen.slice(0, 19).replace('T', ' ')}Z (hearth market unfreeze)`]),
  ]
  return parts.length === 0 ? [] : [`spot      ${parts.join(', ')}`]
}
