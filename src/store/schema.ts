import type {
  ImageTable, ImportTaskTable, LayerTable, RecycleRuleTable, SnapshotTable, VolumeModificationTable, VolumeTable,
} from './schema-disks.ts'
import type { InstanceBackupTable, InstanceEventTable, PushedKeyTable } from './schema-life.ts'
import type {
  CloudEventTable, EventTargetTable, FleetHistoryTable, SpotClearingTable, SpotMarketTable, SpotPinTable, SpotRequestTable, SpotZoneTable,
  UsageRunTable,
} from './schema-spot.ts'
import type { LaunchTemplateTable, LaunchTemplateVersionTable } from './schema-templates.ts'
import type {
  CapacityReservationHostTable, CapacityReservationTable, DedicatedHostTable, FleetTable, PlacementGroupTable, ZoneTable,
} from './schema-zones.ts'

export type { InstanceBackupTable, InstanceEventTable, PushedKeyTable } from './schema-life.ts'
export type {
  CloudEventTable, EventTargetTable, FleetHistoryTable, SpotClearingTable, SpotMarketTable, SpotPinTable, SpotRequestTable, SpotZoneTable,
  UsageRunTable,
} from './schema-spot.ts'
export type { LaunchTemplateTable, LaunchTemplateVersionTable } from './schema-templates.ts'
export type {
  CapacityReservationHostTable, CapacityReservationTable, DedicatedHostTable, FleetTable, PlacementGroupTable, ZoneTable,
} from './schema-zones.ts'
export type {
  ImageTable, ImportTaskTable, LayerTable, RecycleRuleTable, SnapshotTable, VolumeModificationTable, VolumeTable,
} from './schema-disks.ts'

/**
 * The tables. Columns hold what SQL filters, joins or guards; the rest of a row is a `doc` (JSON
 * text) that SQL never looks into. Booleans are 0 and 1, times are milliseconds since the epoch.
 * Every row that belongs to somebody carries its account.
 */
export interface Database {
  meta: { key: string; value: string }
  accounts: { account_id: string; name: string; created_ms: number }
  access_keys: AccessKeyTable
  /** Settings of an account that are one value each, by name. */
  account_settings: { account_id: string; name: string; value: string }
  hosts: HostTable
  slots: { host_id: string; kind: 'machine' | 'vpc'; slot: number; owner_id: string }
  vpcs: VpcTable
  subnets: SubnetTable
  security_groups: SecurityGroupTable
  security_group_rules: SecurityGroupRuleTable
  vpc_cidrs: VpcCidrTable
  route_tables: RouteTableTable
  route_table_associations: RouteTableAssociationTable
  routes: RouteTable
  internet_gateways: InternetGatewayTable
  nat_gateways: NatGatewayTable
  addresses: AddressTable
  interface_addresses: InterfaceAddressTable
  network_acls: NetworkAclTable
  network_acl_entries: NetworkAclEntryTable
  network_acl_associations: NetworkAclAssociationTable
  dhcp_options: { dhcp_options_id: string; account_id: string; created_ms: number; doc: string }
  prefix_lists: PrefixListTable
  prefix_list_entries: { prefix_list_id: string; version: number; cidr: string; description: string | null }
  vpc_peerings: VpcPeeringTable
  network_insights: NetworkInsightsTable
  interfaces: InterfaceTable
  interface_groups: { interface_id: string; group_id: string; position: number }
  key_pairs: KeyPairTable
  layers: LayerTable
  snapshots: SnapshotTable
  /** Accounts that may use a snapshot of another. */
  snapshot_permissions: { snapshot_id: string; account_id: string }
  images: ImageTable
  /** The snapshots under an image, the root's included. */
  image_snapshots: { image_id: string; device_name: string; snapshot_id: string }
  /** Accounts that may launch an image of another. */
  image_permissions: { image_id: string; account_id: string }
  volumes: VolumeTable
  volume_modifications: VolumeModificationTable
  import_tasks: ImportTaskTable
  recycle_rules: RecycleRuleTable
  kms_keys: { key_id: string; account_id: string; created_ms: number; doc: string }
  instances: InstanceTable
  instance_backups: InstanceBackupTable
  instance_events: InstanceEventTable
  pushed_keys: PushedKeyTable
  launch_templates: LaunchTemplateTable
  launch_template_versions: LaunchTemplateVersionTable
  zones: ZoneTable
  placement_groups: PlacementGroupTable
  dedicated_hosts: DedicatedHostTable
  capacity_reservations: CapacityReservationTable
  capacity_reservation_hosts: CapacityReservationHostTable
  fleets: FleetTable
  fleet_history: FleetHistoryTable
  spot_requests: SpotRequestTable
  spot_market: SpotMarketTable
  spot_zones: SpotZoneTable
  spot_clearings: SpotClearingTable
  spot_pins: SpotPinTable
  cloud_events: CloudEventTable
  event_targets: EventTargetTable
  usage_runs: UsageRunTable
  tags: { account_id: string; resource_type: string; resource_id: string; key: string; value: string }
  client_tokens: ClientTokenTable
  console_outputs: { instance_id: string; captured_ms: number; output: string }
  /** The newest picture of an instance's screen: JPEG, base64. */
  screenshots: { instance_id: string; captured_ms: number; image: string }
  work: WorkTable
}

export interface AccessKeyTable {
  access_key_id: string
  account_id: string
  secret: string
  created_ms: number
  /** A temporary key: the token that must come with it, its end, and the principal that it stands for. */
  session_token: string | null
  expires_ms: number | null
  principal: string | null
}

/**
 * Each row is somebody who acts: a node (a computer), which carries its network, or a host, which is a share of a node in one
 * zone and runs instances. `host_id` of work, volumes and instances names either; of slots, interfaces and NAT gateways
 * it is a node's, for names of kernel objects must differ on all of it.
 */
export interface HostTable {
  host_id: string
  /** The computer that it is, or is a share of. */
  node_id: string
  /** Null for a node. */
  zone: string | null
  /** Of the zone's state: which one is in force here. */
  zone_revision: number
  /** Raised by each agent that takes the host over; only the holder of the newest may write. */
  epoch: number
  region: string
  /** Nominal capacity, overcommit included, and what instances on it were promised. */
  vcpus: number
  memory_mib: number
  vcpus_used: number
  memory_mib_used: number
  heartbeat_ms: number
  doc: string
}

export interface VpcTable {
  vpc_id: string
  account_id: string
  cidr: string
  is_default: number
  state: string
  created_ms: number
  doc: string
}

export interface SubnetTable {
  subnet_id: string
  account_id: string
  vpc_id: string
  zone: string
  cidr: string
  default_for_az: number
  map_public_ip: number
  state: string
  created_ms: number
  doc: string
}

export interface SecurityGroupTable {
  group_id: string
  account_id: string
  vpc_id: string
  name: string
  /** Lower case; group names are unique per VPC without regard to case. */
  name_key: string
  description: string
  created_ms: number
  /** Raised by whatever changes its rules, and the last one that is in force. */
  revision: number
  synced_revision: number
}

export interface SecurityGroupRuleTable {
  rule_id: string
  account_id: string
  group_id: string
  is_egress: number
  protocol: string
  /** Ports, or ICMP type and code; -1 where there is none. */
  from_port: number
  to_port: number
  /** Exactly one of the three peers is set; none where a group of a peered VPC was named that is gone. */
  cidr: string | null
  peer_group_id: string | null
  prefix_list_id: string | null
  /** Peer as text, for the unique key. */
  peer_key: string
  description: string | null
}

export interface InterfaceTable {
  interface_id: string
  account_id: string
  vpc_id: string
  subnet_id: string
  zone: string
  instance_id: string | null
  host_id: string | null
  slot: number | null
  device_index: number
  private_ip: string
  mac: string
  public_ip: string | null
  /**
   * EC2's status: pending until the port works, then in-use; `detaching` until the running guest has
   * given it up; `removing` rows go with their port.
   */
  status: 'pending' | 'in-use' | 'detaching' | 'available' | 'removing'
  /** Whether the port should exist on the host now (1 while its instance is up or coming up). */
  wanted: number
  /** Whether the agent has seen the port in force. */
  ready: number
  delete_on_termination: number
  created_ms: number
  /** Raised by whatever changes the port, and the last one that is in force: what differs is due. */
  revision: number
  synced_revision: number
  source_dest_check: number
  /** The service that made it and alone may change it: the id of a NAT gateway. */
  requester_id: string | null
  doc: string
}

/** A block of a VPC beside its primary one. */
export interface VpcCidrTable {
  association_id: string
  account_id: string
  vpc_id: string
  cidr: string
  state: string
  created_ms: number
}

export interface RouteTableTable {
  route_table_id: string
  account_id: string
  vpc_id: string
  is_main: number
  created_ms: number
}

/** What uses a route table: a subnet, or (without one) the VPC whose main table it is. */
export interface RouteTableAssociationTable {
  association_id: string
  account_id: string
  route_table_id: string
  subnet_id: string | null
  created_ms: number
}

/** A route that somebody made; those to the VPC's own blocks have no rows. Whether its target is there is seen when it is read. */
export interface RouteTable {
  route_table_id: string
  account_id: string
  /** A CIDR block, or the id of a prefix list. */
  destination: string
  target_kind: 'internet-gateway' | 'nat-gateway' | 'interface' | 'peering'
  target_id: string
  created_ms: number
}

export interface InternetGatewayTable {
  internet_gateway_id: string
  account_id: string
  /** The VPC that it is attached to; at most one gateway each. */
  vpc_id: string | null
  created_ms: number
}

export interface NatGatewayTable {
  nat_gateway_id: string
  account_id: string
  vpc_id: string
  subnet_id: string
  /** Its own interface while it lives; with its address and, where public, its Elastic IP. */
  interface_id: string | null
  host_id: string
  connectivity: 'public' | 'private'
  state: 'pending' | 'available' | 'deleting' | 'deleted' | 'failed'
  created_ms: number
  deleted_ms: number | null
  doc: string
}

/**
 * An Elastic IP. Where it is associated, the interface's public_ip (or that of the secondary address)
 * is the same: readers of public addresses need not ask what kind they are.
 */
export interface AddressTable {
  allocation_id: string
  account_id: string
  public_ip: string
  association_id: string | null
  interface_id: string | null
  private_ip: string | null
  created_ms: number
  doc: string
}

/** A private address of an interface beside its primary one. */
export interface InterfaceAddressTable {
  interface_id: string
  vpc_id: string
  private_ip: string
  /** The Elastic IP that it has. */
  public_ip: string | null
  created_ms: number
}

export interface NetworkAclTable {
  network_acl_id: string
  account_id: string
  vpc_id: string
  is_default: number
  created_ms: number
}

/** The last entry of both directions, which denies all, has no row. */
export interface NetworkAclEntryTable {
  network_acl_id: string
  account_id: string
  is_egress: number
  rule_number: number
  action: 'allow' | 'deny'
  /** A number, or -1. */
  protocol: string
  /** IPv4 or IPv6. */
  cidr: string
  /** Ports, or ICMP type and code; -1 where there is none. */
  from_port: number
  to_port: number
}

export interface NetworkAclAssociationTable {
  association_id: string
  account_id: string
  network_acl_id: string
  subnet_id: string
  created_ms: number
}

export interface PrefixListTable {
  prefix_list_id: string
  account_id: string
  name: string
  address_family: 'IPv4' | 'IPv6'
  max_entries: number
  /** The newest version; its entries, and those of older ones, are kept. */
  version: number
  state: string
  /** Why the last change failed. */
  state_message: string | null
  created_ms: number
}

export interface VpcPeeringTable {
  peering_id: string
  /** Of the requester. */
  account_id: string
  requester_vpc_id: string
  accepter_account_id: string
  accepter_vpc_id: string
  status: 'pending-acceptance' | 'active' | 'rejected' | 'expired' | 'deleted' | 'failed'
  status_message: string
  created_ms: number
  expires_ms: number
  /** When it ended; it is shown for a while after that. */
  ended_ms: number | null
  doc: string
}

/** A path whose reachability was asked for, or one analysis of it. */
export interface NetworkInsightsTable {
  id: string
  account_id: string
  kind: 'path' | 'analysis'
  /** Of an analysis. */
  path_id: string | null
  created_ms: number
  doc: string
}

export interface KeyPairTable {
  key_pair_id: string
  account_id: string
  name: string
  key_type: 'rsa' | 'ed25519'
  fingerprint: string
  public_key: string
  created_ms: number
}

export interface InstanceTable {
  instance_id: string
  account_id: string
  reservation_id: string
  launch_index: number
  client_token: string | null
  state: 'pending' | 'running' | 'shutting-down' | 'terminated' | 'stopping' | 'stopped'
  instance_type: string
  image_id: string
  key_name: string | null
  /** Null once it is terminated. */
  vpc_id: string | null
  subnet_id: string | null
  zone: string
  host_id: string
  /** The computer that its host is a share of: its network and its slot are there. */
  node_id: string
  slot: number | null
  /** What its placement wish says, for whoever looks for hosts without `dedicated` instances of others. */
  tenancy: 'default' | 'dedicated' | 'host'
  placement_group_id: string | null
  /** Of a partition group; counted from 1. */
  partition_number: number | null
  /** While it holds capacity there, and not on the host as a whole. */
  dedicated_host_id: string | null
  /** While it is in one. */
  capacity_reservation_id: string | null
  lifecycle: 'on-demand' | 'spot'
  /** The request that it fulfils; null on demand. */
  spot_request_id: string | null
  /** The fleet that launched it. */
  fleet_id: string | null
  /** What the type promises; counted while the instance holds capacity: in its reservation, its dedicated host, or the host. */
  vcpus: number
  memory_mib: number
  holds_capacity: number
  /** Commands that a state cannot express: asked for and done, so that twice is once. */
  reboot_requested: number
  reboot_completed: number
  /** When the present state was entered. */
  state_ms: number
  /** When it was started last; EC2's launchTime. */
  launch_ms: number
  /** When the row was written; never changes. */
  created_ms: number
  doc: string
}

export interface ClientTokenTable {
  account_id: string
  operation: string
  token: string
  parameters_hash: string
  resource_id: string
  created_ms: number
}

export interface WorkTable {
  kind: WorkKind
  id: string
  host_id: string
  /** Raised by every request for work, so that what came in during a run is not lost with it. */
  generation: number
  due_ms: number
  attempts: number
  last_error: string | null
}

/** Each kind of work has one reconciler. */
export type WorkKind =
  | 'instance' | 'volume' | 'layer' | 'vpc' | 'ports' | 'console' | 'screenshot' | 'images' | 'import' | 'recycle' | 'event' | 'interrupt'
  | 'pushed-key' | 'reservation' | 'zone' | 'market' | 'spot-request' | 'fleet' | 'event-target' | 'usage'
