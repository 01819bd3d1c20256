import { createHash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { BuiltImage } from '../images/build.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import type { ImageDoc } from '../model/image.ts'
import { layerOf } from '../model/layer.ts'
import { insertSnapshot } from '../model/snapshot.ts'
import { insertRow } from '../store/prepared.ts'
import type { Db, Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import { DONE, type Reconciler } from './loop.ts'

/** Images that were built on this host. */
export interface ImageSource {
  list(): Promise<BuiltImage[]>
  /** A file with the image's disk that the volumes driver may take over. */
  disk(image: BuiltImage): Promise<string>
  /** The region that the images are for, where that is not the home region: they have ids of their own in each. */
  region?: string | undefined
}

/** Registers built images as public AMIs, their disks as the layers under new volumes. */
export function createImagesReconciler(options: {
  store: Store
  clock: Clock
  volumes: Volumes
  images: ImageSource
  hostId: string
}): Reconciler {
  const { store, volumes, images, hostId } = options
  return {
    async reconcile() {
      for (const image of await images.list()) {
        const { imageId, snapshotId } = idsOf(image, images.region)
        // Before its file: a file without a row is garbage.
        await store.transaction('image.layer', (db) => ensureLayerRow(db, image, { layerId: snapshotId, hostId }))
        if (!(await volumes.has(snapshotId))) await volumes.importLayer(snapshotId, await images.disk(image))
        await store.transaction('image.registered', (db) => register(db, image, { imageId, snapshotId }))
      }
      return DONE
    },
  }
}

async function ensureLayerRow(db: Db, image: BuiltImage, { layerId, hostId }: { layerId: string; hostId: string }): Promise<void> {
  if (await layerOf(db, layerId)) return
  await insertRow(db, 'layers', {
    layer_id: layerId, account_id: PROVIDER_ACCOUNT, host_id: hostId, parent_id: null, replaces_id: null, state: 'filling',
    size_gib: image.sizeGib, depth: 0, created_ms: image.builtAtMs, doc: '{}',
  })
}

async function register(db: Db, image: BuiltImage, ids: { imageId: string; snapshotId: string }): Promise<void> {
  const { imageId, snapshotId } = ids
  const row = await db.selectFrom('images').select('image_id').where('image_id', '=', imageId).executeTakeFirst()
  if (row) return
  await db.updateTable('layers').set({ state: 'sealed' }).where('layer_id', '=', snapshotId).execute()
  await insertSnapshot(
    db,
    {
      snapshot_id: snapshotId, account_id: PROVIDER_ACCOUNT, size_gib: image.sizeGib, volume_id: null, encrypted: 0,
      created_ms: image.builtAtMs,
    },
    { layer_id: snapshotId, state: 'sealed' }, {},
  )
  await insertRow(db, 'images', {
    image_id: imageId, account_id: PROVIDER_ACCOUNT, name: image.name, state: 'available', is_public: 1,
    architecture: image.architecture, root_device_name: image.rootDeviceName, snapshot_id: snapshotId,
    created_ms: image.builtAtMs, binned_ms: null, bin_exit_ms: null,
    doc: JSON.stringify({
      description: image.description, recipe: image.recipe, sizeGib: image.sizeGib, bootMode: image.bootMode,
      sshUser: image.user, imdsSupport: image.imdsSupport ?? null,
    } satisfies ImageDoc),
  })
  await insertRow(db, 'image_snapshots', { image_id: imageId, device_name: image.rootDeviceName, snapshot_id: snapshotId })
}

/**
 * Ids that follow from what was built, and where: the same on every host, and the same after a crash. An image
 * that was built again of newer packages is another one.
 */
function idsOf(image: BuiltImage, region: string | undefined): { imageId: string; snapshotId: string } {
  const hex = createHash('sha256').update(`${image.recipe} ${image.buildHash ?? image.recipeHash}${region === undefined ? '' : ` ${region}`}`).digest('hex')
  return { imageId: `ami-${hex.slice(0, 17)}`, snapshotId: `snap-${hex.slice(17, 34)}` }
}
