import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { imageDoc, mappingsOf } from '../model/image.ts'
import { layerDoc } from '../model/layer.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { formatTable } from './terminal.ts'

/** What the CLI shows of an AMI that somebody made: baked, copied, imported or registered. */
export interface AmiView {
  imageId: string
  name: string
  accountId: string
  state: ImageTable['state']
  /** How much of its snapshots is there. */
  percent: number
  /** Of all its volumes together. */
  sizeGib: number
  /** The instance or image that it was made of; null where that is not known. */
  source: string | null
  createdMs: number
  /** Why it has failed. */
  reason: string | null
}

/** The AMIs that users of the home made, the oldest first; none of those in the recycle bin. */
export function listAmis(store: Store): Promise<AmiView[]> {
  return store.read(async (db) => {
    const rows = await db
      .selectFrom('images').selectAll().where('account_id', '<>', PROVIDER_ACCOUNT).where('binned_ms', 'is', null)
      .orderBy('created_ms').orderBy('image_id').execute()
    const percents = await percentsOf(db)
    return rows.map((row) => viewOf(row, percents.get(row.image_id) ?? 100))
  })
}

function viewOf(row: ImageTable, percent: number): AmiView {
  const doc = imageDoc(row)
  return {
    imageId: row.image_id, name: row.name, accountId: row.account_id, state: row.state, percent,
    sizeGib: mappingsOf(row).reduce((sum, mapping) => sum + mapping.sizeGib, 0),
    source: doc.sourceInstanceId ?? doc.sourceImageId ?? null, createdMs: row.created_ms, reason: doc.stateReason ?? null,
  }
}

/** How much of the snapshots of pending images is there, by image. */
async function percentsOf(db: Db): Promise<Map<string, number>> {
  const rows = await db
    .selectFrom('image_snapshots')
    .innerJoin('images', 'images.image_id', 'image_snapshots.image_id')
    .innerJoin('snapshots', 'snapshots.snapshot_id', 'image_snapshots.snapshot_id')
    .leftJoin('layers', 'layers.layer_id', 'snapshots.layer_id')
    .select(['images.image_id', 'snapshots.state', 'layers.doc']).where('images.state', '=', 'pending').execute()
  const byImage = new Map<string, number[]>()
  for (const { image_id: id, state, doc } of rows) {
    const percent = state === 'completed' ? 100 : doc === null ? 0 : (layerDoc({ doc }).progress ?? 0)
    byImage.set(id, [...(byImage.get(id) ?? []), percent])
  }
  return new Map([...byImage].map(([id, all]) => [id, Math.floor(all.reduce((sum, each) => sum + each, 0) / all.length)]))
}

/** AMIs as a table. */
export function formatAmis(amis: readonly AmiView[]): string {
  return formatTable([
    ['AMI', 'NAME', 'STATE', 'SIZE', 'SOURCE', 'ACCOUNT', 'CREATED'],
    ...amis.map((each) => [
      each.imageId, each.name, each.state === 'pending' ? `pending ${each.percent} %` : each.state, `${each.sizeGib} GiB`,
      each.source ?? '-', each.accountId, new Date(each.createdMs).toISOString().slice(0, 16).replace('T', ' '),
    ]),
  ])
}
