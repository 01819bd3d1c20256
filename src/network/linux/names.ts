/** Names of everything one home makes in the kernel. All begin with the home's id. */
export interface Names {
  /** Names of this home's network namespaces begin with this. */
  netnsPrefix: string
  netns(vpcSlot: number): string
  /** Host end of the link to a VPC; `hostLinkPrefix` covers all of them. */
  hostLink(vpcSlot: number): string
  hostLinkPrefix: string
  tap(interfaceSlot: number): string
  tapPrefix: string
  /** The VPC's end of the link to a NAT gateway, inside the VPC's namespace. */
  nat(interfaceSlot: number): string
  natPrefix: string
  /** A NAT gateway's own namespace. */
  natNetns(interfaceSlot: number): string
  natNetnsPrefix: string
  /** Either end of the link between two peered VPCs, inside their namespaces. */
  peering(peeringSlot: number): string
  peeringPrefix: string
  /** nftables table on the host, family inet. */
  hostTable: string
  /** Metric of the pool's unreachable route: how a home knows its own. */
  poolMetric: number
}

/** Where iproute2 keeps named network namespaces. */
export const NETNS_FOLDER = '/run/netns'

export function netnsPath(netns: string): string {
  return `${NETNS_FOLDER}/${netns}`
}

/** VPC end of the link to the host, inside the namespace. */
export const UPLINK = 'igw'
/** nftables table inside a VPC's namespace, families inet and arp. */
export const VPC_TABLE = 'hearth'

/** The same on every link: a link's two ends see only each other. */
export const LINK = {
  hostAddress: '100.64.0.1',
  vpcAddress: '100.64.0.2',
  cidr: '100.64.0.0/30',
  hostMac: '02:68:65:61:72:01',
  vpcMac: '02:68:65:61:72:02',
} as const

/** The same on every peering; no device has these addresses, they only name the next hop. */
export const PEERING_ENDS = {
  requester: { address: '100.65.0.1', mac: '02:68:65:61:72:03' },
  accepter: { address: '100.65.0.2', mac: '02:68:65:61:72:04' },
} as const

/** A NAT gateway's only device, in its own namespace, and the router's end of its link. */
export const NAT_DEVICE = 'eth0'
export const NAT_ROUTER_MAC = '02:68:65:61:72:05'

/** Every guest's router, on its tap: nobody else is there. */
export const TAP_MAC = '02:68:65:61:72:06'

export const METADATA_ADDRESS = '169.254.169.254'
/** Answers NTP in every VPC. */
export const TIME_ADDRESS = '169.254.169.123'
/** Answers DNS in every VPC, besides the VPC's base + 2. */
export const LINK_LOCAL_RESOLVER = '169.254.169.253'
export const MTU = 1500
/** Group of devices that are being removed: a group goes at once. */
export const DOOMED_GROUP = 72
const IFNAME_MAX = 15
const METRIC_BASE = 0x4800_0000

/**
 * @param homeId four hexadecimal digits, unique on the host.
 * @throws Error when the id or a slot does not fit into the kernel's 15 characters.
 */
export function createNames(homeId: string): Names {
  if (!/^[0-9a-f]{4}$/.test(homeId)) throw new Error(`home id must be 4 hexadecimal digits, not ${homeId}`)
  const hostLinkPrefix = `hv${homeId}.`
  const tapPrefix = `t${homeId}.`
  const natPrefix = `n${homeId}.`
  const peeringPrefix = `p${homeId}.`
  const netnsPrefix = `hearth-${homeId}-`
  const natNetnsPrefix = `hearthnat-${homeId}-`
  return {
    netnsPrefix,
    netns: (slot) => netnsPrefix + numbered('', slot),
    hostLinkPrefix,
    hostLink: (slot) => numbered(hostLinkPrefix, slot),
    tapPrefix,
    tap: (slot) => numbered(tapPrefix, slot),
    natPrefix,
    nat: (slot) => numbered(natPrefix, slot),
    natNetnsPrefix,
    natNetns: (slot) => natNetnsPrefix + numbered('', slot),
    peeringPrefix,
    peering: (slot) => numbered(peeringPrefix, slot),
    hostTable: `hearth_${homeId}`,
    poolMetric: METRIC_BASE + Number.parseInt(homeId, 16),
  }
}

function numbered(prefix: string, slot: number): string {
  const name = `${prefix}${slot}`
  if (!Number.isSafeInteger(slot) || slot < 0 || name.length > IFNAME_MAX) throw new Error(`bad slot ${slot}`)
  return name
}
