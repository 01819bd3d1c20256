import type { Clock } from '../core/clock.ts'
import { layerOf, releaseLayer } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { DONE, recording, type Reconciler } from './loop.ts'

/** Owns layers that no volume writes into: seals them, and deletes those that nobody refers to. */
export function createLayerReconciler(options: { store: Store; clock: Clock; volumes: Volumes }): Reconciler {
  const { store, clock, volumes } = options
  return {
    async reconcile(layerId) {
      const row = await store.read((db) => layerOf(db, layerId))
      if (!row) {
        await volumes.ensureDeleted(layerId)
        return DONE
      }
      if (row.state === 'deleting') {
        await volumes.ensureDeleted(layerId)
        return recording('layer.deleted', async (db) => {
          await db.deleteFrom('layers').where('layer_id', '=', layerId).where('state', '=', 'deleting').execute()
          if (row.parent_id !== null) await releaseLayer(db, row.parent_id, clock.now())
        })
      }
      if (row.state !== 'sealing') return DONE
      await volumes.ensureSealed(layerId)
      return recording('layer.sealed', async (db) => {
        await db.updateTable('layers').set({ state: 'sealed' }).where('layer_id', '=', layerId).where('state', '=', 'sealing').execute()
        await settleSnapshotsOf(db, layerId, { state: 'completed' }, clock.now())
      })
    },
  }
}
