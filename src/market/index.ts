import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import { NO_DELIVERY, type Delivery } from '../events/delivery.ts'
import { wakeAllTargets } from '../model/event-target.ts'
import { ensureMarket, leadingNode, wakeMarket } from '../model/spot-market.ts'
import type { Reconciler } from '../reconcile/loop.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { MarketOptions } from './context.ts'
import { createEventTargetReconciler } from './event-target.ts'
import { createFleetReconciler } from './fleet.ts'
import { createMarketReconciler } from './market-tick.ts'
import { Market } from './market.ts'
import { createUsageReconciler, USAGE_BOOKS } from './seal-usage.ts'
import { createSpotRequestReconciler } from './spot-request.ts'
import { WaitingFleets } from './waiting-fleets.ts'

/** What there is one of in a region: its market, spot requests, fleets, deliveries of events, the books of what is to be paid. */
export type RegionalKind = 'market' | 'spot-request' | 'fleet' | 'event-target' | 'usage'

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

/** The regional part of a node's agent; events leave the cloud by `delivery`, and not at all without one. */
export function createRegional(options: RegionalOptions & { delivery?: Delivery }): Regional {
  const { store, clock, random, region, settings, zones } = options
  const market = new Market(zones)
  const waiting = new WaitingFleets()
  const eventTargets = createEventTargetReconciler({ delivery: NO_DELIVERY, ...options })
  return {
    reconcilers: {
      market: createMarketReconciler(options, market, waiting),
      'spot-request': createSpotRequestReconciler(options, market),
      fleet: createFleetReconciler(options, waiting),
      'event-target': eventTargets,
      usage: createUsageReconciler(options),
    },
    stop: () => eventTargets.stop(),
    begin: async () => {
      await store.transaction('regional.begin', async (db) => {
        const nowMs = clock.now()
        await ensureMarket(db, { region, random, nowMs, settings })
        await wakeMarket(db, nowMs)
        await wakeAllTargets(db, nowMs)
        const hostId = await leadingNode(db)
        if (hostId !== undefined) await enqueue(db, { kind: 'usage', id: USAGE_BOOKS, hostId }, nowMs)
      })
      await store.read((db) => market.fill(db))
    },
  }
}
