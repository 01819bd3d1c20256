import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import { NO_DELIVERY, type Delivery } from '../events/delivery.ts'
import { wakeAllTargets } from '../model/event-target.ts'
import { ensureMarket, wakeMarket } from '../model/spot-market.ts'
import { DONE, type Reconciler } from '../reconcile/loop.ts'
import type { Store } from '../store/store.ts'
import type { MarketOptions } from './context.ts'
import { createEventTargetReconciler } from './event-target.ts'
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
  /** As a killed process: it looks for nothing any more. */
  stop(): void
}

const NOT_THERE_YET: Reconciler = { reconcile: async () => DONE }

/** The regional part of a node's agent; events leave the cloud by `delivery`, and not at all without one. */
export function createRegional(options: RegionalOptions & { delivery?: Delivery }): Regional {
  const { store, clock, random, region, settings, zones } = options
  const market = new Market(zones)
  const eventTargets = createEventTargetReconciler({ delivery: NO_DELIVERY, ...options })
  return {
    reconcilers: {
      market: createMarketReconciler(options, market),
      'spot-request': createSpotRequestReconciler(options, market),
      // createFleetReconciler(options) of ./fleet.ts
      fleet: NOT_THERE_YET,
      'event-target': eventTargets,
    },
    stop: () => eventTargets.stop(),
    begin: async () => {
      await store.transaction('regional.begin', async (db) => {
        const nowMs = clock.now()
        await ensureMarket(db, { region, random, nowMs, settings })
        await wakeMarket(db, nowMs)
        await wakeAllTargets(db, nowMs)
      })
      await store.read((db) => market.fill(db))
    },
  }
}
