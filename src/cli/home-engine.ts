import { hasStore, openStore } from '../main.ts'
import { hostDoc } from '../model/host.ts'
import type { Settings } from '../settings.ts'
import { nodeOfHome } from './node-of-home.ts'

/**
 * The engine to choose from for this home: what its instances were made with, so long as there are
 * any. Simulated machines have no disks to boot from, and real ones are nothing the simulator knows.
 *
 * @throws Error when another one is asked for.
 */
export async function engineOfHome(settings: Settings): Promise<Settings['engine']> {
  if (!hasStore(settings)) return settings.engine
  const store = await openStore(settings)
  try {
    const found = await store.read(async (db) => {
      const node = await nodeOfHome(db, settings.home)
      const instances = await db
        .selectFrom('instances').select('instance_id').where('state', '!=', 'terminated').execute()
      return { engine: node && hostDoc(node).engine, count: instances.length }
    })
    return reconcileEngines(settings, found)
  } finally {
    await store.close()
  }
}

/** What is asked for against what the home has. */
export function reconcileEngines(
  asked: Pick<Settings, 'engine' | 'home'>,
  found: { engine: 'qemu' | 'sim' | undefined; count: number },
): Settings['engine'] {
  if (found.engine === undefined || found.count === 0 || asked.engine === found.engine) return asked.engine
  if (asked.engine === 'auto') return found.engine
  throw new Error(
    `${asked.home} holds ${found.count} instance${found.count === 1 ? '' : 's'} of the engine ${found.engine}; `
    + `leave out --engine, terminate them, or take another --home`,
  )
}
