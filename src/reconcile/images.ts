import { createHash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { BuiltImage } from '../images/build.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import type { Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { DONE, type Reconciler } from './loop.ts'

/** Images that were built on this host. */
export interface ImageSource {
  list(): Promise<BuiltImage[]>
  /** A file with the image's disk that the volumes driver may take over. */
  disk(image: BuiltImage): Promise<string>
}

/** Registers built images as public AMIs, their disks as the layers under new volumes. */
export function createImagesReconciler(options: {
  store: Store
  clock: Clock
  volumes: Volumes
  images: ImageSource
}): Reconciler {
  const { store, volumes, images } = options
  return {
    async reconcile() {
      for (const image of await images.list()) {
        const { imageId, snapshotId } = idsOf(image)
        if (!(await volumes.hasLayer(snapshotId))) await volumes.importLayer(snapshotId, await images.disk(image))
        await store.transaction('image.registered', async (db) => {
          const row = await db.selectFrom('images').select('image_id').where('image_id', '=', imageId).executeTakeFirst()
          if (row) return
          await db
            .insertInto('snapshots')
            .values({
              snapshot_id: snapshotId, account_id: PROVIDER_ACCOUNT, size_gib: image.sizeGib, state: 'completed',
              created_ms: image.builtAtMs, doc: '{}',
            })
            .execute()
          await db
            .insertInto('images')
            .values({
              image_id: imageId, account_id: PROVIDER_ACCOUNT, name: image.name, state: 'available', is_public: 1,
              architecture: image.architecture, root_device_name: image.rootDeviceName, snapshot_id: snapshotId,
              created_ms: image.builtAtMs,
              doc: JSON.stringify({
                description: image.description, recipe: image.recipe, sizeGib: image.sizeGib, bootMode: image.bootMode,
                sshUser: image.user, imdsSupport: image.imdsSupport ?? null,
              }),
            })
            .execute()
        })
      }
      return DONE
    },
  }
}

/**
 * Ids that follow from what was built: the same on every host, and the same after a crash. An image
 * that was built again of newer packages is another one.
 */
function idsOf(image: BuiltImage): { imageId: string; snapshotId: string } {
  const hex = createHash('sha256').update(`${image.recipe} ${image.buildHash ?? image.recipeHash}`).digest('hex')
  return { imageId: `ami-${hex.slice(0, 17)}`, snapshotId: `snap-${hex.slice(17, 34)}` }
}
