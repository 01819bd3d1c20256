import path from 'node:path'
import type { ChildOrders } from '../child-process.ts'
import { packageRoot } from '../core/package-root.ts'
import { zonesOf } from '../model/zone.ts'
import type { Engine } from '../registration.ts'
import { realmsOf } from '../realm.ts'
import type { Settings } from '../settings.ts'

/** One of the processes of a cloud. */
export interface Child {
  /** Also of its log. */
  name: string
  /** Absolute. */
  script: string
  orders: ChildOrders
}

/**
 * The processes of a cloud: all of it simulated in one, or the API, the node's agent, and one for each zone. Each region beside
 * the home region has the same: an agent that is named as the region, and one for each zone.
 */
export function childrenOf(settings: Settings, engine: Engine): Child[] {
  const child = (name: string, script: string, orders: Partial<ChildOrders> = {}): Child =>
    ({ name, script: path.join(packageRoot(), 'dist', `${script}-process.js`), orders: { engine, ...orders } })
  if (engine.engine === 'sim') return [child('sim', 'sim')]
  const agents = realmsOf(settings).flatMap((realm) => {
    const { region, isHome } = realm
    const where = isHome ? {} : { region }
    return [child(isHome ? 'agent' : region, 'agent', where), ...zonesOf(realm).map((zone) => child(zone, 'zone', { ...where, zone }))]
  })
  return [child('api', 'api'), ...agents]
}
