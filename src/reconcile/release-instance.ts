import type { Random } from '../core/random.ts'
import { recordAttachedAtRest } from '../model/attached.ts'
import { freeInterface, parkInterface, removeInterface } from '../model/free-interface.ts'
import { freeVolume } from '../model/free-volume.ts'
import { backUpInstance, completeBackup } from '../model/instance-backup.ts'
import { wakeEvents } from '../model/instance-event.ts'
import { binned, recycleRuleFor } from '../model/recycle-rules.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { settleAtRest } from './settle-volumes.ts'

interface Ambient {
  db: Db
  random: Random
  nowMs: number
}

/**
 * What ends with a machine, in the transaction that records its end. Snapshots that waited get what is in its
 * volumes. Stopped: the ports go and with them the automatic public addresses; private addresses, Elastic IPs and
 * volumes stay. Terminated: interfaces and volumes are deleted or let go, as DeleteOnTermination says; what is
 * deleted gives up its Elastic IPs, and a volume may go into the recycle bin. What has a retention is backed up before.
 * Interfaces and volumes that were being detached are let go in any case. What was planned for the instance may be over with that.
 */
export async function releaseAttachments(ambient: Ambient, row: InstanceTable): Promise<void> {
  const { db, nowMs } = ambient
  if (row.vpc_id === null) throw new Error(`${row.instance_id} ends and is in no VPC`)
  const retentionMs = row.state === 'terminated' ? await backUpInstance({ db, nowMs }, row) : undefined
  const interfaces = await db.selectFrom('interfaces').selectAll().where('instance_id', '=', row.instance_id).execute()
  for (const each of interfaces) {
    if (each.status === 'detaching') await freeInterface({ db, nowMs }, each)
    else if (row.state !== 'terminated') await parkInterface({ db }, each)
    else if (each.delete_on_termination === 1) await removeInterface({ db, nowMs }, each)
    else await freeInterface({ db, nowMs }, each)
  }
  await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.node_id }, nowMs)
  await settleAtRest(ambient, row.instance_id)
  await wakeEvents(db, row, nowMs)
  if (row.state === 'terminated') await releaseSubnetAndVolumes(ambient, row, retentionMs)
  else await recordAttachedAtRest(db, row.instance_id, nowMs)
}

async function releaseSubnetAndVolumes(
  { db, nowMs }: Ambient,
  row: InstanceTable,
  retentionMs: number | undefined,
): Promise<void> {
  await db
    .updateTable('instances').set({ vpc_id: null, subnet_id: null }).where('instance_id', '=', row.instance_id).execute()
  const volumes = await db.selectFrom('volumes').selectAll().where('instance_id', '=', row.instance_id).execute()
  for (const volume of volumes) {
    const change = await releasedColumns(db, volume, { nowMs, retentionMs })
    await freeVolume(db, volume, nowMs)
    await db.updateTable('volumes').set(change).where('volume_id', '=', volume.volume_id).execute()
  }
}

/**
 * What becomes of a volume whose instance is gone; one that has no file yet is still being made, or could not be. It is kept
 * for as long as its instance can be restored, or as a rule for volumes says.
 */
async function releasedColumns(
  db: Db,
  volume: VolumeTable,
  { nowMs, retentionMs }: { nowMs: number; retentionMs: number | undefined },
): Promise<Partial<Pick<VolumeTable, 'state' | 'binned_ms' | 'bin_exit_ms'>>> {
  const state = volume.ready === 1 ? 'available' : volume.state
  if (volume.delete_on_termination === 0) return { state }
  const resource = { account: volume.account_id, resourceType: 'EBS_VOLUME', resourceId: volume.volume_id } as const
  if (volume.ready === 0) return { state: 'deleting' }
  const longestMs = Math.max(retentionMs ?? 0, (await recycleRuleFor(db, resource)) ?? 0)
  return longestMs === 0 ? { state: 'deleting' } : { state, ...binned(nowMs, longestMs) }
}

/**
 * Forgets a terminated instance: nothing refers to it any more. One that was restored meanwhile is left alone.
 *
 * @returns whether it is forgotten.
 */
export async function purgeInstance(db: Db, instanceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('instances').select(['instance_id', 'reservation_id', 'state']).where('instance_id', '=', instanceId)
    .executeTakeFirst()
  if (row?.state !== 'terminated') return false
  await completeBackup(db, row)
  await db.deleteFrom('tags').where('resource_id', '=', instanceId).execute()
  await db.deleteFrom('instance_events').where('instance_id', '=', instanceId).execute()
  await db.deleteFrom('instances').where('instance_id', '=', instanceId).execute()
  const sibling = await db
    .selectFrom('instances').select('instance_id').where('reservation_id', '=', row.reservation_id).executeTakeFirst()
  if (!sibling) await db.deleteFrom('client_tokens').where('resource_id', '=', row.reservation_id).execute()
  return true
}
