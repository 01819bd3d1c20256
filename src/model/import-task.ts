import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { FileIdentity } from '../disk-formats/inspect.ts'
import { insertRow } from '../store/prepared.ts'
import type { ImportTaskTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { DiskFormat } from '../volumes/driver.ts'

/** What of an import task SQL never looks into. */
export interface ImportTaskDoc {
  description: string | null
  /** The root's first. */
  disks: ImportDisk[]
  /** The key that snapshots are encrypted by; null for plain ones. */
  kmsKeyId: string | null
  /** What an image is to be; null where snapshots are all that is asked for. */
  image: ImportedImage | null
  /** The image, when it is there. */
  imageId?: string
  progressPercent: number
  statusMessage: string
  cancelReason?: string
  /** When it was over, in whatever way. */
  endedMs?: number
}

export interface ImportDisk {
  /** As the caller named it; null for a snapshot that is there already. */
  url: string | null
  /** The file that it means; null for a snapshot. */
  file: string | null
  /** Whether the file is a copy made for this task, which goes with it. */
  isOwned: boolean
  /** As the caller said. */
  format: DiskFormat | null
  description: string | null
  deviceName: string | null
  /** Given by the caller, or made of the file. */
  snapshotId: string | null
  found?: { file: string; format: DiskFormat; sizeGib: number; identity: FileIdentity }
}

/** What an import makes an image of. */
export interface ImportedImage {
  /** Null is the id of the task, as on EC2. */
  name: string | null
  description: string | null
  architecture: string
  bootMode: 'legacy-bios' | 'uefi'
  isPublic: boolean
  sshUser: string | null
}

/** The formats that callers name, and what they mean. */
export const FORMAT_NAMES: Record<string, DiskFormat> = { RAW: 'raw', VHD: 'vpc', VHDX: 'vhdx', VMDK: 'vmdk', QCOW2: 'qcow2' }

/** The name of a format, as callers say it. */
export function formatName(format: DiskFormat): string {
  return Object.keys(FORMAT_NAMES).find((name) => FORMAT_NAMES[name] === format) ?? format
}

/** Device names where nobody gives them: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html */
export const ROOT_DEVICE_NAME = '/dev/sda1'
export const DATA_DEVICE_NAMES = [...'bcdefghijklmnopqrstuvwxyz'].map((letter) => `/dev/sd${letter}`)

/** How long tasks that are over are shown. */
export const KEEP_TASK_MS = 7 * 24 * 60 * 60 * 1000

/** The row of a task; undefined when there is none. */
export async function importTaskOf(db: Db, taskId: string): Promise<ImportTaskTable | undefined> {
  return db.selectFrom('import_tasks').selectAll().where('task_id', '=', taskId).executeTakeFirst()
}

/** The doc of an import task row. */
export function importTaskDoc(row: Pick<ImportTaskTable, 'doc'>): ImportTaskDoc {
  return JSON.parse(row.doc) as ImportTaskDoc
}

/** What a caller asks for, checked. */
export type ImportRequest = Pick<ImportTaskDoc, 'description' | 'disks' | 'kmsKeyId' | 'image'>

/** Id for a new task. */
export function newImportTaskId(random: Random, kind: ImportTaskTable['kind']): string {
  return newId(random, kind === 'image' ? 'import-ami' : 'import-snap')
}

/** Writes the row of a new task and marks it due on its host. */
export async function insertImportTask(
  { db, nowMs }: { db: Db; nowMs: number },
  { taskId, account, kind, hostId }: { taskId: string; account: string; kind: ImportTaskTable['kind']; hostId: string },
  request: ImportRequest,
): Promise<ImportTaskTable> {
  const doc: ImportTaskDoc = { ...request, progressPercent: 0, statusMessage: 'pending' }
  const row: ImportTaskTable = {
    task_id: taskId, account_id: account, kind, host_id: hostId, state: 'active', created_ms: nowMs, doc: JSON.stringify(doc),
  }
  await insertRow(db, 'import_tasks', { ...row })
  await enqueue(db, { kind: 'import', id: taskId, hostId }, nowMs)
  return row
}

/**
 * Changes a task while it is in `state`; one that has moved on is left alone.
 *
 * @returns whether it was.
 */
export async function changeImportTask(
  db: Db,
  taskId: string,
  state: ImportTaskTable['state'],
  change: { state?: ImportTaskTable['state']; doc: Partial<ImportTaskDoc> },
): Promise<boolean> {
  const row = await importTaskOf(db, taskId)
  if (row?.state !== state) return false
  const doc = JSON.stringify({ ...importTaskDoc(row), ...change.doc } satisfies ImportTaskDoc)
  await db.updateTable('import_tasks').set({ state: change.state ?? state, doc }).where('task_id', '=', taskId).execute()
  return true
}
