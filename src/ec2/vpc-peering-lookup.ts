import { isPeeringVisible, vpcPeeringDoc } from '../model/vpc-peering.ts'
import type { VpcPeeringTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { wakeVpcEverywhere } from './vpc-lookup.ts'

/** All peerings that have the VPC on one of their sides, whatever their status. */
export function peeringsOfVpc(db: Db, vpcId: string): Promise<VpcPeeringTable[]> {
  return db
    .selectFrom('vpc_peerings').selectAll()
    .where((eb) => eb.or([eb('requester_vpc_id', '=', vpcId), eb('accepter_vpc_id', '=', vpcId)]))
    .orderBy('created_ms').orderBy('peering_id').execute()
}

/** The VPC at the other end. */
export function peerOf(row: VpcPeeringTable, vpcId: string): string {
  return row.requester_vpc_id === vpcId ? row.accepter_vpc_id : row.requester_vpc_id
}

/** Ids of the VPCs that the VPC has an active peering with. */
export async function activePeersOf(db: Db, vpcId: string): Promise<string[]> {
  const rows = await peeringsOfVpc(db, vpcId)
  return rows.filter((row) => row.status === 'active').map((row) => peerOf(row, vpcId))
}

/**
 * The peering of that id, which has the account on one of its sides and is still shown to it.
 *
 * @throws ApiError MissingParameter, InvalidVpcPeeringConnectionId.Malformed, InvalidVpcPeeringConnectionID.NotFound.
 */
export async function requirePeering({ db, account, nowMs }: Context, id: string | undefined): Promise<VpcPeeringTable> {
  if (!id) throw missingParameter('vpcPeeringConnectionId')
  checkIds(RESOURCE_KINDS.vpcPeering, [id])
  const row = await db.selectFrom('vpc_peerings').selectAll().where('peering_id', '=', id).executeTakeFirst()
  if (!row || !isPeeringVisible(row, account, nowMs)) throw notFoundError(RESOURCE_KINDS.vpcPeering, [id])
  return row
}

/** Has both sides make or drop the link. */
export async function wakePeering(db: Db, row: VpcPeeringTable, nowMs: number): Promise<void> {
  await wakeVpcEverywhere(db, row.requester_vpc_id, nowMs)
  await wakeVpcEverywhere(db, row.accepter_vpc_id, nowMs)
}

/** Ends a peering in the name of the account; both sides drop the link, and routes to it are blackholes. */
export async function endPeering(
  { db, account, nowMs }: Context,
  row: VpcPeeringTable,
  status: 'rejected' | 'deleted',
): Promise<void> {
  const statusMessage = `${status === 'deleted' ? 'Deleted' : 'Rejected'} by ${account}`
  await db
    .updateTable('vpc_peerings')
    .set({ status, status_message: statusMessage, ended_ms: nowMs, doc: JSON.stringify({ ...vpcPeeringDoc(row), endedBy: account }) })
    .where('peering_id', '=', row.peering_id).execute()
  if (row.status === 'active') await wakePeering(db, row, nowMs)
}
