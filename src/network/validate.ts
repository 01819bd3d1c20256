import { formatCidr, overlaps, parseCidr, parseIpv4 } from '../core/cidr.ts'
import type { GroupSpec, PortSpec, RuleSpec, VpcSpec } from './driver.ts'

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
  for (const subnet of spec.subnets) {
    check(ID.test(subnet.subnetId), `subnetId ${subnet.subnetId}`)
    block(subnet.cidr, `cidr of ${subnet.subnetId}`)
  }
  for (const group of spec.groups) groupOf(group)
  unique(spec.groups.map((group) => group.groupId), 'groups')
  for (const port of spec.ports) portOf(port, spec)
  unique(spec.ports.map((port) => port.interfaceId), 'interface ids')
  unique(spec.ports.map((port) => String(port.slot)), 'port slots')
  unique(spec.ports.map((port) => port.mac), 'MAC addresses')
  unique(spec.ports.map((port) => port.privateIp), 'private addresses')
  unique(spec.ports.flatMap((port) => port.publicIp ?? []), 'public addresses')
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
  const number = /^\d{1,3}$/.test(rule.protocol) ? Number(rule.protocol) : undefined
  const known = ['tcp', 'udp', 'icmp', '-1'].includes(rule.protocol) || (number !== undefined && number <= 255)
  check(known, `protocol ${rule.protocol} in ${what}`)
  for (const port of [rule.fromPort, rule.toPort]) {
    check(port === null || (Number.isInteger(port) && port >= -1 && port <= 65535), `port ${port} in ${what}`)
  }
  if ('groupId' in rule.peer) check(ID.test(rule.peer.groupId), `group ${rule.peer.groupId} in ${what}`)
  // IPv6 blocks are legal and match nothing yet: no IPv6 packet passes a VPC.
  else if (!/^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\/\d{1,3}$/.test(rule.peer.cidr)) cidrOf(rule.peer.cidr, `cidr in ${what}`)
}

function portOf(port: PortSpec, spec: VpcSpec): void {
  check(ID.test(port.interfaceId), `interfaceId ${port.interfaceId}`)
  const what = `of ${port.interfaceId}`
  slot(port.slot, `slot ${what}`)
  check(MAC.test(port.mac), `mac ${port.mac} ${what}`)
  check(parseIpv4(port.privateIp) !== undefined, `privateIp ${port.privateIp} ${what}`)
  check(port.publicIp === null || parseIpv4(port.publicIp) !== undefined, `publicIp ${port.publicIp} ${what}`)
  const hops = port.metadataHopLimit
  check(Number.isInteger(hops) && hops >= 1 && hops <= 64, `metadataHopLimit ${hops} ${what}`)
  check(spec.subnets.some((subnet) => subnet.subnetId === port.subnetId), `subnet ${port.subnetId} ${what}`)
  for (const groupId of port.groupIds) {
    check(spec.groups.some((group) => group.groupId === groupId), `group ${groupId} ${what}: not among the groups`)
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
