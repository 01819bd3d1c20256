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
  AddressTable, InterfaceAddressTable, InterfaceTable, InternetGatewayTable, NatGatewayTable, NetworkAclAssociationTable,
  NetworkAclEntryTable, NetworkAclTable, NetworkInsightsTable, PrefixListTable, RouteTable, RouteTableAssociationTable,
  RouteTableTable, SecurityGroupRuleTable, SecurityGroupTable, SubnetTable, VpcCidrTable, VpcPeeringTable, VpcTable,
} from './schema-vpc.ts'
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
  AddressTable, InterfaceAddressTable, InterfaceTable, InternetGatewayTable, NatGatewayTable, NetworkAclAssociationTable,
  NetworkAclEntryTable, NetworkAclTable, NetworkInsightsTable, PrefixListTable, RouteTable, RouteTableAssociationTable,
  RouteTableTable, SecurityGroupRuleTable, SecurityGroupTable, SubnetTable, VpcCidrTable, VpcPeeringTable, VpcTable,
} from './schema-vpc.ts'
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
