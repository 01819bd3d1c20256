import type { Architecture, ImageDoc, ImageMapping } from '../model/image.ts'
import { emitImageState } from '../model/image-events.ts'
import { insertRow } from '../store/prepared.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { insertTags, type TagInput } from './tags.ts'

/** An image that a call makes. */
export interface NewImage {
  imageId: string
  name: string
  architecture: Architecture
  rootDeviceName: string
  /** The root first. */
  mappings: readonly ImageMapping[]
  /** Whether all its snapshots are complete; else the last of them makes it available. */
  isComplete: boolean
  doc: Omit<ImageDoc, 'mappings' | 'requestId'>
  tags: readonly TagInput[]
}

/** Writes the rows of a new image: its own, what it stands on, and its tags. The snapshots are there already. */
export async function insertImage({ db, account, nowMs, requestId }: Context, image: NewImage): Promise<void> {
  const [root] = image.mappings
  if (!root?.snapshotId) throw new Error(`${image.imageId} has no root snapshot`)
  await insertRow(db, 'images', {
    image_id: image.imageId, account_id: account, name: image.name, state: image.isComplete ? 'available' : 'pending',
    is_public: 0, architecture: image.architecture, root_device_name: image.rootDeviceName, snapshot_id: root.snapshotId,
    created_ms: nowMs, binned_ms: null, bin_exit_ms: null,
    doc: JSON.stringify({ ...image.doc, mappings: [...image.mappings], requestId } satisfies ImageDoc),
  } satisfies ImageTable)
  for (const { deviceName, snapshotId } of image.mappings) {
    if (snapshotId === null) continue
    await insertRow(db, 'image_snapshots', { image_id: image.imageId, device_name: deviceName, snapshot_id: snapshotId })
  }
  await insertTags(db, account, 'image', image.imageId, image.tags)
  if (image.isComplete) await emitImageState(db, { image_id: image.imageId, account_id: account }, { state: 'available', requestId }, nowMs)
}
