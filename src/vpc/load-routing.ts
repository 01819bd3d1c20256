import type { AclEntrySpec, NetworkAclSpec, PeeringSpec, RouteTableSpec, RouteTarget } from '../network/driver.ts'
import { groupBy } from '../store/batch.ts'
import type { NetworkAclEntryTable, RouteTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { loadPrefixLists } from './load-spec.ts'

/** Which targets of routes are there; a route to any other is a blackhole. */
export interface RouteTargets {
  internetGatewayId: string | undefined
  natGatewayIds: readonly string[]
  peeringIds: readonly string[]
}

/** The VPC's route tables, with prefix lists as the routes that they stand for. */
export async function loadRouteTables(db: Db, vpcId: string, targets: RouteTargets): Promise<RouteTableSpec[]> {
  const tables = await db
    .selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpcId).orderBy('route_table_id').execute()
  const rows = await db
    .selectFrom('routes').innerJoin('route_tables', 'route_tables.route_table_id', 'routes.route_table_id')
    .selectAll('routes').where('vpc_id', '=', vpcId).orderBy('destination').execute()
  const lists = await loadPrefixLists(db, rows.map((row) => row.destination).filter(isPrefixList))
  const routes = groupBy(rows, (row) => row.route_table_id)
  return tables.map(({ route_table_id: routeTableId }) => ({
    routeTableId,
    routes: (routes.get(routeTableId) ?? []).flatMap((row) => {
      const destinations = isPrefixList(row.destination) ? lists.get(row.destination) ?? [] : [row.destination]
      return destinations.map((destination) => ({ destination, target: targetOf(row, targets) }))
    }),
  }))
}

/** Whether a route's destination is a prefix list, and not a block. */
export function isPrefixList(destination: string): boolean {
  return destination.startsWith('pl-')
}

/** An interface's target is always named: the driver sees for itself whether it has a port. */
function targetOf(row: RouteTable, targets: RouteTargets): RouteTarget {
  const id = row.target_id
  switch (row.target_kind) {
    case 'internet-gateway':
      return { kind: id === targets.internetGatewayId ? 'internet-gateway' : 'blackhole' }
    case 'nat-gateway':
      return targets.natGatewayIds.includes(id) ? { kind: 'nat-gateway', natGatewayId: id } : { kind: 'blackhole' }
    case 'interface':
      return { kind: 'interface', interfaceId: id }
    case 'peering':
      return targets.peeringIds.includes(id) ? { kind: 'peering', peeringId: id } : { kind: 'blackhole' }
  }
}

/**
 * The network ACLs that subnets of the VPC use, their entries in the order in which they are tried. One
 * that no subnet uses decides about nothing.
 */
export async function loadAcls(db: Db, vpcId: string): Promise<NetworkAclSpec[]> {
  const acls = await db
    .selectFrom('network_acls').select('network_acl_id').where('vpc_id', '=', vpcId)
    .where('network_acl_id', 'in', (used) => used.selectFrom('network_acl_associations').select('network_acl_id'))
    .orderBy('network_acl_id').execute()
  const rows = await db
    .selectFrom('network_acl_entries').innerJoin('network_acls', 'network_acls.network_acl_id', 'network_acl_entries.network_acl_id')
    .selectAll('network_acl_entries').where('vpc_id', '=', vpcId).orderBy('rule_number').execute()
  const entries = groupBy(rows, (row) => row.network_acl_id)
  return acls.map(({ network_acl_id: networkAclId }) => {
    const own = entries.get(networkAclId) ?? []
    const specs = (isEgress: number) => own.filter((row) => row.is_egress === isEgress).map(toEntrySpec)
    return { networkAclId, ingress: specs(0), egress: specs(1) }
  })
}

/** Rows have protocols by number, specs by name where there is one, as rules of security groups do. */
const PROTOCOL_NAMES: Record<string, string> = { '1': 'icmp', '6': 'tcp', '17': 'udp' }

function toEntrySpec(row: NetworkAclEntryTable): AclEntrySpec {
  const protocol = PROTOCOL_NAMES[row.protocol] ?? row.protocol
  const hasPorts = protocol !== row.protocol
  return {
    ruleNumber: row.rule_number, action: row.action, protocol, cidr: row.cidr,
    fromPort: hasPorts ? row.from_port : null, toPort: hasPorts ? row.to_port : null,
  }
}

/** Active peerings of the VPC with VPCs that have a network on the same host. */
export async function loadPeerings(db: Db, vpcId: string, hostId: string): Promise<PeeringSpec[]> {
  const rows = await db
    .selectFrom('vpc_peerings').selectAll()
    .where((eb) => eb.or([eb('requester_vpc_id', '=', vpcId), eb('accepter_vpc_id', '=', vpcId)]))
    .where('status', '=', 'active').orderBy('peering_id').execute()
  const specs: PeeringSpec[] = []
  for (const row of rows) {
    const side = row.requester_vpc_id === vpcId ? 'requester' : 'accepter'
    const peerVpcId = side === 'requester' ? row.accepter_vpc_id : row.requester_vpc_id
    const slotOf = async (ownerId: string) => (await db
      .selectFrom('slots').select('slot').where('host_id', '=', hostId).where('kind', '=', 'vpc').where('owner_id', '=', ownerId)
      .executeTakeFirst())?.slot
    const slot = await slotOf(row.peering_id)
    const peerVpcSlot = await slotOf(peerVpcId)
    if (slot === undefined || peerVpcSlot === undefined) continue
    specs.push({ peeringId: row.peering_id, slot, peerVpcId, peerVpcSlot, peerCidrs: await cidrsOf(db, peerVpcId), side })
  }
  return specs
}

/** All blocks of a VPC, the primary one first. */
export async function cidrsOf(db: Db, vpcId: string): Promise<string[]> {
  const vpc = await db.selectFrom('vpcs').select('cidr').where('vpc_id', '=', vpcId).executeTakeFirst()
  const more = await db.selectFrom('vpc_cidrs').select('cidr').where('vpc_id', '=', vpcId).orderBy('created_ms').execute()
  return vpc ? [vpc.cidr, ...more.map((each) => each.cidr)] : []
}
