import type { Clock } from '../core/clock.ts'
import { prepared } from '../store/prepared.ts'
import type { Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { enqueueEquipped } from './equipped.ts'
import { DONE, recording, type Reconciler } from './loop.ts'

const volumeOf = prepared((db, volumeId: string) =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId))

/** Owns the disk files of volumes: the only caller of the volumes driver for them. */
export function createVolumeReconciler(options: { store: Store; clock: Clock; volumes: Volumes }): Reconciler {
  const { store, clock, volumes } = options
  return {
    async reconcile(volumeId) {
      const [row] = await store.read((db) => volumeOf(db, volumeId))
      if (!row) {
        await volumes.ensureDeleted(volumeId)
        return DONE
      }
      if (row.state === 'deleting') {
        await volumes.ensureDeleted(volumeId)
        return recording('volume.deleted', async (db) => {
          await db.deleteFrom('tags').where('resource_id', '=', volumeId).execute()
          await db.deleteFrom('volumes').where('volume_id', '=', volumeId).where('state', '=', 'deleting').execute()
        })
      }
      await volumes.ensureVolume({ volumeId, sizeGib: row.size_gib, snapshotId: row.snapshot_id })
      return recording('volume.ready', async (db) => {
        // The row may have moved on since it was read; only what is still so is recorded.
        const [now] = await volumeOf(db, volumeId)
        if (!now || now.state === 'deleting') return
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
