import { sql, type RawBuilder } from 'kysely'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId, type IdPrefix } from '../core/ids.ts'
import { isImageVisible, isSnapshotVisible } from '../model/visible.ts'
import { inBatches } from '../store/batch.ts'
import type { Db } from '../store/store.ts'
import { checkId } from './parameters.ts'

/** One kind of resource that has ids and tags: where it is kept, and how EC2 says that it is not there. */
export interface ResourceKind {
  /** Name in tag specifications and DescribeTags. */
  type: string
  prefix: IdPrefix
  table: string
  idColumn: string
  malformedCode: string
  notFoundCode: string
  /** The sentence for one id, and for several; the wording differs from noun to noun. */
  notFound: (ids: string, isOne: boolean) => string
}

/** "The subnet ID 'x' does not exist", "The subnet IDs 'x, y' do not exist". */
const idDoesNotExist = (noun: string) => (ids: string, isOne: boolean) =>
  isOne ? `The ${noun} ID '${ids}' does not exist` : `The ${noun} IDs '${ids}' do not exist`

/** "The volume 'x' does not exist", "The volumes 'x, y' do not exist". */
const doesNotExist = (noun: string, end = '') => (ids: string, isOne: boolean) =>
  `${isOne ? `The ${noun} '${ids}' does not exist` : `The ${noun}s '${ids}' do not exist`}${end}`

export const RESOURCE_KINDS = {
  instance: {
    type: 'instance', prefix: 'i', table: 'instances', idColumn: 'instance_id',
    malformedCode: 'InvalidInstanceID.Malformed', notFoundCode: 'InvalidInstanceID.NotFound',
    notFound: idDoesNotExist('instance'),
  },
  volume: {
    type: 'volume', prefix: 'vol', table: 'volumes', idColumn: 'volume_id',
    malformedCode: 'InvalidVolumeID.Malformed', notFoundCode: 'InvalidVolume.NotFound',
    notFound: doesNotExist('volume', '.'),
  },
  networkInterface: {
    type: 'network-interface', prefix: 'eni', table: 'interfaces', idColumn: 'interface_id',
    malformedCode: 'InvalidNetworkInterfaceId.Malformed', notFoundCode: 'InvalidNetworkInterfaceID.NotFound',
    notFound: idDoesNotExist('networkInterface'),
  },
  elasticIp: {
    type: 'elastic-ip', prefix: 'eipalloc', table: 'addresses', idColumn: 'allocation_id',
    malformedCode: 'InvalidAllocationID.Malformed', notFoundCode: 'InvalidAllocationID.NotFound',
    notFound: idDoesNotExist('allocation'),
  },
  image: {
    type: 'image', prefix: 'ami', table: 'images', idColumn: 'image_id',
    malformedCode: 'InvalidAMIID.Malformed', notFoundCode: 'InvalidAMIID.NotFound',
    notFound: (ids, isOne) =>
      isOne ? `The image id '[${ids}]' does not exist` : `The image ids '[${ids}]' do not exist`,
  },
  snapshot: {
    type: 'snapshot', prefix: 'snap', table: 'snapshots', idColumn: 'snapshot_id',
    malformedCode: 'InvalidSnapshotID.Malformed', notFoundCode: 'InvalidSnapshot.NotFound',
    notFound: doesNotExist('snapshot', '.'),
  },
  keyPair: {
    type: 'key-pair', prefix: 'key', table: 'key_pairs', idColumn: 'key_pair_id',
    malformedCode: 'InvalidKeyPair.Format', notFoundCode: 'InvalidKeyPair.NotFound',
    notFound: idDoesNotExist('key pair'),
  },
  securityGroup: {
    type: 'security-group', prefix: 'sg', table: 'security_groups', idColumn: 'group_id',
    malformedCode: 'InvalidGroupId.Malformed', notFoundCode: 'InvalidGroup.NotFound',
    notFound: doesNotExist('security group'),
  },
  securityGroupRule: {
    type: 'security-group-rule', prefix: 'sgr', table: 'security_group_rules', idColumn: 'rule_id',
    malformedCode: 'InvalidSecurityGroupRuleId.Malformed', notFoundCode: 'InvalidSecurityGroupRuleId.NotFound',
    notFound: idDoesNotExist('security group rule'),
  },
  launchTemplate: {
    type: 'launch-template', prefix: 'lt', table: 'launch_templates', idColumn: 'template_id',
    malformedCode: 'InvalidLaunchTemplateId.Malformed', notFoundCode: 'InvalidLaunchTemplateId.NotFound',
    notFound: (ids, isOne) => `The specified launch template${isOne ? '' : 's'}, with template ID ${ids}, ${isOne ? 'does' : 'do'} not exist.`,
  },
  capacityReservation: {
    type: 'capacity-reservation', prefix: 'cr', table: 'capacity_reservations', idColumn: 'capacity_reservation_id',
    malformedCode: 'InvalidCapacityReservationId.Malformed', notFoundCode: 'InvalidCapacityReservationId.NotFound',
    notFound: idDoesNotExist('capacity reservation'),
  },
  dedicatedHost: {
    type: 'dedicated-host', prefix: 'h', table: 'dedicated_hosts', idColumn: 'dedicated_host_id',
    malformedCode: 'InvalidHostID.Malformed', notFoundCode: 'InvalidHostID.NotFound', notFound: idDoesNotExist('host'),
  },
  placementGroup: {
    type: 'placement-group', prefix: 'pg', table: 'placement_groups', idColumn: 'group_id',
    malformedCode: 'InvalidPlacementGroupId.Malformed', notFoundCode: 'InvalidPlacementGroup.Unknown',
    notFound: (ids, isOne) => (isOne ? `The Placement Group '${ids}' is unknown.` : `The Placement Groups '${ids}' are unknown.`),
  },
  fleet: {
    type: 'fleet', prefix: 'fleet', table: 'fleets', idColumn: 'fleet_id',
    malformedCode: 'InvalidFleetId.Malformed', notFoundCode: 'InvalidFleetId.NotFound', notFound: idDoesNotExist('fleet'),
  },
  spotFleet: {
    type: 'spot-fleet-request', prefix: 'sfr', table: 'fleets', idColumn: 'fleet_id',
    malformedCode: 'InvalidSpotFleetRequestId.Malformed', notFoundCode: 'InvalidSpotFleetRequestId.NotFound',
    notFound: idDoesNotExist('spot fleet request'),
  },
  spotRequest: {
    type: 'spot-instances-request', prefix: 'sir', table: 'spot_requests', idColumn: 'request_id',
    malformedCode: 'InvalidSpotInstanceRequestID.Malformed', notFoundCode: 'InvalidSpotInstanceRequestID.NotFound',
    notFound: idDoesNotExist('spot instance request'),
  },
  vpc: {
    type: 'vpc', prefix: 'vpc', table: 'vpcs', idColumn: 'vpc_id',
    malformedCode: 'InvalidVpcID.Malformed', notFoundCode: 'InvalidVpcID.NotFound', notFound: idDoesNotExist('vpc'),
  },
  subnet: {
    type: 'subnet', prefix: 'subnet', table: 'subnets', idColumn: 'subnet_id',
    malformedCode: 'InvalidSubnetID.Malformed', notFoundCode: 'InvalidSubnetID.NotFound',
    notFound: idDoesNotExist('subnet'),
  },
  networkAcl: {
    type: 'network-acl', prefix: 'acl', table: 'network_acls', idColumn: 'network_acl_id',
    malformedCode: 'InvalidNetworkAclId.Malformed', notFoundCode: 'InvalidNetworkAclID.NotFound',
    notFound: idDoesNotExist('networkAcl'),
  },
  prefixList: {
    type: 'prefix-list', prefix: 'pl', table: 'prefix_lists', idColumn: 'prefix_list_id',
    malformedCode: 'InvalidPrefixListId.Malformed', notFoundCode: 'InvalidPrefixListID.NotFound',
    notFound: idDoesNotExist('prefix list'),
  },
  natGateway: {
    type: 'natgateway', prefix: 'nat', table: 'nat_gateways', idColumn: 'nat_gateway_id',
    malformedCode: 'NatGatewayMalformed', notFoundCode: 'NatGatewayNotFound',
    notFound: (ids, isOne) => (isOne ? `The Nat Gateway ${ids} was not found` : `The Nat Gateways ${ids} were not found`),
  },
  routeTable: {
    type: 'route-table', prefix: 'rtb', table: 'route_tables', idColumn: 'route_table_id',
    malformedCode: 'InvalidRouteTableId.Malformed', notFoundCode: 'InvalidRouteTableID.NotFound',
    notFound: idDoesNotExist('routeTable'),
  },
  internetGateway: {
    type: 'internet-gateway', prefix: 'igw', table: 'internet_gateways', idColumn: 'internet_gateway_id',
    malformedCode: 'InvalidInternetGatewayId.Malformed', notFoundCode: 'InvalidInternetGatewayID.NotFound',
    notFound: idDoesNotExist('internetGateway'),
  },
  vpcPeering: {
    type: 'vpc-peering-connection', prefix: 'pcx', table: 'vpc_peerings', idColumn: 'peering_id',
    malformedCode: 'InvalidVpcPeeringConnectionId.Malformed', notFoundCode: 'InvalidVpcPeeringConnectionID.NotFound',
    notFound: idDoesNotExist('vpcPeeringConnection'),
  },
  networkInsightsPath: {
    type: 'network-insights-path', prefix: 'nip', table: 'network_insights', idColumn: 'id',
    malformedCode: 'InvalidNetworkInsightsPathId.Malformed', notFoundCode: 'InvalidNetworkInsightsPathId.NotFound',
    notFound: idDoesNotExist('network insights path'),
  },
  networkInsightsAnalysis: {
    type: 'network-insights-analysis', prefix: 'nia', table: 'network_insights', idColumn: 'id',
    malformedCode: 'InvalidNetworkInsightsAnalysisId.Malformed', notFoundCode: 'InvalidNetworkInsightsAnalysisId.NotFound',
    notFound: idDoesNotExist('network insights analysis'),
  },
  dhcpOptions: {
    type: 'dhcp-options', prefix: 'dopt', table: 'dhcp_options', idColumn: 'dhcp_options_id',
    malformedCode: 'InvalidDhcpOptionsId.Malformed', notFoundCode: 'InvalidDhcpOptionID.NotFound',
    notFound: idDoesNotExist('dhcpOption'),
  },
  importImageTask: {
    type: 'import-image-task', prefix: 'import-ami', table: 'import_tasks', idColumn: 'task_id',
    malformedCode: 'InvalidConversionTaskId.Malformed', notFoundCode: 'InvalidConversionTaskId',
    notFound: idDoesNotExist('import image task'),
  },
  importSnapshotTask: {
    type: 'import-snapshot-task', prefix: 'import-snap', table: 'import_tasks', idColumn: 'task_id',
    malformedCode: 'InvalidConversionTaskId.Malformed', notFoundCode: 'InvalidConversionTaskId',
    notFound: idDoesNotExist('import snapshot task'),
  },
} as const satisfies Record<string, ResourceKind>

/** The kind of resource that an id names by its form; undefined for anything else. */
export function kindOfId(id: string): ResourceKind | undefined {
  return Object.values(RESOURCE_KINDS).find((kind) => isWellFormedId(kind.prefix, id))
}

/** EC2's error for ids of that kind that do not exist, or not for this account. */
export function notFoundError(kind: ResourceKind, ids: readonly string[]): ApiError {
  return new ApiError(kind.notFoundCode, kind.notFound(ids.join(', '), ids.length === 1))
}

/** Checks the form of all ids. */
export function checkIds(kind: ResourceKind, ids: readonly string[]): void {
  for (const id of ids) checkId(kind.prefix, id, kind.malformedCode)
}

/** Throws the kind's NotFound error unless every id asked for is among those found. */
export function requireAll(kind: ResourceKind, ids: readonly string[], found: ReadonlySet<string>): void {
  const missing = [...new Set(ids)].filter((id) => !found.has(id))
  if (missing.length > 0) throw notFoundError(kind, missing)
}

/** What accounts see of a kind beside their own. */
const visibleToo: Record<string, (account: string) => RawBuilder<unknown>> = {
  [RESOURCE_KINDS.image.type]: isImageVisible,
  [RESOURCE_KINDS.snapshot.type]: isSnapshotVisible,
  [RESOURCE_KINDS.vpcPeering.type]: (account) => sql`accepter_account_id = ${account}`,
}

/**
 * Which of the ids exist for the account: its own, those in the recycle bin as well, images and snapshots
 * that are public or shared with it, and peerings that it was asked for.
 */
export async function existingIds(
  db: Db,
  account: string,
  kind: ResourceKind,
  ids: readonly string[],
): Promise<Set<string>> {
  const isMine = sql`account_id = ${account}`
  const isVisible = visibleToo[kind.type] ? sql`(${isMine} or ${visibleToo[kind.type]?.(account)})` : isMine
  const rows = await inBatches(ids, async (batch) => {
    const result = await sql<{ id: string }>`select ${sql.ref(kind.idColumn)} as id from ${sql.table(kind.table)}
      where ${isVisible} and ${sql.ref(kind.idColumn)} in (${sql.join(batch)})`.execute(db)
    return result.rows
  })
  return new Set(rows.map((row) => row.id))
}
