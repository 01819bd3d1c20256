import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import { DONE, type Reconciler } from './loop.ts'

/** Owns the disk files of volumes: the only caller of the volumes driver for them. */
export function createVolumeReconciler(options: { store: Store; clock: Clock; volumes: Volumes }): Reconciler {
  const { store, clock, volumes } = options
  return {
    async reconcile(volumeId) {
      const row = await store.read((db) =>
        db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId).executeTakeFirst())
      if (!row) {
        await volumes.ensureDeleted(volumeId)
        return DONE
      }
      if (row.state === 'deleting') {
        await volumes.ensureDeleted(volumeId)
        await store.transaction('volume.deleted', async (db) => {
          await db.deleteFrom('tags').where('resource_id', '=', volumeId).execute()
          await db.deleteFrom('volumes').where('volume_id', '=', volumeId).where('state', '=', 'deleting').execute()
        })
        return DONE
      }
      await volumes.ensureVolume({ volumeId, sizeGib: row.size_gib, snapshotId: row.snapshot_id })
      await store.transaction('volume.ready', async (db) => {
        // The row may have moved on since it was read; only what is still so is recorded.
        const now = await db
          .selectFrom('volumes').selectAll().where('volume_id', '=', volumeId).executeTakeFirst()
        if (!now || now.state === 'deleting') return
        await db
          .updateTable('volumes')
          .set({
            ready: 1, state: now.instance_id === null ? 'available' : 'in-use',
            attach_state: now.instance_id === null ? null : 'attached',
          })
          .where('volume_id', '=', volumeId).execute()
        if (now.instance_id !== null) {
          await enqueue(db, { kind: 'instance', id: now.instance_id, hostId: now.host_id }, clock.now())
        }
      })
      return DONE
    },
  }
}
