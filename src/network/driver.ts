/** A whole VPC as it should be on this host. */
export interface VpcSpec {
  vpcId: string
  /** Small number unique on this host; names of kernel objects derive from it. */
  slot: number
  cidrs: string[]
  subnets: { subnetId: string; cidr: string }[]
  groups: GroupSpec[]
  ports: PortSpec[]
}

/** What of a VPC differs from the spec that the same caller had put in force before. */
export interface VpcChange {
  /** Ports that are new or not as they were. */
  ports: PortSpec[]
  /** Interfaces that have no port any more. */
  removed: string[]
}

/** A security group; members are the ports that name it. */
export interface GroupSpec {
  groupId: string
  ingress: RuleSpec[]
  egress: RuleSpec[]
}

/** One allowed flow. */
export interface RuleSpec {
  /** 'tcp', 'udp', 'icmp', '-1' (all) or a protocol number as text. */
  protocol: string
  /** Ports, or ICMP type and code; -1 for any. Null where the protocol has none. */
  fromPort: number | null
  toPort: number | null
  peer: { cidr: string } | { groupId: string }
}

/** A network interface of a running or starting instance. */
export interface PortSpec {
  interfaceId: string
  subnetId: string
  /** Small number unique on this host; the tap's name and its owner's uid derive from it. */
  slot: number
  mac: string
  privateIp: string
  publicIp: string | null
  groupIds: string[]
  /** IP TTL of the metadata service's answer to PUT, 1–64. */
  metadataHopLimit: number
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
  domainName: string
  hostname: string
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
