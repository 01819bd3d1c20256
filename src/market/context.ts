import type { Cidr } from '../core/cidr.ts'
import type { Random } from '../core/random.ts'
import type { Context } from '../ec2/context.ts'
import type { SpotMarketSettings } from '../model/spot-market.ts'
import type { Db } from '../store/store.ts'

/** What whoever launches for accounts, without a call of theirs, has to know of the region. */
export interface MarketOptions {
  region: string
  /** Names of its zones. */
  zones: readonly string[]
  placement: Context['placement']
  publicPool: Cidr
  settings: SpotMarketSettings
}

/** The context of what is done for an account that has not called. */
export function contextFor(
  { region, zones, placement, publicPool, random }: MarketOptions & { random: Random },
  db: Db,
  account: string,
  nowMs: number,
): Context {
  return { db, account, region, regions: [region], zones, placement, publicPool, random, nowMs, requestId: 'hearth', accessKeyId: null }
}
