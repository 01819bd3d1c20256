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
  interfaces: InterfaceTable
  interface_groups: { interface_id: string; group_id: string; position: number }
  key_pairs: KeyPairTable
  snapshots: SnapshotTable
  images: ImageTable
  volumes: VolumeTable
  instances: InstanceTable
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

export interface HostTable {
  host_id: string
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
  /** Exactly one of the two peers is set. */
  cidr: string | null
  peer_group_id: string | null
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
  /** EC2's status: pending until the port works, then in-use; `removing` rows go with their port. */
  status: 'pending' | 'in-use' | 'available' | 'removing'
  /** Whether the port should exist on the host now (1 while its instance is up or coming up). */
  wanted: number
  /** Whether the agent has seen the port in force. */
  ready: number
  delete_on_termination: number
  created_ms: number
  /** Raised by whatever changes the port, and the last one that is in force: what differs is due. */
  revision: number
  synced_revision: number
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

export interface SnapshotTable {
  snapshot_id: string
  account_id: string
  size_gib: number
  state: 'pending' | 'completed' | 'error'
  created_ms: number
  doc: string
}

export interface ImageTable {
  image_id: string
  account_id: string
  name: string
  state: string
  is_public: number
  architecture: string
  root_device_name: string
  snapshot_id: string
  created_ms: number
  doc: string
}

export interface VolumeTable {
  volume_id: string
  account_id: string
  host_id: string
  zone: string
  size_gib: number
  volume_type: string
  snapshot_id: string | null
  /** EC2's state; `deleting` rows go with their file. */
  state: 'creating' | 'available' | 'in-use' | 'deleting' | 'error'
  /** Whether the agent has seen the file. */
  ready: number
  instance_id: string | null
  device: string | null
  attach_state: 'attaching' | 'attached' | 'detaching' | 'detached' | null
  attached_ms: number | null
  delete_on_termination: number
  created_ms: number
  doc: string
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
  vpc_id: string
  subnet_id: string
  zone: string
  host_id: string
  slot: number | null
  /** What the type promises; counted against the host while the instance holds capacity. */
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
export type WorkKind = 'instance' | 'volume' | 'vpc' | 'ports' | 'console' | 'screenshot' | 'images'
