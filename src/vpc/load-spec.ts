import { sql } from 'kysely'
import { instanceDoc } from '../model/instance.ts'
import { vpcDoc } from '../model/vpc-wire.ts'
import { failedZones } from '../model/zone.ts'
import type { GroupSpec, NatGatewaySpec, PortSpec, RuleSpec, VpcSpec } from '../network/driver.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import { preparedIn } from '../store/prepared.ts'
import type { InterfaceTable, SecurityGroupRuleTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { loadAcls, loadPeerings, loadRouteTables } from './load-routing.ts'

/** A VPC as its rows say it should be on one host, without its ports. NAT gateways of a zone that has failed are cut. */
export async function loadVpcSpec(db: Db, vpcId: string, hostId: string, slot: number): Promise<Omit<VpcSpec, 'ports'>> {
  const vpc = await db.selectFrom('vpcs').selectAll().where('vpc_id', '=', vpcId).executeTakeFirstOrThrow()
  const more = await db.selectFrom('vpc_cidrs').select('cidr').where('vpc_id', '=', vpcId).orderBy('created_ms').execute()
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  const natGateways = await loadNatGateways(db, vpcId, hostId)
  const peerings = await loadPeerings(db, vpcId, hostId)
  const subnets = await loadSubnets(db, vpcId)
  const groups = await loadGroups(db, vpcId)
  return {
    vpcId, slot,
    cidrs: [vpc.cidr, ...more.map((each) => each.cidr)],
    subnets,
    routeTables: await loadRouteTables(db, vpcId, {
      internetGatewayId: gateway?.internet_gateway_id,
      natGatewayIds: natGateways.map((each) => each.natGatewayId),
      peeringIds: peerings.map((each) => each.peeringId),
    }),
    networkAcls: await loadAcls(db, vpcId),
    groups,
    foreignGroups: await loadForeignGroups(db, groups, peerings.map((each) => each.peerVpcId)),
    hasInternetGateway: gateway !== undefined,
    natGateways,
    peerings,
    hasDns: vpcDoc(vpc).enableDnsSupport ?? true,
  }
}

async function loadSubnets(db: Db, vpcId: string): Promise<VpcSpec['subnets']> {
  const rows = await db
    .selectFrom('subnets')
    .leftJoin('route_table_associations', 'route_table_associations.subnet_id', 'subnets.subnet_id')
    .innerJoin('network_acl_associations', 'network_acl_associations.subnet_id', 'subnets.subnet_id')
    .select(['subnets.subnet_id', 'subnets.cidr', 'route_table_associations.route_table_id', 'network_acl_id'])
    .where('vpc_id', '=', vpcId).orderBy('subnets.subnet_id').execute()
  const main = await db
    .selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpcId).where('is_main', '=', sql.lit(1)).executeTakeFirstOrThrow()
  return rows.map((row) => ({
    subnetId: row.subnet_id, cidr: row.cidr, routeTableId: row.route_table_id ?? main.route_table_id,
    networkAclId: row.network_acl_id,
  }))
}

async function loadNatGateways(db: Db, vpcId: string, hostId: string): Promise<NatGatewaySpec[]> {
  const rows = await db
    .selectFrom('nat_gateways').innerJoin('interfaces', 'interfaces.interface_id', 'nat_gateways.interface_id')
    .select(['nat_gateway_id', 'interfaces.interface_id', 'interfaces.subnet_id', 'zone', 'slot', 'mac', 'private_ip', 'public_ip'])
    .where('nat_gateways.vpc_id', '=', vpcId).where('nat_gateways.host_id', '=', hostId)
    .where('nat_gateways.state', 'in', ['pending', 'available']).where('wanted', '=', 1)
    .orderBy('nat_gateway_id').execute()
  const failed = new Set(rows.length > 0 ? await failedZones(db) : [])
  return rows.map((row) => ({
    natGatewayId: row.nat_gateway_id, interfaceId: row.interface_id, subnetId: row.subnet_id, slot: row.slot ?? 0,
    mac: row.mac, privateIp: row.private_ip, publicIp: row.public_ip, ...(failed.has(row.zone) && { isCut: true as const }),
  }))
}

const groupsOf = preparedIn((db, ids) =>
  db.selectFrom('interface_groups').selectAll().where('interface_id', 'in', ids).orderBy('position'))
const instancesOf = preparedIn((db, ids) =>
  db.selectFrom('instances').select(['instance_id', 'slot', 'doc']).where('instance_id', 'in', ids))
const secondaryOf = preparedIn((db, ids) =>
  db.selectFrom('interface_addresses').selectAll().where('interface_id', 'in', ids).orderBy('private_ip'))

/** The ports of those interfaces that should have one, cut where their zone has failed; a NAT gateway's is not a port. */
export async function loadPorts(db: Db, interfaces: readonly InterfaceTable[]): Promise<PortSpec[]> {
  const wanted = interfaces.filter((each) => each.wanted === 1 && each.slot !== null && each.requester_id === null)
  const ids = wanted.map((each) => each.interface_id)
  const groupIds = groupBy(await groupsOf(db, ids), (each) => each.interface_id)
  const secondary = groupBy(await secondaryOf(db, ids), (each) => each.interface_id)
  const failed = new Set(await failedZones(db))
  const instances = new Map(
    (await instancesOf(db, wanted.flatMap((each) => each.instance_id ?? []))).map((row) => [row.instance_id, row]))
  return wanted.map((each): PortSpec => {
    const instance = instances.get(each.instance_id ?? '')
    return {
      interfaceId: each.interface_id, subnetId: each.subnet_id, slot: each.slot ?? 0,
      machineSlot: instance?.slot ?? each.slot ?? 0, mac: each.mac,
      privateIp: each.private_ip, publicIp: each.public_ip,
      secondary: (secondary.get(each.interface_id) ?? []).map((row) => ({ privateIp: row.private_ip, publicIp: row.public_ip })),
      groupIds: (groupIds.get(each.interface_id) ?? []).map((group) => group.group_id),
      metadataHopLimit: instance ? instanceDoc(instance).metadataOptions.httpPutResponseHopLimit : 1,
      sourceDestCheck: each.source_dest_check === 1, ...(failed.has(each.zone) && { isCut: true as const }),
    }
  })
}

/** Groups of the VPC with what they allow; all of them, or those named. */
export async function loadGroups(db: Db, vpcId: string, only?: readonly string[]): Promise<GroupSpec[]> {
  const groupIds = only ?? (await db
    .selectFrom('security_groups').select('group_id').where('vpc_id', '=', vpcId).orderBy('group_id').execute())
    .map((group) => group.group_id)
  const rows = await inBatches(groupIds, (batch) =>
    db.selectFrom('security_group_rules').selectAll().where('group_id', 'in', batch).orderBy('rule_id').execute())
  const blocks = await loadPrefixLists(db, rows.flatMap((rule) => rule.prefix_list_id ?? []))
  const rules = groupBy(rows, (rule) => rule.group_id)
  return groupIds.map((groupId) => {
    const own = rules.get(groupId) ?? []
    const specs = (isEgress: number) =>
      own.filter((rule) => rule.is_egress === isEgress).flatMap((rule) => toRuleSpecs(rule, blocks))
    return { groupId, ingress: specs(0), egress: specs(1) }
  })
}

/** Blocks of the newest version of prefix lists, by their ids. */
export async function loadPrefixLists(db: Db, ids: readonly string[]): Promise<Map<string, string[]>> {
  const rows = await inBatches(ids, (batch) => db
    .selectFrom('prefix_lists')
    .innerJoin('prefix_list_entries', (join) => join
      .onRef('prefix_list_entries.prefix_list_id', '=', 'prefix_lists.prefix_list_id')
      .onRef('prefix_list_entries.version', '=', 'prefix_lists.version'))
    .select(['prefix_lists.prefix_list_id', 'cidr'])
    .where('prefix_lists.prefix_list_id', 'in', batch).orderBy('cidr').execute())
  const blocks = groupBy(rows, (row) => row.prefix_list_id)
  return new Map([...blocks].map(([id, entries]) => [id, entries.map((entry) => entry.cidr)]))
}

function toRuleSpecs(rule: SecurityGroupRuleTable, blocks: ReadonlyMap<string, string[]>): RuleSpec[] {
  const hasPorts = ['tcp', 'udp', 'icmp'].includes(rule.protocol)
  const common = {
    protocol: rule.protocol, fromPort: hasPorts ? rule.from_port : null, toPort: hasPorts ? rule.to_port : null,
  }
  if (rule.peer_group_id !== null) return [{ ...common, peer: { groupId: rule.peer_group_id } }]
  const cidrs = rule.cidr === null ? blocks.get(rule.prefix_list_id ?? '') ?? [] : [rule.cidr]
  return cidrs.map((cidr) => ({ ...common, peer: { cidr } }))
}

/**
 * Members of the groups that rules name and that are of peered VPCs. Once the peering has ended a rule is
 * stale and lets nothing through, whoever has those addresses then.
 */
export async function loadForeignGroups(
  db: Db,
  groups: readonly GroupSpec[],
  peerVpcIds: readonly string[],
): Promise<VpcSpec['foreignGroups']> {
  const own = new Set(groups.map((group) => group.groupId))
  const named = groups.flatMap((group) => [...group.ingress, ...group.egress])
    .flatMap(({ peer }) => ('groupId' in peer && !own.has(peer.groupId) ? peer.groupId : []))
  const ids = [...new Set(named)].toSorted()
  const peers = await inBatches(ids, (batch) => db
    .selectFrom('security_groups').select(['group_id', 'vpc_id']).where('group_id', 'in', batch).execute())
  const reachable = peers.filter((group) => peerVpcIds.includes(group.vpc_id)).map((group) => group.group_id)
  const primary = await inBatches(reachable, (batch) => db
    .selectFrom('interface_groups').innerJoin('interfaces', 'interfaces.interface_id', 'interface_groups.interface_id')
    .select(['group_id', 'private_ip']).where('group_id', 'in', batch).execute())
  const secondary = await inBatches(reachable, (batch) => db
    .selectFrom('interface_groups').innerJoin('interface_addresses', 'interface_addresses.interface_id', 'interface_groups.interface_id')
    .select(['group_id', 'private_ip']).where('group_id', 'in', batch).execute())
  const members = groupBy([...primary, ...secondary], (row) => row.group_id)
  return ids.map((groupId) => ({
    groupId, addresses: (members.get(groupId) ?? []).map((row) => row.private_ip).toSorted(),
  }))
}
