import path from 'node:path'
import type { ChildOrders } from '../child-process.ts'
import { packageRoot } from '../core/package-root.ts'
import { zonesOf } from '../model/zone.ts'
import type { Engine } from '../registration.ts'
import type { Settings } from '../settings.ts'

/** One of the processes of a cloud. */
export interface Child {
  /** Also of its log. */
  name: string
  /** Absolute. */
  script: string
  orders: ChildOrders
}

/** The processes of a cloud: all of it simulated in one, or the API, the node's agent, and one for each zone. */
export function childrenOf(settings: Settings, engine: Engine): Child[] {
  const child = (name: string, script = name): Child => ({ name, script: path.join(packageRoot(), 'dist', `${script}-process.js`), orders: { engine } })
  if (engine.engine === 'sim') return [child('sim')]
  const zones = zonesOf(settings).map((zone) => ({ ...child(zone, 'zone'), orders: { engine, zone } }))
  return [child('api'), child('agent'), ...zones]
}
