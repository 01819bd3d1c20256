import type { Clock } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { ImportFiles } from '../disk-formats/import-folder.ts'
import { DiskFormatError, isSameFile, type DiskFile } from '../disk-formats/inspect.ts'
import { IMAGE_VOLUME_TYPE, type ImageDoc, type ImageMapping } from '../model/image.ts'
import { emitImageState } from '../model/image-events.ts'
import {
  changeImportTask, importTaskDoc, importTaskOf, KEEP_TASK_MS, ROOT_DEVICE_NAME, type ImportDisk, type ImportTaskDoc,
} from '../model/import-task.ts'
import { insertLayer, layerDoc, layerOf, releaseLayer } from '../model/layer.ts'
import { insertSnapshot, snapshotDoc } from '../model/snapshot.ts'
import { insertRow } from '../store/prepared.ts'
import type { ImportTaskTable, SnapshotTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'

export interface ImportOptions {
  store: Store
  clock: Clock
  random: Random
  imports: ImportFiles
}

const GIB = 1024 ** 3
/** How often the layers are looked at that are being filled. */
const LOOK_MS = 200
/** What validating and preparing count for beside converting, percent. */
const PROGRESS = { validated: 5, converted: 95 }

/**
 * Owns import tasks: looks at the files, has layers filled with them (which their own reconciler does) and
 * makes an image of the snapshots. Of a task that fails or is cancelled nothing stays but its row.
 */
export function createImportReconciler(options: ImportOptions): Reconciler {
  const { store, clock } = options
  return {
    async reconcile(taskId) {
      const row = await store.read((db) => importTaskOf(db, taskId))
      if (!row) return DONE
      const doc = importTaskDoc(row)
      if (row.state === 'active') return step(options, row, doc)
      if (row.state === 'deleting') {
        return recording('import.deleted', (db) => end(options, db, row, 'deleted', doc.cancelReason ?? 'deleted'), again(0))
      }
      return afterEnd(options, row, doc, clock.now())
    },
  }
}

function step(options: ImportOptions, row: ImportTaskTable, doc: ImportTaskDoc): Promise<Outcome> | Outcome {
  if (doc.statusMessage === 'pending') {
    const change = { doc: { statusMessage: 'validating' } }
    return recording('import.validating', (db) => changeImportTask(db, row.task_id, 'active', change), again(0))
  }
  return doc.disks.every((disk) => disk.snapshotId !== null) ? watch(options, row, doc) : begin(options, row, doc)
}

/** Looks at all files, and only when all are good asks for their layers. */
async function begin(options: ImportOptions, row: ImportTaskTable, doc: ImportTaskDoc): Promise<Outcome> {
  const found: (DiskFile | null)[] = []
  try {
    for (const disk of doc.disks) found.push(disk.file === null ? null : await options.imports.inspect(disk.file, disk.format))
  } catch (error) {
    return failed(options, row, error)
  }
  return recording('import.converting', async (db) => {
    // One that was cancelled meanwhile gets nothing.
    if (!(await changeImportTask(db, row.task_id, 'active', { doc: {} }))) return
    const disks: ImportDisk[] = []
    for (const [index, disk] of doc.disks.entries()) {
      const file = found[index]
      disks.push(file ? await beginDisk(options, db, { row, doc, disk }, file) : disk)
    }
    await changeImportTask(db, row.task_id, 'active', {
      doc: { disks, statusMessage: 'converting', progressPercent: PROGRESS.validated },
    })
  }, again(LOOK_MS))
}

/** A snapshot whose layer is to be filled with the file. */
async function beginDisk(
  { clock, random }: ImportOptions,
  db: Db,
  { row, doc, disk }: { row: ImportTaskTable; doc: ImportTaskDoc; disk: ImportDisk },
  file: DiskFile,
): Promise<ImportDisk> {
  const nowMs = clock.now()
  const sizeGib = Math.ceil(file.virtualSizeBytes / GIB)
  const encryption = doc.kmsKeyId === null ? {} : { kmsKeyId: doc.kmsKeyId }
  const layer = await insertLayer({ db, random, nowMs }, {
    account: row.account_id, hostId: row.host_id, parent: null, state: 'filling', sizeGib,
    doc: { source: { file: file.path, format: file.format }, ...encryption },
  })
  const snapshotId = newId(random, 'snap')
  await insertSnapshot(
    db,
    {
      snapshot_id: snapshotId, account_id: row.account_id, size_gib: sizeGib, volume_id: null,
      encrypted: doc.kmsKeyId === null ? 0 : 1, created_ms: nowMs,
    },
    layer, { description: disk.description ?? `Created by ${row.task_id}`, ...encryption },
  )
  await enqueue(db, { kind: 'layer', id: layer.layer_id, hostId: row.host_id }, nowMs)
  return { ...disk, snapshotId, found: { file: file.path, format: file.format, sizeGib, identity: file.identity } }
}

/** Watches the layers being filled, until all are or one cannot be. */
async function watch(options: ImportOptions, row: ImportTaskTable, doc: ImportTaskDoc): Promise<Outcome> {
  const { store } = options
  const seen = await store.read(async (db) => {
    const rows: { snapshot: SnapshotTable | undefined; percent: number }[] = []
    for (const disk of doc.disks) {
      const snapshot = await db
        .selectFrom('snapshots').selectAll()
        .where('snapshot_id', '=', disk.snapshotId).where('binned_ms', 'is', null).executeTakeFirst()
      const layer = snapshot?.layer_id ? await layerOf(db, snapshot.layer_id) : undefined
      rows.push({ snapshot, percent: snapshot?.state === 'completed' ? 100 : ((layer && layerDoc(layer).progress) ?? 0) })
    }
    return rows
  })
  for (const [index, { snapshot }] of seen.entries()) {
    const id = doc.disks[index]?.snapshotId
    if (!snapshot) return failed(options, row, new DiskFormatError(`the snapshot ${id} was deleted meanwhile`))
    if (snapshot.state === 'error') {
      return failed(options, row, new DiskFormatError(snapshotDoc(snapshot).stateMessage ?? 'the disk could not be converted'))
    }
  }
  if (seen.every(({ snapshot }) => snapshot?.state === 'completed')) return finish(options, row, doc)
  const part = seen.reduce((sum, { percent }) => sum + percent, 0) / seen.length / 100
  const progressPercent = Math.floor(PROGRESS.validated + part * (PROGRESS.converted - PROGRESS.validated))
  if (progressPercent <= doc.progressPercent) return again(LOOK_MS)
  const change = { doc: { progressPercent } }
  return recording('import.progress', (db) => changeImportTask(db, row.task_id, 'active', change), again(LOOK_MS))
}

/** Files that have changed since they were judged may be half the one and half the other. */
async function finish(options: ImportOptions, row: ImportTaskTable, doc: ImportTaskDoc): Promise<Outcome> {
  const { store, clock } = options
  try {
    for (const { file, format, found } of doc.disks) {
      if (file === null || !found) continue
      const now = await options.imports.inspect(file, format)
      if (!isSameFile(now.identity, found.identity)) throw new DiskFormatError(`${file} was changed while it was imported`)
    }
  } catch (error) {
    return failed(options, row, error)
  }
  const name = doc.image?.name ?? null
  if (name !== null && await store.read((db) => isNameTaken(db, row.account_id, name))) {
    return failed(options, row, new DiskFormatError(`there is an image of the name ${name} already`))
  }
  return recording('import.completed', async (db) => {
    const change = { progressPercent: 100, statusMessage: 'completed', endedMs: clock.now() }
    if (!(await changeImportTask(db, row.task_id, 'active', { state: 'completed', doc: change }))) return
    if (!doc.image) return
    const imageId = await insertImage(options, db, row, doc)
    await changeImportTask(db, row.task_id, 'completed', { doc: { imageId } })
  }, again(0))
}

async function isNameTaken(db: Db, account: string, name: string): Promise<boolean> {
  const found = await db
    .selectFrom('images').select('image_id')
    .where('account_id', '=', account).where('name', '=', name).where('binned_ms', 'is', null).executeTakeFirst()
  return found !== undefined
}

async function insertImage({ clock, random }: ImportOptions, db: Db, row: ImportTaskTable, doc: ImportTaskDoc): Promise<string> {
  const imageId = newId(random, 'ami')
  const mappings = await Promise.all(doc.disks.map((disk) => mappingOf(db, disk)))
  const [root] = mappings
  const { image } = doc
  if (!root?.snapshotId || !image) throw new Error(`${row.task_id} has nothing to make an image of`)
  await insertRow(db, 'images', {
    image_id: imageId, account_id: row.account_id, name: image.name ?? row.task_id, state: 'available',
    is_public: image.isPublic ? 1 : 0, architecture: image.architecture, root_device_name: root.deviceName,
    snapshot_id: root.snapshotId, created_ms: clock.now(), binned_ms: null, bin_exit_ms: null,
    doc: JSON.stringify({
      description: image.description ?? '', recipe: null, sizeGib: root.sizeGib, bootMode: image.bootMode,
      sshUser: image.sshUser, imdsSupport: null, mappings,
    } satisfies ImageDoc),
  })
  for (const { deviceName, snapshotId } of mappings) {
    if (snapshotId === null) continue
    await insertRow(db, 'image_snapshots', { image_id: imageId, device_name: deviceName, snapshot_id: snapshotId })
  }
  await emitImageState(db, { image_id: imageId, account_id: row.account_id }, { state: 'available' }, clock.now())
  return imageId
}

async function mappingOf(db: Db, disk: ImportDisk): Promise<ImageMapping> {
  const snapshot = await db
    .selectFrom('snapshots').selectAll().where('snapshot_id', '=', disk.snapshotId).executeTakeFirstOrThrow()
  const { kmsKeyId } = snapshotDoc(snapshot)
  return {
    deviceName: disk.deviceName ?? ROOT_DEVICE_NAME, snapshotId: snapshot.snapshot_id, sizeGib: snapshot.size_gib,
    volumeType: IMAGE_VOLUME_TYPE, iops: null, throughputMibps: null, deleteOnTermination: true,
    encrypted: snapshot.encrypted === 1, ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
  }
}

/** What is wrong with a disk its caller is told; anything else is tried again. */
function failed(options: ImportOptions, row: ImportTaskTable, error: unknown): Outcome {
  if (!(error instanceof DiskFormatError)) throw error
  return recording('import.failed', (db) => end(options, db, row, 'error', `ClientError: ${error.message}`), again(0))
}

/** Ends a task and takes back what it has made, in one transaction. */
async function end(
  options: ImportOptions,
  db: Db,
  row: ImportTaskTable,
  state: 'error' | 'deleted',
  statusMessage: string,
): Promise<void> {
  const nowMs = options.clock.now()
  const now = await importTaskOf(db, row.task_id)
  // One that was cancelled while it failed is cancelled.
  if (!now || now.state !== row.state) return
  const disks: ImportDisk[] = []
  for (const disk of importTaskDoc(now).disks) {
    if (disk.file !== null && disk.snapshotId !== null) await removeSnapshot(db, disk.snapshotId, nowMs)
    disks.push(disk.file === null ? disk : { ...disk, snapshotId: null })
  }
  await changeImportTask(db, row.task_id, row.state, { state, doc: { disks, statusMessage, endedMs: nowMs } })
}

/** A snapshot of a task that came to nothing goes, also from the recycle bin, unless an image stands on it already. */
async function removeSnapshot(db: Db, snapshotId: string, nowMs: number): Promise<void> {
  const snapshot = await db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId).executeTakeFirst()
  const user = await db.selectFrom('image_snapshots').select('image_id').where('snapshot_id', '=', snapshotId).executeTakeFirst()
  if (!snapshot || user) return
  await db.deleteFrom('tags').where('resource_id', '=', snapshotId).execute()
  await db.deleteFrom('snapshots').where('snapshot_id', '=', snapshotId).execute()
  if (snapshot.layer_id !== null) await releaseLayer(db, snapshot.layer_id, nowMs)
}

/** Copies that were made for a task go when it is over, and its row a week later. */
async function afterEnd({ imports }: ImportOptions, row: ImportTaskTable, doc: ImportTaskDoc, nowMs: number): Promise<Outcome> {
  for (const disk of doc.disks) if (disk.isOwned && disk.file !== null) await imports.discard(disk.file)
  const leftMs = (doc.endedMs ?? 0) + KEEP_TASK_MS - nowMs
  if (leftMs > 0) return again(leftMs)
  return recording('import.forgotten', async (db) => {
    await db.deleteFrom('tags').where('resource_id', '=', row.task_id).execute()
    await db.deleteFrom('client_tokens').where('account_id', '=', row.account_id).where('resource_id', '=', row.task_id).execute()
    await db.deleteFrom('import_tasks').where('task_id', '=', row.task_id).execute()
  })
}
