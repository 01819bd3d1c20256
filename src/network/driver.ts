/** A whole VPC as it should be on this host. */
export interface VpcSpec {
  vpcId: string
  /** Small number unique on this host; names of kernel objects derive from it. */
  slot: number
  /** The primary block first. */
  cidrs: string[]
  subnets: SubnetSpec[]
  routeTables: RouteTableSpec[]
  networkAcls: NetworkAclSpec[]
  groups: GroupSpec[]
  /** Groups of peered VPCs that rules of this one name: the private addresses of their members. */
  foreignGroups: ForeignGroupSpec[]
  ports: PortSpec[]
  /** Whether an internet gateway is attached; without one no route reaches the host or the world. */
  hasInternetGateway: boolean
  natGateways: NatGatewaySpec[]
  peerings: PeeringSpec[]
  /** Whether the resolver answers (enableDnsSupport). */
  hasDns: boolean
}

export interface SubnetSpec {
  subnetId: string
  cidr: string
  /** The table that the subnet uses, its own or the main one. */
  routeTableId: string
  networkAclId: string
}

/** Routes beside the VPC's own blocks, which every table reaches first. */
export interface RouteTableSpec {
  routeTableId: string
  routes: RouteSpec[]
}

/** Where packets for a block go; the longest prefix wins. */
export interface RouteSpec {
  /** A CIDR block; one prefix list is as many routes. */
  destination: string
  target: RouteTarget
}

export type RouteTarget =
  | { kind: 'internet-gateway' }
  | { kind: 'nat-gateway'; natGatewayId: string }
  /** An interface that forwards: an instance without source/destination check. */
  | { kind: 'interface'; interfaceId: string }
  | { kind: 'peering'; peeringId: string }
  /** The target is gone: packets are dropped. */
  | { kind: 'blackhole' }

/** A stateless list for packets that enter or leave subnets. What no entry matches is denied. */
export interface NetworkAclSpec {
  networkAclId: string
  /** In the order of their rule numbers: the first that matches decides. */
  ingress: AclEntrySpec[]
  egress: AclEntrySpec[]
}

export interface AclEntrySpec {
  ruleNumber: number
  action: 'allow' | 'deny'
  /** As in RuleSpec. */
  protocol: string
  fromPort: number | null
  toPort: number | null
  cidr: string
}

/** What of a VPC differs from the spec that the same caller had put in force before. */
export interface VpcChange {
  /** Ports that are new or not as they were. */
  ports: PortSpec[]
  /** Interfaces that have no port any more. */
  removed: string[]
  /** Groups that are new, or whose rules are not as they were. */
  groups: GroupSpec[]
}

/** A security group; members are the ports that name it. */
export interface GroupSpec {
  groupId: string
  ingress: RuleSpec[]
  egress: RuleSpec[]
}

export interface ForeignGroupSpec {
  groupId: string
  addresses: string[]
}

/** One allowed flow. */
export interface RuleSpec {
  /** 'tcp', 'udp', 'icmp', '-1' (all) or a protocol number as text. */
  protocol: string
  /** Ports, or ICMP type and code; -1 for any. Null where the protocol has none. */
  fromPort: number | null
  toPort: number | null
  /** A prefix list is as many rules as it has blocks. */
  peer: { cidr: string } | { groupId: string }
}

/** A network interface of a running or starting instance. */
export interface PortSpec {
  interfaceId: string
  subnetId: string
  /** Small number unique on this host; the tap's name derives from it. */
  slot: number
  /** Slot of the machine that owns the tap: the tap's uid derives from it. */
  machineSlot: number
  mac: string
  privateIp: string
  publicIp: string | null
  /** Further private addresses, each with the Elastic IP that it may have. */
  secondary: { privateIp: string; publicIp: string | null }[]
  groupIds: string[]
  /** IP TTL of the metadata service's answer to PUT, 1–64. */
  metadataHopLimit: number
  /** With false the port may send from, and gets packets for, addresses that are not its own. */
  sourceDestCheck: boolean
  /**
   * The port is there, and nothing passes: no packet in or out, whatever it is (ARP, DHCP, DNS and metadata too), and of
   * connections that are there neither. Nothing else changes, so that all goes on when it is not set any more.
   */
  isCut?: true
}

/** A NAT gateway: hides what is routed to it behind its own address. */
export interface NatGatewaySpec {
  natGatewayId: string
  interfaceId: string
  subnetId: string
  /** As a port's; unique among ports and NAT gateways of this host. */
  slot: number
  mac: string
  privateIp: string
  /** Null for a private NAT gateway, which reaches no internet gateway. */
  publicIp: string | null
  /** As a port's: it is there, and nothing passes. */
  isCut?: true
}

/** A link between two VPCs on this host; both specs name it, and it exists while both VPCs do. */
export interface PeeringSpec {
  peeringId: string
  /** Unique on this host. */
  slot: number
  peerVpcId: string
  peerVpcSlot: number
  peerCidrs: string[]
  /** Which of the two ends this VPC is. */
  side: 'requester' | 'accepter'
}

/** What the guests of a VPC may ask of the network: DHCP, names, metadata. Answered by the agent. */
export interface VpcServices {
  /** The lease for a MAC address; undefined for a stranger. */
  leaseFor(vpcId: string, mac: string): Promise<Lease | undefined>
  /** The address a private or public name has inside that VPC; undefined if it is not ours. */
  resolveName(vpcId: string, name: string): Promise<string | undefined>
  /** The name an address has inside that VPC (PTR); undefined if it is not ours. */
  resolveAddress(vpcId: string, address: string): Promise<string | undefined>
  /** Handles one HTTP request to 169.254.169.254 from the guest at `address`. */
  metadata(vpcId: string, address: string, request: MetadataRequest): Promise<MetadataResponse>
}

/** What DHCP hands out. */
export interface Lease {
  address: string
  /** Prefix length of the subnet. */
  prefix: number
  gateway: string
  dns: string[]
  /** Null where there is none; several are separated by spaces. */
  domainName: string | null
  hostname: string
  /** What else the VPC's DHCP options say, if they say it. */
  ntpServers?: string[]
  netbiosServers?: string[]
  netbiosNodeType?: number
  mtu: number
  leaseSeconds: number
}

export interface MetadataRequest {
  method: string
  path: string
  /** Lower-case names. */
  headers: Record<string, string | undefined>
}

export interface MetadataResponse {
  status: number
  headers: Record<string, string>
  body: Buffer
}

/** A port behind which a guest is asked for a sign of life. */
export type AskedPort = Pick<PortSpec, 'interfaceId' | 'slot' | 'mac' | 'privateIp'>

/**
 * Programs the host's network. `syncVpc` is declarative: it makes the kernel match the whole spec
 * (ports and groups that are not in it go away), is atomic for the rules, and may be called again
 * after a crash at any point.
 */
export interface Network {
  /** Prepares the host: forwarding, the address pool, its own firewall table. */
  ensureHost(): Promise<void>
  /**
   * Makes the VPC match `spec` and its services answer; returns when the rules are in force. Where
   * `change` is given, nothing else differs from the caller's last spec that is in force, and a
   * driver may apply only that.
   */
  syncVpc(spec: VpcSpec, change?: VpcChange): Promise<void>
  /**
   * Asks the guests behind ports of a VPC, all at once, whether they have their address (ARP), and waits some 3 seconds for
   * those that are silent. Packets pass meanwhile as before.
   *
   * @returns whether each answered, by interface, which no guest behind a cut port does; ports that are not in force, or that
   * a sync has changed meanwhile, are not in it.
   */
  askPorts(vpc: { vpcId: string; slot: number }, ports: readonly AskedPort[]): Promise<Map<string, boolean>>
  /** Removes the VPC and everything in it. */
  removeVpc(vpcId: string): Promise<void>
  /** Ids of every VPC that exists on this host. */
  list(): Promise<string[]>
  /** Name of the port's tap device. */
  tapOf(interfaceSlot: number): string
  /** Path of the VPC's network namespace; null where there is none (simulator). */
  netnsPathOf(vpcSlot: number): string | null
  /** Closes the sockets of the services; VPCs, taps and rules stay in force. */
  close(): Promise<void>
  /** Removes every VPC and what `ensureHost` made. */
  removeAll(): Promise<void>
}
