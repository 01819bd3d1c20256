import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import { ensureMarket, wakeMarket } from '../model/spot-market.ts'
import { DONE, type Reconciler } from '../reconcile/loop.ts'
import type { Store } from '../store/store.ts'
import type { MarketOptions } from './context.ts'
import { createFleetReconciler } from './fleet.ts'
import { createMarketReconciler } from './market-tick.ts'
import { Market } from './market.ts'
import { createSpotRequestReconciler } from './spot-request.ts'

/** What there is one of in a region: its market, spot requests, fleets, deliveries of events. */
export type RegionalKind = 'market' | 'spot-request' | 'fleet' | 'event-target'

export interface RegionalOptions extends MarketOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
}

/** What the agent of the leading node does beside its machines. */
export interface Regional {
  reconcilers: Record<RegionalKind, Reconciler>
  /** Before they run: what the settings say is written down, and all of it is due. */
  begin(): Promise<void>
}

const NOT_THERE_YET: Reconciler = { reconcile: async () => DONE }

/** The regional part of a node's agent. */
export function createRegional(options: RegionalOptions): Regional {
  const { store, clock, random, region, settings, zones } = options
  const market = new Market(zones)
  return {
    reconcilers: {
      market: createMarketReconciler(options, market),
      'spot-request': createSpotRequestReconciler(options, market),
      fleet: createFleetReconciler(options),
      // createEventTargetReconciler(options) of ./event-target.ts
      'event-target': NOT_THERE_YET,
    },
    begin: async () => {
      await store.transaction('regional.begin', async (db) => {
        const nowMs = clock.now()
        await ensureMarket(db, { region, random, nowMs, settings })
        await wakeMarket(db, nowMs)
      })
      await store.read((db) => market.fill(db))
    },
  }
}
