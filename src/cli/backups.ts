import { backupDoc, volumeFates, type InstanceBackupDoc, type VolumeFate } from '../model/instance-backup.ts'
import { obstacleOf } from '../model/restore-instance.ts'
import type { InstanceBackupTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'

/** A terminated instance whose data are kept, as people are shown it. */
export interface BackupView {
  instanceId: string
  account: string
  /** Its Name tag. */
  name: string | null
  type: string
  privateIp: string | null
  terminated: string
  until: string
  /** Volumes beside its root that it would come back without. */
  missingVolumeIds: string[]
  /** Why it cannot be restored as things are; null when it can. */
  obstacle: string | null
}

/** What can be restored, of every account, the latest mistake first. */
export function listBackups(store: Store): Promise<BackupView[]> {
  return store.read(async (db) => {
    const rows = await db
      .selectFrom('instance_backups').selectAll().orderBy('terminated_ms', 'desc').orderBy('instance_id').execute()
    const docs = rows.map(backupDoc)
    const fateOf = await volumeFates(db, docs)
    const names = await namesOf(db)
    return rows.map((row, index) => viewOf(row, docs[index] ?? backupDoc(row), { fateOf, names }))
  })
}

/** Tags are where they always were until the instance's row goes. */
async function namesOf(db: Db): Promise<Map<string, string>> {
  const tags = await db
    .selectFrom('tags').innerJoin('instance_backups', 'instance_backups.instance_id', 'tags.resource_id')
    .select(['resource_id', 'value']).where('key', '=', 'Name').execute()
  return new Map(tags.map((tag) => [tag.resource_id, tag.value]))
}

function viewOf(
  row: InstanceBackupTable,
  doc: InstanceBackupDoc,
  { fateOf, names }: { fateOf: (volumeId: string) => VolumeFate; names: Map<string, string> },
): BackupView {
  const obstacle = obstacleOf(doc, fateOf) ?? null
  const missing = doc.volumes.map((volume) => volume.volume_id).filter((id) => fateOf(id) !== 'free')
  return {
    instanceId: row.instance_id, account: row.account_id,
    name: names.get(row.instance_id) ?? doc.tags.find((tag) => tag.key === 'Name')?.value ?? null,
    type: doc.instance.instance_type,
    privateIp: doc.interfaces.find((each) => each.row.device_index === 0)?.row.private_ip ?? null,
    terminated: new Date(row.terminated_ms).toISOString(), until: new Date(row.exit_ms).toISOString(),
    missingVolumeIds: obstacle === null ? missing : [], obstacle,
  }
}

/**
 * The id of the instance that a person wants back: as given, or of the one backup with that Name.
 *
 * @throws Error that says what there is instead.
 */
export function findBackup(backups: readonly BackupView[], wanted: string): string {
  if (wanted.startsWith('i-')) return wanted
  const found = backups.filter((each) => each.name === wanted)
  if (found.length === 1 && found[0]) return found[0].instanceId
  if (found.length > 1) throw new Error(`"${wanted}" may be any of ${found.map((each) => each.instanceId).join(', ')}; give the id`)
  throw new Error(`no instance with the Name "${wanted}" can be restored; hearth restore lists those that can`)
}
