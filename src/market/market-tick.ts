import { DONE, type Reconciler } from '../reconcile/loop.ts'
import type { RegionalOptions } from './index.ts'
import type { Market } from './market.ts'

/** The market of a region: one look at it decides for all of its zones. */
export function createMarketReconciler(_options: RegionalOptions, _market: Market): Reconciler {
  return { reconcile: async () => DONE }
}
