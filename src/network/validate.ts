import { formatCidr, overlaps, parseCidr, parseIpv4 } from '../core/cidr.ts'
import type { AclEntrySpec, GroupSpec, NatGatewaySpec, PortSpec, RouteSpec, RuleSpec, VpcChange, VpcSpec } from './driver.ts'

const ID = /^[a-z]+-[0-9A-Za-z]{1,40}$/
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/

/**
 * Checks everything of a spec that becomes part of a command or a ruleset, before anything is
 * changed. Whatever passes is safe to paste into nftables' and iproute2's text.
 *
 * @throws Error that names the offending member.
 */
export function validateVpcSpec(spec: VpcSpec): void {
  check(ID.test(spec.vpcId), `vpcId ${spec.vpcId}`)
  slot(spec.slot, 'slot of the VPC')
  check(spec.cidrs.length > 0, 'cidrs: a VPC has at least one')
  for (const cidr of spec.cidrs) block(cidr, `cidr ${cidr}`)
  frameOf(spec)
  const groupIds = new Set(spec.groups.map((group) => group.groupId))
  for (const group of spec.groups) groupOf(group)
  unique(spec.groups.map((group) => group.groupId), 'groups')
  for (const port of spec.ports) portOf(port, spec, groupIds)
  const owners = [...spec.ports, ...spec.natGateways]
  const addresses = [...owners, ...spec.ports.flatMap((port) => port.secondary)]
  unique(owners.map((each) => each.interfaceId), 'interface ids')
  unique(owners.map((each) => String(each.slot)), 'port slots')
  unique(owners.map((each) => each.mac), 'MAC addresses')
  unique(addresses.map((each) => each.privateIp), 'private addresses')
  unique(addresses.flatMap((each) => each.publicIp ?? []), 'public addresses')
}

/**
 * The same of a change. That two ports do not share an address is not looked at here.
 *
 * @param spec what the change is of; its groups may have been joined by others since.
 */
export function validateVpcChange(change: VpcChange, spec: Pick<VpcSpec, 'subnets'>): void {
  for (const group of change.groups) groupOf(group)
  for (const port of change.ports) portOf(port, spec)
  for (const interfaceId of change.removed) check(ID.test(interfaceId), `interfaceId ${interfaceId}`)
}

/** What of a VPC concerns every port. */
function frameOf(spec: VpcSpec): void {
  const tables = new Set(spec.routeTables.map((table) => table.routeTableId))
  const acls = new Set(spec.networkAcls.map((acl) => acl.networkAclId))
  for (const subnet of spec.subnets) {
    check(ID.test(subnet.subnetId), `subnetId ${subnet.subnetId}`)
    block(subnet.cidr, `cidr of ${subnet.subnetId}`)
    check(tables.has(subnet.routeTableId), `route table ${subnet.routeTableId} of ${subnet.subnetId}`)
    check(acls.has(subnet.networkAclId), `network ACL ${subnet.networkAclId} of ${subnet.subnetId}`)
  }
  for (const table of spec.routeTables) {
    check(ID.test(table.routeTableId), `routeTableId ${table.routeTableId}`)
    for (const route of table.routes) routeOf(route, table.routeTableId)
  }
  for (const acl of spec.networkAcls) {
    check(ID.test(acl.networkAclId), `networkAclId ${acl.networkAclId}`)
    for (const entry of [...acl.ingress, ...acl.egress]) aclEntryOf(entry, acl.networkAclId)
  }
  for (const group of spec.foreignGroups) {
    check(ID.test(group.groupId), `groupId ${group.groupId}`)
    for (const address of group.addresses) check(parseIpv4(address) !== undefined, `address ${address} of ${group.groupId}`)
  }
  for (const nat of spec.natGateways) natOf(nat, spec)
  for (const peering of spec.peerings) {
    check(ID.test(peering.peeringId) && ID.test(peering.peerVpcId), `peering ${peering.peeringId} with ${peering.peerVpcId}`)
    slot(peering.slot, `slot of ${peering.peeringId}`)
    slot(peering.peerVpcSlot, `slot of ${peering.peerVpcId}`)
    check(peering.peerCidrs.length > 0, `cidrs of ${peering.peerVpcId}: a VPC has at least one`)
    for (const cidr of peering.peerCidrs) block(cidr, `cidr of ${peering.peerVpcId}`)
  }
  unique(spec.subnets.map((subnet) => subnet.subnetId), 'subnets')
  unique(spec.peerings.map((peering) => String(peering.slot)), 'peering slots')
}

function routeOf({ destination, target }: RouteSpec, tableId: string): void {
  cidrOf(destination, `destination ${destination} in ${tableId}`)
  const [id] = 'natGatewayId' in target ? [target.natGatewayId] : 'interfaceId' in target ? [target.interfaceId]
    : 'peeringId' in target ? [target.peeringId] : []
  check(id === undefined || ID.test(id), `target ${id} in ${tableId}`)
}

function aclEntryOf(entry: AclEntrySpec, aclId: string): void {
  flowOf(entry, `an entry of ${aclId}`)
  check(entry.action === 'allow' || entry.action === 'deny', `action ${entry.action} in ${aclId}`)
  cidrOrIpv6(entry.cidr, `an entry of ${aclId}`)
}

function natOf(nat: NatGatewaySpec, spec: VpcSpec): void {
  check(ID.test(nat.natGatewayId), `natGatewayId ${nat.natGatewayId}`)
  const what = `of ${nat.natGatewayId}`
  check(ID.test(nat.interfaceId), `interfaceId ${nat.interfaceId} ${what}`)
  slot(nat.slot, `slot ${what}`)
  check(MAC.test(nat.mac), `mac ${nat.mac} ${what}`)
  addressOf(nat, what)
  check(spec.subnets.some((subnet) => subnet.subnetId === nat.subnetId), `subnet ${nat.subnetId} ${what}`)
}

function addressOf({ privateIp, publicIp }: { privateIp: string; publicIp: string | null }, what: string): void {
  check(parseIpv4(privateIp) !== undefined, `privateIp ${privateIp} ${what}`)
  check(publicIp === null || parseIpv4(publicIp) !== undefined, `publicIp ${publicIp} ${what}`)
}

/**
 * @throws Error when one of the VPC's blocks overlaps `reserved`, which the host needs for itself.
 */
export function refuseOverlap(spec: VpcSpec, reserved: string, what: string): void {
  const taken = cidrOf(reserved, what)
  for (const cidr of spec.cidrs) {
    check(!overlaps(cidrOf(cidr, cidr), taken), `cidr ${cidr} overlaps ${reserved}, ${what}`)
  }
}

function groupOf(group: GroupSpec): void {
  check(ID.test(group.groupId), `groupId ${group.groupId}`)
  for (const rule of [...group.ingress, ...group.egress]) ruleOf(rule, group.groupId)
}

function ruleOf(rule: RuleSpec, groupId: string): void {
  const what = `a rule of ${groupId}`
  flowOf(rule, what)
  if ('groupId' in rule.peer) check(ID.test(rule.peer.groupId), `group ${rule.peer.groupId} in ${what}`)
  else cidrOrIpv6(rule.peer.cidr, what)
}

function flowOf(flow: Pick<RuleSpec, 'protocol' | 'fromPort' | 'toPort'>, what: string): void {
  const number = /^\d{1,3}$/.test(flow.protocol) ? Number(flow.protocol) : undefined
  const known = ['tcp', 'udp', 'icmp', '-1'].includes(flow.protocol) || (number !== undefined && number <= 255)
  check(known, `protocol ${flow.protocol} in ${what}`)
  for (const port of [flow.fromPort, flow.toPort]) {
    check(port === null || (Number.isInteger(port) && port >= -1 && port <= 65535), `port ${port} in ${what}`)
  }
}

/** IPv6 blocks are legal and match nothing yet: no IPv6 packet passes a VPC. */
function cidrOrIpv6(cidr: string, what: string): void {
  if (!/^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\/\d{1,3}$/.test(cidr)) cidrOf(cidr, `cidr in ${what}`)
}

function portOf(port: PortSpec, spec: Pick<VpcSpec, 'subnets'>, groupIds?: ReadonlySet<string>): void {
  check(ID.test(port.interfaceId), `interfaceId ${port.interfaceId}`)
  const what = `of ${port.interfaceId}`
  slot(port.slot, `slot ${what}`)
  slot(port.machineSlot, `slot of the machine ${what}`)
  check(MAC.test(port.mac), `mac ${port.mac} ${what}`)
  for (const address of [port, ...port.secondary]) addressOf(address, what)
  const hops = port.metadataHopLimit
  check(Number.isInteger(hops) && hops >= 1 && hops <= 64, `metadataHopLimit ${hops} ${what}`)
  check(spec.subnets.some((subnet) => subnet.subnetId === port.subnetId), `subnet ${port.subnetId} ${what}`)
  for (const groupId of port.groupIds) {
    check(ID.test(groupId) && (groupIds?.has(groupId) ?? true), `group ${groupId} ${what}: not among the groups`)
  }
}

function slot(value: number, what: string): void {
  check(Number.isSafeInteger(value) && value >= 0, `${what}: ${value}`)
}

function cidrOf(text: string, what: string) {
  const cidr = parseCidr(text)
  if (cidr === undefined) throw new Error(`bad network spec: ${what}`)
  return cidr
}

/** A block of the VPC itself, which the kernel wants without host bits. */
function block(text: string, what: string): void {
  check(formatCidr(cidrOf(text, what)) === text, `${what}: has bits beyond its prefix`)
}

function unique(values: string[], what: string): void {
  check(new Set(values).size === values.length, `${what} are not unique`)
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`bad network spec: ${what}`)
}
