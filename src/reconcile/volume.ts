import type { Clock } from '../core/clock.ts'
import { layerOf, releaseLayer } from '../model/layer.ts'
import { prepared } from '../store/prepared.ts'
import type { Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { enqueueEquipped } from './equipped.ts'
import { DONE, recording, type Reconciler } from './loop.ts'

const volumeOf = prepared((db, volumeId: string) =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId))

/** Owns what volumes write into: the only caller of the volumes driver for layers that are to be open. */
export function createVolumeReconciler(options: { store: Store; clock: Clock; volumes: Volumes }): Reconciler {
  const { store, clock, volumes } = options
  return {
    async reconcile(volumeId) {
      const loaded = await store.read(async (db) => {
        const [row] = await volumeOf(db, volumeId)
        return row && { row, layer: await layerOf(db, row.layer_id) }
      })
      if (!loaded?.layer) return DONE
      const { row, layer } = loaded
      if (row.state === 'deleting') {
        return recording('volume.deleted', async (db) => {
          await db.deleteFrom('tags').where('resource_id', '=', volumeId).execute()
          await db.deleteFrom('volumes').where('volume_id', '=', volumeId).where('state', '=', 'deleting').execute()
          await releaseLayer(db, row.layer_id, clock.now())
        })
      }
      await volumes.ensureLayer({ layerId: layer.layer_id, sizeGib: layer.size_gib, parentId: layer.parent_id, key: null })
      return recording('volume.ready', async (db) => {
        // The row may have moved on since it was read; only what is still so is recorded.
        const [now] = await volumeOf(db, volumeId)
        if (!now || now.state === 'deleting') return
        await db
          .updateTable('layers').set({ state: 'open' })
          .where('layer_id', '=', layer.layer_id).where('state', '=', 'making').execute()
        await db
          .updateTable('volumes')
          .set({
            ready: 1, state: now.instance_id === null ? 'available' : 'in-use',
            attach_state: now.instance_id === null ? null : 'attached',
          })
          .where('volume_id', '=', volumeId).execute()
        if (now.instance_id !== null) await enqueueEquipped(db, now.instance_id, now.host_id, clock.now())
      })
    },
  }
}
