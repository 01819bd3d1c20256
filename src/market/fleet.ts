import { DONE, type Reconciler } from '../reconcile/loop.ts'
import type { RegionalOptions } from './index.ts'

/** The reconciler of fleets of type `request` and `maintain`, of CreateFleet and of RequestSpotFleet alike. */
export function createFleetReconciler(_options: RegionalOptions): Reconciler {
  return { reconcile: async () => DONE }
}
