import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { disassociateAll, hasElasticIp } from './elastic-ip.ts'
import { interfaceDoc } from './interface.ts'
import { releaseSlot } from './slot.ts'

interface Ambient {
  db: Db
  nowMs: number
}

/**
 * Lets an interface go that no guest has any more: it is available as soon as its port is gone, keeps
 * its private addresses and Elastic IPs, and loses an automatic public address. One that has no port
 * loses its place on the host and its slot at once.
 */
export async function freeInterface({ db, nowMs }: Ambient, row: InterfaceTable): Promise<void> {
  const { forceDetach: _gone, ...doc } = interfaceDoc(row)
  const hasPort = row.wanted === 1 || row.ready === 1 || row.revision !== row.synced_revision
  await db
    .updateTable('interfaces')
    .set((eb) => ({
      instance_id: null, device_index: 0, wanted: 0, ready: 0, status: 'available', delete_on_termination: 0,
      revision: eb('revision', '+', 1), doc: JSON.stringify({ ...doc, assignPublicIp: false }),
      ...(hasPort ? {} : { host_id: null, slot: null }),
    }))
    .where('interface_id', '=', row.interface_id).execute()
  if (!(await hasElasticIp(db, row))) await dropPublicIp(db, row.interface_id)
  if (row.host_id === null) return
  if (hasPort) await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.host_id }, nowMs)
  else await releaseSlot(db, row.host_id, 'machine', row.interface_id)
}

/**
 * Deletes an interface that nothing needs any more: its Elastic IPs are free, its row goes with its
 * port, or at once when it has none.
 */
export async function removeInterface({ db, nowMs }: Ambient, row: InterfaceTable): Promise<void> {
  const id = row.interface_id
  await disassociateAll(db, id)
  await db.deleteFrom('client_tokens').where('account_id', '=', row.account_id).where('resource_id', '=', id).execute()
  if (row.host_id === null) {
    await db.deleteFrom('tags').where('resource_id', '=', id).execute()
    await db.deleteFrom('interface_addresses').where('interface_id', '=', id).execute()
    await db.deleteFrom('interfaces').where('interface_id', '=', id).execute()
    return
  }
  await db
    .updateTable('interfaces')
    .set((eb) => ({
      status: 'removing', instance_id: null, wanted: 0, ready: 0, public_ip: null, revision: eb('revision', '+', 1),
    }))
    .where('interface_id', '=', id).execute()
  await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.host_id }, nowMs)
}

async function dropPublicIp(db: Db, interfaceId: string): Promise<void> {
  await db.updateTable('interfaces').set({ public_ip: null }).where('interface_id', '=', interfaceId).execute()
}

/** The port of an interface goes, whose instance has stopped; an automatic public address goes with it. */
export async function parkInterface({ db }: Pick<Ambient, 'db'>, row: InterfaceTable): Promise<void> {
  await db
    .updateTable('interfaces').set((eb) => ({ wanted: 0, ready: 0, status: 'in-use', revision: eb('revision', '+', 1) }))
    .where('interface_id', '=', row.interface_id).execute()
  if (!(await hasElasticIp(db, row))) await dropPublicIp(db, row.interface_id)
}
