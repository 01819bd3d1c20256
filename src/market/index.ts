import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import { ensureMarket, leadingNode, wakeMarket } from '../model/spot-market.ts'
import { DONE, type Reconciler } from '../reconcile/loop.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { MarketOptions } from './context.ts'
import { createUsageReconciler, USAGE_BOOKS } from './seal-usage.ts'

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
}

/** The regional part of a node's agent. */
export function createRegional({ store, clock, random, region, settings }: RegionalOptions): Regional {
  const none: Reconciler = { reconcile: async () => DONE }
  return {
    reconcilers: { market: none, 'spot-request': none, fleet: none, 'event-target': none, usage: createUsageReconciler({ store, clock, region }) },
    begin: () => store.transaction('regional.begin', async (db) => {
      const nowMs = clock.now()
      await ensureMarket(db, { region, random, nowMs, settings })
      await wakeMarket(db, nowMs)
      const hostId = await leadingNode(db)
      if (hostId !== undefined) await enqueue(db, { kind: 'usage', id: USAGE_BOOKS, hostId }, nowMs)
    }),
  }
}
