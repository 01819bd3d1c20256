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
