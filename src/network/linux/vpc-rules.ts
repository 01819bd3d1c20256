import { createHash } from 'node:crypto'
import { formatIpv4, parseCidr } from '../../core/cidr.ts'
import type { GroupSpec, PortSpec, VpcSpec } from '../driver.ts'
import { renderPermission } from './permission.ts'
import { LINK, LINK_LOCAL_RESOLVER, METADATA_ADDRESS, type Names, UPLINK, VPC_TABLE } from './names.ts'

/** The address `offset` above a block's base, as text. */
function addressIn(cidr: string, offset: number): string {
  const block = parseCidr(cidr)
  if (block === undefined) throw new Error(`not a CIDR: ${cidr}`)
  return formatIpv4(block.base + offset)
}

/** A subnet's router: its base + 1. */
export function gatewayOf(subnetCidr: string): string {
  return addressIn(subnetCidr, 1)
}

/** Where a VPC's DNS answers: the primary block's base + 2, and the link-local address. */
export function resolversOf(spec: VpcSpec): string[] {
  return [...spec.cidrs.slice(0, 1).map((cidr) => addressIn(cidr, 2)), LINK_LOCAL_RESOLVER]
}

/** A rendered ruleset; the chain named `marker` exists exactly while this text is in force. */
export interface Ruleset {
  marker: string
  text: string
}

/**
 * Every rule of a VPC as one nftables transaction that replaces what was there: the packets see the
 * old rules or the new, never a mixture. Connection tracking is not part of it, so established
 * connections go on.
 */
export function renderVpcRules(spec: VpcSpec, names: Names): Ruleset {
  const body = renderBody(spec, names)
  const marker = `v_${createHash('sha256').update(body).digest('hex').slice(0, 32)}`
  // `table` creates it where it is missing, so that `delete` never fails.
  const text = [
    `table inet ${VPC_TABLE}`, `delete table inet ${VPC_TABLE}`,
    `table arp ${VPC_TABLE}`, `delete table arp ${VPC_TABLE}`,
    body,
    `add chain inet ${VPC_TABLE} ${marker}`, '',
  ].join('\n')
  return { marker, text }
}

function renderBody(spec: VpcSpec, names: Names): string {
  const lines = [
    `table inet ${VPC_TABLE} {`,
    ...dataOf(spec, names),
    ...spec.groups.flatMap(groupChains),
    ...spec.ports.flatMap((port) => portChains(port)),
    ...hopChains(spec.ports),
    ...antiSpoofing(spec),
    ...translation(),
    ...forwarding(),
    ...localServices(spec),
    '}',
    `table arp ${VPC_TABLE} {`,
    ...arp(spec.ports, names),
    '}',
  ]
  return lines.join('\n')
}

const idName = (prefix: string, id: string) => `${prefix}_${id.replaceAll('-', '_')}`
const membersOf = (groupId: string) => idName('m', groupId)

/** A chain; `head` is the hook of a base chain. */
const chain = (name: string, rules: string[], head?: string) =>
  [`chain ${name} {`, ...(head === undefined ? [] : [head]), ...rules, '}']

/** A set or map; nft refuses an empty list of elements. */
const collection = (kind: string, name: string, type: string, elements: string[]) => [
  `${kind} ${name} {`, `type ${type}`, ...(elements.length > 0 ? [`elements = { ${elements.join(', ')} }`] : []), '}',
]

function dataOf(spec: VpcSpec, names: Names): string[] {
  const { ports } = spec
  const tap = (port: PortSpec) => `"${names.tap(port.slot)}"`
  const published = ports.filter((port) => port.publicIp !== null)
  const groupIds = new Set(spec.groups.flatMap((group) => [
    group.groupId,
    ...[...group.ingress, ...group.egress].flatMap(({ peer }) => ('groupId' in peer ? peer.groupId : [])),
  ]))
  return [
    ...collection('set', 'source', 'ifname . ether_addr . ipv4_addr',
      ports.map((port) => `${tap(port)} . ${port.mac} . ${port.privateIp}`)),
    ...collection('set', 'published', 'ipv4_addr', published.map((port) => port.privateIp)),
    ...collection('set', 'pair', 'ipv4_addr . ipv4_addr',
      published.map((port) => `${port.privateIp} . ${port.publicIp}`)),
    ...collection('map', 'public_of', 'ipv4_addr : ipv4_addr',
      published.map((port) => `${port.privateIp} : ${port.publicIp}`)),
    ...collection('map', 'private_of', 'ipv4_addr : ipv4_addr',
      published.map((port) => `${port.publicIp} : ${port.privateIp}`)),
    ...collection('map', 'dhcp_of', 'ifname : verdict', ports.map((port) => `${tap(port)} : goto d_${port.slot}`)),
    ...collection('map', 'egress_of', 'ifname : verdict', ports.map((port) => `${tap(port)} : goto e_${port.slot}`)),
    ...collection('map', 'ingress_of', 'ifname : verdict', ports.map((port) => `${tap(port)} : goto i_${port.slot}`)),
    ...collection('map', 'hops_of', 'ipv4_addr : verdict',
      ports.map((port) => `${port.privateIp} : goto hops_${port.metadataHopLimit}`)),
    ...[...groupIds].flatMap((groupId) => collection('set', membersOf(groupId), 'ipv4_addr',
      ports.filter((port) => port.groupIds.includes(groupId)).map((port) => port.privateIp))),
  ]
}

/** One rule per permission: interval sets would refuse the overlaps that EC2 allows. */
function groupChains(group: GroupSpec): string[] {
  return [
    ...chain(idName('gi', group.groupId), group.ingress.flatMap((rule) => renderPermission(rule, 'saddr', membersOf))),
    ...chain(idName('ge', group.groupId), group.egress.flatMap((rule) => renderPermission(rule, 'daddr', membersOf))),
  ]
}

function portChains(port: PortSpec): string[] {
  const mac = `0x${port.mac.replaceAll(':', '')}`
  return [
    // Offset 288 bits after the UDP header's start: the client's hardware address in the message,
    // so that no guest asks for another's lease.
    ...chain(`d_${port.slot}`, [
      `ether saddr ${port.mac} ip saddr { 0.0.0.0, ${port.privateIp} } @th,288,48 ${mac} accept`, 'drop',
    ]),
    ...chain(`i_${port.slot}`, [...port.groupIds.map((id) => `jump ${idName('gi', id)}`), 'drop']),
    ...chain(`e_${port.slot}`, [...port.groupIds.map((id) => `jump ${idName('ge', id)}`), 'drop']),
  ]
}

function hopChains(ports: PortSpec[]): string[] {
  const limits = new Set(ports.map((port) => port.metadataHopLimit))
  return [...limits].flatMap((limit) => chain(`hops_${limit}`, [`ip ttl set ${limit}`]))
}

function antiSpoofing(spec: VpcSpec): string[] {
  return chain('antispoof', [
    'iifname "lo" accept',
    'meta nfproto != ipv4 drop',
    // The host's router would tell guests of shorter ways when two of them meet at public addresses.
    'icmp type redirect drop',
    `iifname "${UPLINK}" ip saddr { ${spec.cidrs.join(', ')} } drop`,
    `iifname "${UPLINK}" accept`,
    'udp sport 68 udp dport 67 iifname vmap @dhcp_of',
    'iifname . ether saddr . ip saddr @source accept',
  ], 'type filter hook prerouting priority raw; policy drop;')
}

/** Public addresses, one to one. */
function translation(): string[] {
  return [
    ...chain('translate_in', [`iifname "${UPLINK}" dnat ip to ip daddr map @private_of`],
      'type nat hook prerouting priority dstnat; policy accept;'),
    ...chain('translate_out', [`oifname "${UPLINK}" snat ip to ip saddr map @public_of`],
      'type nat hook postrouting priority srcnat; policy accept;'),
  ]
}

/** Two base chains, since `accept` ends only its own: a new flow must pass the sender's groups and the receiver's. */
function forwarding(): string[] {
  return [
    ...chain('egress', [
      // Connection tracking goes on translating after an address was taken away or given to another.
      `oifname "${UPLINK}" ct state established,related ct direction original ip saddr . ct reply ip daddr != @pair drop`,
      `oifname "${UPLINK}" ct state established,related ct direction reply ip saddr . ct original ip daddr != @pair drop`,
      `iifname "${UPLINK}" ct direction original ip daddr . ct original ip daddr != @pair drop`,
      `iifname "${UPLINK}" ct direction reply ip daddr . ct reply ip daddr != @pair drop`,
      'ct state established,related accept',
      'ct state invalid drop',
      `iifname "${UPLINK}" ct status dnat accept`,
      'iifname vmap @egress_of',
    ], 'type filter hook forward priority filter; policy drop;'),
    ...chain('ingress', [
      'ct state established,related accept',
      `oifname "${UPLINK}" ip daddr ${LINK.cidr} drop`,
      `oifname "${UPLINK}" ip saddr @published accept`,
      'oifname vmap @ingress_of',
    ], 'type filter hook forward priority filter + 10; policy drop;'),
  ]
}

/** What a guest may reach of the namespace itself: DHCP, DNS, metadata, the gateways' echo. */
function localServices(spec: VpcSpec): string[] {
  const resolvers = `{ ${resolversOf(spec).join(', ')} }`
  const echoing = [...new Set([...spec.subnets.map((subnet) => gatewayOf(subnet.cidr)), ...resolversOf(spec)])]
  const metadata = `ip daddr ${METADATA_ADDRESS} tcp dport 80`
  return [
    ...chain('local', [
      'iifname "lo" accept',
      `iifname "${UPLINK}" drop`,
      'ct state established,related accept',
      'udp sport 68 udp dport 67 accept',
      `ip daddr ${resolvers} udp dport 53 accept`,
      `ip daddr ${resolvers} tcp dport 53 accept`,
      `${metadata} accept`,
      `ip daddr { ${echoing.join(', ')} } icmp type echo-request accept`,
    ], 'type filter hook input priority filter; policy drop;'),
    // The hop limit holds for answers to PUT. It is applied to every connection whose first bytes
    // are not "GET " or "HEAD", and from the first other segment on; so a PUT that is cut into small
    // pieces does not escape it. The handshake passes with a normal TTL. What comes pipelined in
    // one segment is for the server to refuse.
    ...chain('metadata_in', [
      `${metadata} ct mark 0 @ih,0,32 { 0x47455420, 0x48454144 } ct mark set 2`,
      `${metadata} ct mark 2 @ih,0,8 != { 0x47, 0x48 } ct mark set 1`,
      `${metadata} ct mark 2 @ih,0,32 != { 0x47455420, 0x48454144 } ct mark set 1`,
    ], 'type filter hook prerouting priority mangle; policy accept;'),
    ...chain('metadata_out', [
      `ip saddr ${METADATA_ADDRESS} tcp sport 80 tcp flags & syn == 0 ct mark != 2 ip daddr vmap @hops_of`,
    ], 'type filter hook output priority mangle; policy accept;'),
  ]
}

/** ARP under a foreign address is dropped too: the kernel's neighbour table is shared by the whole host. */
function arp(ports: PortSpec[], names: Names): string[] {
  const senders = ports.flatMap((port) =>
    [port.privateIp, '0.0.0.0'].map((ip) => `"${names.tap(port.slot)}" . ${port.mac} . ${ip}`))
  return [
    ...collection('set', 'source', 'ifname . ether_addr . ipv4_addr', senders),
    ...chain('antispoof', [`iifname "${UPLINK}" accept`, 'iifname . arp saddr ether . arp saddr ip @source accept'],
      'type filter hook input priority filter; policy drop;'),
  ]
}
