import type { InstanceTable, InterfaceTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'

/** Marks the ports of an instance due: something of them is another now (groups, hop limit). */
export async function enqueueChangedPorts({ db, nowMs }: Context, row: InstanceTable): Promise<void> {
  await db
    .updateTable('interfaces').set((eb) => ({ revision: eb('revision', '+', 1) }))
    .where('instance_id', '=', row.instance_id).execute()
  if (row.vpc_id === null) return
  await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.node_id }, nowMs)
}

/** Marks the port of one interface due: something of it is another now (groups, addresses, source/destination check). */
export async function enqueueChangedPort(
  { db, nowMs }: Pick<Context, 'db' | 'nowMs'>,
  row: Pick<InterfaceTable, 'interface_id' | 'vpc_id' | 'host_id'>,
): Promise<void> {
  await db
    .updateTable('interfaces').set((eb) => ({ revision: eb('revision', '+', 1) }))
    .where('interface_id', '=', row.interface_id).execute()
  if (row.host_id !== null) await enqueue(db, { kind: 'ports', id: row.vpc_id, hostId: row.host_id }, nowMs)
}
