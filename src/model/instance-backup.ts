import { groupBy, inBatches } from '../store/batch.ts'
import { insertRow } from '../store/prepared.ts'
import type {
  ClientTokenTable, InstanceBackupTable, InstanceTable, InterfaceTable, VolumeTable,
} from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { elasticIpsOf } from './elastic-ip.ts'
import { instanceDoc } from './instance.ts'
import type { RuleTag } from './recycle-rules.ts'
import { instanceRetentionMs } from './retention.ts'
import { isSameDevice } from './volume-device.ts'

/** All that it takes to have a terminated instance again, beside its volumes' data. */
export interface InstanceBackupDoc {
  instance: InstanceTable
  /** By device index. */
  interfaces: BackedUpInterface[]
  volumes: BackedUpVolume[]
  /** What is kept of it when its row goes; until then that is where it always was. */
  tags: RuleTag[]
  tokens: ClientTokenTable[]
}

export interface BackedUpInterface {
  row: InterfaceTable
  groupIds: string[]
  secondaryIps: string[]
  elasticIps: string[]
  tags: RuleTag[]
}

export type BackedUpVolume = Pick<VolumeTable, 'volume_id' | 'device' | 'attached_ms' | 'delete_on_termination'>

export function backupDoc(row: Pick<InstanceBackupTable, 'doc'>): InstanceBackupDoc {
  return JSON.parse(row.doc) as InstanceBackupDoc
}

/** What the instance boots from; undefined where it had given that away. */
export function rootOf({ instance, volumes }: InstanceBackupDoc): BackedUpVolume | undefined {
  const { rootDeviceName } = instanceDoc(instance)
  return volumes.find((volume) => isSameDevice(volume.device, rootDeviceName))
}

/**
 * For the transaction that terminates an instance, before anything is taken from it: writes down all that it takes to have
 * it again, if its data are to be kept.
 *
 * @returns how long its volumes are to be kept; undefined where nothing is: no rule wants it, or it never ran.
 */
export async function backUpInstance({ db, nowMs }: { db: Db; nowMs: number }, row: InstanceTable): Promise<number | undefined> {
  if (!instanceDoc(row).hasRun) return undefined
  const retentionMs = await instanceRetentionMs(db, row)
  if (retentionMs === undefined) return undefined
  const volumes = await db
    .selectFrom('volumes').select(['volume_id', 'device', 'attached_ms', 'delete_on_termination'])
    .where('instance_id', '=', row.instance_id).where('ready', '=', 1).where('attach_state', '<>', 'detaching')
    .orderBy('volume_id').execute()
  if (volumes.length === 0) return undefined
  const interfaces = await interfacesOf(db, row.instance_id)
  const doc: InstanceBackupDoc = { instance: row, interfaces, volumes, tags: [], tokens: [] }
  await insertRow(db, 'instance_backups', {
    instance_id: row.instance_id, account_id: row.account_id, terminated_ms: nowMs, exit_ms: nowMs + retentionMs,
    doc: JSON.stringify(doc),
  })
  return retentionMs
}

async function interfacesOf(db: Db, instanceId: string): Promise<BackedUpInterface[]> {
  const rows = await db
    .selectFrom('interfaces').selectAll()
    .where('instance_id', '=', instanceId).where('status', '<>', 'detaching').orderBy('device_index').execute()
  const saved: BackedUpInterface[] = []
  for (const row of rows) {
    const id = row.interface_id
    const groups = await db
      .selectFrom('interface_groups').select('group_id').where('interface_id', '=', id).orderBy('position').execute()
    const secondary = await db
      .selectFrom('interface_addresses').select('private_ip').where('interface_id', '=', id).orderBy('created_ms').execute()
    saved.push({
      row, groupIds: groups.map((each) => each.group_id), secondaryIps: secondary.map((each) => each.private_ip),
      elasticIps: (await elasticIpsOf(db, id)).map((each) => each.public_ip), tags: await tagsOf(db, id),
    })
  }
  return saved
}

function tagsOf(db: Db, resourceId: string): Promise<RuleTag[]> {
  return db.selectFrom('tags').select(['key', 'value']).where('resource_id', '=', resourceId).orderBy('key').execute()
}

/** For whoever is about to forget a terminated instance: what goes with its row is kept in its backup, where there is one. */
export async function completeBackup(db: Db, row: Pick<InstanceTable, 'instance_id' | 'reservation_id'>): Promise<void> {
  const backup = await backupOf(db, row.instance_id)
  if (!backup) return
  const tokens = await db.selectFrom('client_tokens').selectAll().where('resource_id', '=', row.reservation_id).execute()
  const doc: InstanceBackupDoc = { ...backupDoc(backup), tags: await tagsOf(db, row.instance_id), tokens }
  await db
    .updateTable('instance_backups').set({ doc: JSON.stringify(doc) }).where('instance_id', '=', row.instance_id).execute()
}

/** The backup of an instance. */
export function backupOf(db: Db, instanceId: string): Promise<InstanceBackupTable | undefined> {
  return db.selectFrom('instance_backups').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
}

/** What became of a volume of a terminated instance: it can be had, is gone for good, or another instance has it. */
export type VolumeFate = 'free' | 'gone' | { instanceId: string }

/** What became of the volumes of these backups, by id. */
export async function volumeFates(db: Db, docs: readonly InstanceBackupDoc[]): Promise<(volumeId: string) => VolumeFate> {
  const ids = docs.flatMap(({ volumes }) => volumes.map((volume) => volume.volume_id))
  const rows = await inBatches(ids, (batch) =>
    db.selectFrom('volumes').select(['volume_id', 'instance_id', 'state']).where('volume_id', 'in', batch).execute())
  const byId = groupBy(rows, (row) => row.volume_id)
  return (id) => {
    const [row] = byId.get(id) ?? []
    if (!row || row.state === 'deleting') return 'gone'
    return row.instance_id === null ? 'free' : { instanceId: row.instance_id }
  }
}

/** A backup that is of no use any more, as far as it is still the one that was seen. */
export type EndedBackup = Pick<InstanceBackupTable, 'instance_id' | 'terminated_ms' | 'exit_ms'>

/** The backups whose time is over, or whose root is gone; and when the next of the others is over. */
export async function endedBackups(db: Db, nowMs: number): Promise<{ ended: EndedBackup[]; nextExitMs: number | undefined }> {
  const rows = await db.selectFrom('instance_backups').selectAll().orderBy('exit_ms').execute()
  const docs = rows.map(backupDoc)
  const fateOf = await volumeFates(db, docs)
  const isEnded = (row: InstanceBackupTable, doc: InstanceBackupDoc | undefined) => {
    const root = doc && rootOf(doc)
    return row.exit_ms <= nowMs || (root !== undefined && fateOf(root.volume_id) === 'gone')
  }
  const ended = rows.filter((row, index) => isEnded(row, docs[index]))
  return { ended, nextExitMs: rows.find((row) => !ended.includes(row))?.exit_ms }
}

/** Deletes what `endedBackups` says now. */
export async function deleteEndedBackups(db: Db, nowMs: number): Promise<void> {
  for (const { instance_id: id } of (await endedBackups(db, nowMs)).ended) {
    await db.deleteFrom('instance_backups').where('instance_id', '=', id).execute()
  }
}
