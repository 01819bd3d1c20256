import { createHash } from 'node:crypto'
import type { GroupSpec, NetworkAclSpec } from '../driver.ts'
import { type Frame, withoutOverlaps } from './frame.ts'
import { LINK, METADATA_ADDRESS, TIME_ADDRESS, UPLINK } from './names.ts'
import { renderAclEntry, renderPermission } from './permission.ts'
import { chain, collection, element, type Piece } from './ruleset.ts'

/** Rules that every VPC has, whatever ports and groups there are. */
export function frameRules(frame: Frame): Piece[] {
  return [
    ...collections(),
    ...frame.networkAcls.flatMap(aclRules),
    ...antiSpoofing(frame),
    ...classification(frame),
    ...translation(),
    ...edge(),
    ...forwarding(frame),
    ...localServices(frame),
    chain('antispoof', [
      `iifname "${UPLINK}" accept`,
      'iifname . arp saddr ether . arp saddr ip @source accept',
      // An instance that forwards may ask under any address: it is told as if it had asked under its own,
      // and the kernel's neighbour table, which is shared by the whole host, learns nothing.
      'iifname . arp saddr ether @unchecked arp saddr ip set iifname map @address_of accept',
    ], 'type filter hook input priority filter; policy drop;', 'arp'),
    ...frame.foreignGroups.flatMap((group) => [
      memberSet(group.groupId), ...group.addresses.map((address) => element(membersOf(group.groupId), address)),
    ]),
  ]
}

const idName = (prefix: string, id: string) => `${prefix}_${id.replaceAll('-', '_')}`

/** The set of the addresses of a group's members. */
export const membersOf = (groupId: string) => idName('m', groupId)
const memberSet = (groupId: string) => collection('set', membersOf(groupId), 'type ipv4_addr')

/** Chains of a group's rules, and of a network ACL's entries. */
export const groupChain = (direction: 'ingress' | 'egress', id: string) => idName(direction === 'ingress' ? 'gi' : 'ge', id)
export const aclChain = (direction: 'ingress' | 'egress', id: string) => idName(direction === 'ingress' ? 'ai' : 'ae', id)

const list = (values: readonly string[]) => `{ ${values.join(', ')} }`

/** Ports and NAT gateways add their elements to these. */
function collections(): Piece[] {
  return [
    // Who may send under which address; and taps that may send under any.
    collection('set', 'source', 'type ifname . ether_addr . ipv4_addr'),
    collection('set', 'unchecked', 'type ifname . ether_addr'),
    // The last is the client's hardware address within the message, 288 bits after the UDP header's start.
    collection('set', 'dhcp_clients', 'typeof iifname . ether saddr . ip saddr . @th,288,48'),
    // Subnets, by mark.
    collection('map', 'subnet_of', 'type ifname : mark'),
    collection('set', 'same_subnet', 'type mark . ifname'),
    collection('map', 'acl_egress_of', 'type mark : verdict'),
    collection('map', 'acl_ingress_of', 'type ifname : verdict'),
    // Public addresses.
    collection('set', 'published', 'type ifname . ipv4_addr'),
    collection('set', 'pair', 'type ipv4_addr . ipv4_addr'),
    collection('map', 'public_of', 'type ipv4_addr : ipv4_addr'),
    collection('map', 'private_of', 'type ipv4_addr : ipv4_addr'),
    collection('map', 'zone_of', 'typeof ip saddr : ct zone'),
    // Security groups.
    collection('map', 'egress_of', 'type ifname : verdict'),
    collection('map', 'ingress_of', 'type ifname : verdict'),
    collection('map', 'hops_of', 'type ipv4_addr : verdict'),
    collection('set', 'source', 'type ifname . ether_addr . ipv4_addr', 'arp'),
    collection('set', 'unchecked', 'type ifname . ether_addr', 'arp'),
    collection('map', 'address_of', 'type ifname : ipv4_addr', 'arp'),
  ]
}

/** One rule per permission: interval sets would refuse the overlaps that EC2 allows. */
export function groupRules(group: GroupSpec): Piece[] {
  const named = [...group.ingress, ...group.egress].flatMap(({ peer }) => ('groupId' in peer ? peer.groupId : []))
  return [
    ...[...new Set([group.groupId, ...named])].map(memberSet),
    ...permissionChains(groupChain('ingress', group.groupId), group.ingress.flatMap((rule) => renderPermission(rule, 'saddr', membersOf))),
    ...permissionChains(groupChain('egress', group.groupId), group.egress.flatMap((rule) => renderPermission(rule, 'daddr', membersOf))),
  ]
}

const FEW_RULES = 64
const PARTS = 32

/**
 * A chain of rules that all accept, so that their order says nothing. Many are spread over parts by what
 * they say: a change is then one of a part.
 */
function permissionChains(name: string, rules: readonly string[]): Piece[] {
  const distinct = [...new Set(rules)]
  if (distinct.length <= FEW_RULES) return [chain(name, distinct)]
  const parts = new Map<number, string[]>()
  for (const rule of distinct.toSorted()) {
    const part = createHash('sha256').update(rule).digest().readUInt32BE(0) % PARTS
    parts.set(part, [...(parts.get(part) ?? []), rule])
  }
  const numbers = [...parts.keys()].toSorted((a, b) => a - b)
  return [
    ...numbers.map((part) => chain(`${name}_p${part}`, parts.get(part) ?? [])),
    chain(name, numbers.map((part) => `jump ${name}_p${part}`)),
  ]
}

/** The first entry that matches decides; what none matches is denied. */
function aclRules(acl: NetworkAclSpec): Piece[] {
  const byNumber = (entries: NetworkAclSpec['ingress']) => entries.toSorted((a, b) => a.ruleNumber - b.ruleNumber)
  return [
    chain(aclChain('ingress', acl.networkAclId), [...byNumber(acl.ingress).flatMap((each) => renderAclEntry(each, 'saddr')), 'drop']),
    chain(aclChain('egress', acl.networkAclId), [...byNumber(acl.egress).flatMap((each) => renderAclEntry(each, 'daddr')), 'drop']),
  ]
}

function antiSpoofing({ cidrs, names, peerings, hasInternetGateway }: Frame): Piece[] {
  const own = list(withoutOverlaps(cidrs))
  return [chain('antispoof', [
    // Most packets are of this kind, and nothing else is said of them.
    'meta l4proto tcp iifname . ether saddr . ip saddr @source accept',
    'iifname "lo" accept',
    'meta nfproto != ipv4 drop',
    // The host's router would tell guests of shorter ways when two of them meet at public addresses.
    'icmp type redirect drop',
    ...(hasInternetGateway ? [`iifname "${UPLINK}" ip saddr != ${own} accept`] : []),
    // A peer passes on nobody else's packets, and reaches nobody beyond this VPC.
    ...peerings.map((peering) =>
      `iifname "${names.peering(peering.slot)}" ip saddr ${list(withoutOverlaps(peering.peerCidrs))} ip daddr ${own} accept`),
    // No guest asks for another's lease.
    'udp sport 68 udp dport 67 iifname . ether saddr . ip saddr . @th,288,48 @dhcp_clients accept',
    'udp sport 68 udp dport 67 drop',
    'iifname . ether saddr . ip saddr @source accept',
    'iifname . ether saddr @unchecked accept',
  ], 'type filter hook prerouting priority raw; policy drop;')]
}

/**
 * What is decided by where a packet comes from: its subnet, and the zone of connection tracking. A
 * flow between a private address and the world is tracked in a zone of that address and its public one:
 * once an address belongs to another, nothing that was tracked before is found again.
 */
function classification({ cidrs, peerings }: Frame): Piece[] {
  const near = list(withoutOverlaps([...cidrs, ...peerings.flatMap((each) => each.peerCidrs), '169.254.0.0/16']))
  return [chain('classify', [
    'meta mark set iifname map @subnet_of',
    ...cidrs.slice(0, 1).map((cidr) => `ip saddr ${cidr} ip daddr ${cidr} accept`),
    `iifname != "${UPLINK}" ip daddr != ${near} ct zone set ip saddr map @zone_of`,
    `ip saddr != ${near} ct zone set ip daddr map @zone_of`,
  ], 'type filter hook prerouting priority raw + 10; policy accept;')]
}

/** Public addresses, one to one. */
function translation(): Piece[] {
  return [
    chain('translate_in', [`iifname "${UPLINK}" dnat ip to ip daddr map @private_of`],
      'type nat hook prerouting priority dstnat; policy accept;'),
    chain('translate_out', [`oifname "${UPLINK}" snat ip to ip saddr map @public_of`],
      'type nat hook postrouting priority srcnat; policy accept;'),
  ]
}

/** Network ACLs: without memory, for packets that leave a subnet and for those that enter one. */
function edge(): Piece[] {
  return [chain('edge', [
    'meta mark . oifname @same_subnet accept',
    'meta mark vmap @acl_egress_of',
    'oifname vmap @acl_ingress_of',
  ], 'type filter hook forward priority filter - 10; policy accept;')]
}

/** Two base chains, since `accept` ends only its own: a new flow must pass the sender's groups and the receiver's. */
function forwarding({ cidrs, names, peerings }: Frame): Piece[] {
  const own = list(withoutOverlaps(cidrs))
  const dev = (slot: number) => `"${names.peering(slot)}"`
  return [
    chain('egress', [
      `oifname "${UPLINK}" ct state established,related jump check_out`,
      `iifname "${UPLINK}" jump check_in`,
      'ct state established,related accept',
      'ct state invalid drop',
      `iifname "${UPLINK}" ct status dnat accept`,
      ...peerings.map(({ slot }) => `iifname ${dev(slot)} accept`),
      'iifname vmap @egress_of',
    ], 'type filter hook forward priority filter; policy drop;'),
    chain('ingress', [
      'ct state established,related accept',
      `oifname "${UPLINK}" ip daddr ${LINK.cidr} drop`,
      `oifname "${UPLINK}" iifname . ip saddr @published accept`,
      ...peerings.map(({ slot, peerCidrs }) =>
        `oifname ${dev(slot)} ip saddr ${own} ip daddr ${list(withoutOverlaps(peerCidrs))} accept`),
      'oifname vmap @ingress_of',
    ], 'type filter hook forward priority filter + 10; policy drop;'),
    // Beside the zones, which two pairs of addresses may share by chance.
    chain('check_out', [
      'ct direction original ip saddr . ct reply ip daddr != @pair drop',
      'ct direction reply ip saddr . ct original ip daddr != @pair drop',
    ]),
    chain('check_in', [
      'ct direction original ip daddr . ct original ip daddr != @pair drop',
      'ct direction reply ip daddr . ct reply ip daddr != @pair drop',
    ]),
    // A NAT gateway takes what guests send through it; from outside it is unreachable.
    chain('to_nat', [
      `iifname "${UPLINK}" drop`, ...peerings.map(({ slot }) => `iifname ${dev(slot)} drop`), 'accept',
    ]),
  ]
}

/** What a guest may reach of the namespace itself: DHCP, DNS, time, metadata, the gateways' echo. */
function localServices({ subnets, resolvers, names, peerings }: Frame): Piece[] {
  const echoing = [...new Set([...[...subnets.values()].map((subnet) => subnet.gateway), ...resolvers])]
  const metadata = `ip daddr ${METADATA_ADDRESS} tcp dport 80`
  return [
    chain('local', [
      'iifname "lo" accept',
      `iifname "${UPLINK}" drop`,
      ...peerings.map(({ slot }) => `iifname "${names.peering(slot)}" drop`),
      'udp sport 68 udp dport 67 accept',
      // Here nobody speaks for another, even where the source is not checked: answers depend on who asks.
      'iifname . ether saddr . ip saddr != @source drop',
      'ct state established,related accept',
      ...(resolvers.length > 0 ? ['udp', 'tcp'].map((each) => `ip daddr ${list(resolvers)} ${each} dport 53 accept`) : []),
      `${metadata} accept`,
      `ip daddr ${TIME_ADDRESS} udp dport 123 accept`,
      ...(echoing.length > 0 ? [`ip daddr ${list(echoing)} icmp type echo-request accept`] : []),
    ], 'type filter hook input priority filter; policy drop;'),
    // The hop limit holds for answers to PUT. It is applied to every connection whose first bytes
    // are not "GET " or "HEAD", and from the first other segment on; so a PUT that is cut into small
    // pieces does not escape it. The handshake passes with a normal TTL. What comes pipelined in
    // one segment is for the server to refuse.
    chain('metadata_in', [`${metadata} jump metadata_method`], 'type filter hook prerouting priority mangle; policy accept;'),
    chain('metadata_method', [
      'ct mark 0 @ih,0,32 { 0x47455420, 0x48454144 } ct mark set 2',
      'ct mark 2 @ih,0,8 != { 0x47, 0x48 } ct mark set 1',
      'ct mark 2 @ih,0,32 != { 0x47455420, 0x48454144 } ct mark set 1',
    ]),
    chain('metadata_out', [
      `ip saddr ${METADATA_ADDRESS} tcp sport 80 tcp flags & syn == 0 ct mark != 2 ip daddr vmap @hops_of`,
    ], 'type filter hook output priority mangle; policy accept;'),
  ]
}
