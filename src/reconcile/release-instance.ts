import { freeInterface, parkInterface, removeInterface } from '../model/free-interface.ts'
import type { InstanceTable, VolumeTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'

/**
 * What ends with a machine, in the transaction that records its end. Stopped: the ports go and with
 * them the automatic public addresses; private addresses, Elastic IPs and volumes stay. Terminated:
 * interfaces and volumes are deleted or let go, as DeleteOnTermination says; what is deleted gives up
 * its Elastic IPs. Interfaces that were being detached are let go in any case.
 */
export async function releaseAttachments(db: Db, row: InstanceTable, nowMs: number): Promise<void> {
  if (row.vpc_id === null) throw new Error(`${row.instance_id} ends and is in no VPC`)
  const interfaces = await db.selectFrom('interfaces').selectAll().where('instance_id', '=', row.instance_id).execute()
  for (const each of interfaces) {
    if (each.status === 'detaching') await freeInterface({ db, nowMs }, each)
    else if (row.state !== 'terminated') await parkInterface({ db }, each)
    else if (each.delete_on_termination === 1) await removeInterface({ db, nowMs }, each)
    else await freeInterface({ db, nowMs }, each)
  }
  await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.host_id }, nowMs)
  if (row.state === 'terminated') await releaseSubnetAndVolumes(db, row, nowMs)
}

async function releaseSubnetAndVolumes(db: Db, row: InstanceTable, nowMs: number): Promise<void> {
  await db
    .updateTable('instances').set({ vpc_id: null, subnet_id: null }).where('instance_id', '=', row.instance_id).execute()
  const volumes = await db
    .selectFrom('volumes').select(['volume_id', 'host_id', 'delete_on_termination', 'ready'])
    .where('instance_id', '=', row.instance_id).execute()
  for (const volume of volumes) {
    await db
      .updateTable('volumes')
      .set({
        instance_id: null, device: null, attach_state: null, attached_ms: null,
        ...releasedState(volume),
      })
      .where('volume_id', '=', volume.volume_id).execute()
    await enqueue(db, { kind: 'volume', id: volume.volume_id, hostId: volume.host_id }, nowMs)
  }
}

/** What becomes of a volume whose instance is gone; one that has no file yet is still being made. */
function releasedState(volume: { delete_on_termination: number; ready: number }): Partial<Pick<VolumeTable, 'state'>> {
  if (volume.delete_on_termination === 1) return { state: 'deleting' }
  return volume.ready === 1 ? { state: 'available' } : {}
}

/** Forgets a terminated instance: nothing refers to it any more. */
export async function purgeInstance(db: Db, instanceId: string): Promise<void> {
  const row = await db
    .selectFrom('instances').select('reservation_id').where('instance_id', '=', instanceId).executeTakeFirst()
  await db.deleteFrom('tags').where('resource_id', '=', instanceId).execute()
  await db.deleteFrom('instances').where('instance_id', '=', instanceId).execute()
  if (!row) return
  const sibling = await db
    .selectFrom('instances').select('instance_id').where('reservation_id', '=', row.reservation_id).executeTakeFirst()
  if (!sibling) await db.deleteFrom('client_tokens').where('resource_id', '=', row.reservation_id).execute()
}
