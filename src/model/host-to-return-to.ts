import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

export type HostAndNode = Pick<InstanceTable, 'host_id' | 'node_id'>

/**
 * Where an instance that has been away is to be: on its host, if that is there still and of its zone, or on another one of the
 * zone and the node, where its disks are. Undefined where there is none.
 */
export async function hostToReturnTo(db: Db, row: Pick<InstanceTable, 'host_id' | 'node_id' | 'zone'>): Promise<HostAndNode | undefined> {
  // What an earlier version wrote down has no node, when a host was one.
  const nodeId = row.node_id || row.host_id
  const hosts = await db
    .selectFrom('hosts').select(['host_id', 'node_id', 'zone']).where('node_id', '=', nodeId).orderBy('host_id').execute()
  const own = hosts.find((host) => host.host_id === row.host_id)
  const found = own?.zone === row.zone ? own : hosts.find((host) => host.zone === row.zone) ?? own
  return found && { host_id: found.host_id, node_id: found.node_id }
}
