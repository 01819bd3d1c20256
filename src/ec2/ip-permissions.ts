import type {
  AuthorizeSecurityGroupEgressRequest, AuthorizeSecurityGroupIngressRequest, IpPermission, UserIdGroupPair,
} from '@aws-sdk/client-ec2'
import { formatCidr, parseCidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { canonicalIpv6Cidr } from '../core/ipv6-cidr.ts'
import { ICMPV6 } from '../model/security-group-wire.ts'
import { missingParameter } from './parameters.ts'

/** One rule that a call asks for, checked and in canonical form; its group is still to be looked up. */
export interface RequestedRule {
  /** 'tcp', 'udp', 'icmp', '-1' for all, or another protocol's number. */
  protocol: string
  /** Ports, or ICMP type and code; -1 for any, and where the protocol has none. */
  fromPort: number
  toPort: number
  /** A block of IPv4 or IPv6, a group, or a prefix list. */
  peer: { cidr: string } | { group: UserIdGroupPair } | { prefixListId: string }
  description: string | null
}

/** What names rules by their properties: IpPermissions, or (ingress only) one of the two flat forms. */
type FlatRule = Pick<AuthorizeSecurityGroupIngressRequest,
  'IpPermissions' | 'CidrIp' | 'IpProtocol' | 'FromPort' | 'ToPort' | 'SourceSecurityGroupName' |
  'SourceSecurityGroupOwnerId'>

const MAX_DESCRIPTION_LENGTH = 255
const MAX_PORT = 65_535
const MAX_ICMP = 255

/** Everything that SourceSecurityGroupName opens: all of TCP, UDP and ICMP. */
const WHOLE_PROTOCOLS: IpPermission[] = [
  { IpProtocol: 'tcp', FromPort: 0, ToPort: MAX_PORT },
  { IpProtocol: 'udp', FromPort: 0, ToPort: MAX_PORT },
  { IpProtocol: 'icmp', FromPort: -1, ToPort: -1 },
]

/**
 * The rules that a call asks for, be it by IpPermissions or by one of the two flat forms.
 *
 * @throws ApiError when there is none, and on protocols, ports or blocks that are wrong.
 */
export function requestedRules(input: FlatRule): RequestedRule[] {
  const rules = permissionsOf(input).flatMap(rulesOf)
  if (rules.length === 0) throw missingParameter('ipPermissions')
  return rules
}

const FLAT_MEMBERS = [
  'SourceSecurityGroupName', 'SourceSecurityGroupOwnerId', 'IpProtocol', 'FromPort', 'ToPort', 'CidrIp',
] as const

/**
 * The rules of a call about egress: EC2 has the flat members there, but documents them as "Not
 * supported. Use IP permissions instead."
 *
 * @throws ApiError as `requestedRules`, and InvalidParameterValue for a flat member.
 */
export function requestedEgressRules(input: Omit<AuthorizeSecurityGroupEgressRequest, 'GroupId'>): RequestedRule[] {
  const flat = FLAT_MEMBERS.find((name) => input[name] !== undefined && input[name] !== '')
  if (flat !== undefined) {
    throw new ApiError(
      'InvalidParameterValue',
      `The parameter ${flat} is not supported for egress rules; use IpPermissions.`,
    )
  }
  return requestedRules({ IpPermissions: input.IpPermissions })
}

/** Whether the call names rules by their properties. */
export function namesProperties(input: FlatRule): boolean {
  const source = input.SourceSecurityGroupName || input.SourceSecurityGroupOwnerId
  return (input.IpPermissions ?? []).length > 0 || isFlat(input) || Boolean(source)
}

function isFlat({ CidrIp: cidr, IpProtocol: protocol, FromPort: fromPort, ToPort: toPort }: FlatRule): boolean {
  return Boolean(cidr || protocol || fromPort !== undefined || toPort !== undefined)
}

/** The flat forms as permissions. */
function permissionsOf(input: FlatRule): IpPermission[] {
  const { CidrIp: cidr, IpProtocol: protocol, FromPort: fromPort, ToPort: toPort } = input
  const sourceName = input.SourceSecurityGroupName
  const permissions = input.IpPermissions ?? []
  if (permissions.length > 0) {
    if (isFlat(input) || sourceName) {
      throw combination('ipPermissions', sourceName ? 'sourceSecurityGroupName' : 'cidrIp')
    }
    return permissions
  }
  if (sourceName) {
    if (isFlat(input)) throw combination('sourceSecurityGroupName', 'cidrIp, ipProtocol, fromPort or toPort')
    const pair = { GroupName: sourceName, UserId: input.SourceSecurityGroupOwnerId }
    return WHOLE_PROTOCOLS.map((permission) => ({ ...permission, UserIdGroupPairs: [pair] }))
  }
  if (input.SourceSecurityGroupOwnerId) throw missingParameter('sourceSecurityGroupName')
  if (!isFlat(input)) return []
  if (!cidr) throw missingParameter('cidrIp')
  return [{ IpProtocol: protocol, FromPort: fromPort, ToPort: toPort, IpRanges: [{ CidrIp: cidr }] }]
}

/** EC2's error for two parameters that exclude one another. */
export function combination(one: string, other: string): ApiError {
  return new ApiError('InvalidParameterCombination', `The parameter ${one} cannot be used with the parameter ${other}`)
}

function rulesOf(permission: IpPermission): RequestedRule[] {
  const protocol = protocolOf(permission.IpProtocol)
  const common = { protocol, ...portsOf(protocol, permission) }
  const rules = [
    ...(permission.IpRanges ?? []).map((range) => (
      { ...common, peer: { cidr: canonicalCidr(range.CidrIp) }, description: descriptionOf(range.Description) })),
    ...(permission.Ipv6Ranges ?? []).map((range) => (
      { ...common, peer: { cidr: canonicalIpv6(range.CidrIpv6) }, description: descriptionOf(range.Description) })),
    ...(permission.PrefixListIds ?? []).map(({ PrefixListId: id, Description }) => (
      { ...common, peer: { prefixListId: prefixListOf(id) }, description: descriptionOf(Description) })),
    ...(permission.UserIdGroupPairs ?? []).map((pair) => (
      { ...common, peer: { group: checkedPair(pair) }, description: descriptionOf(pair.Description) })),
  ]
  if (rules.length > 0) return rules
  throw new ApiError(
    'MissingParameter',
    'Every permission needs a source: one of IpRanges, Ipv6Ranges, PrefixListIds and UserIdGroupPairs.',
  )
}

/** PeeringStatus is what a Describe has told, and so comes back from clients; it decides nothing. */
function checkedPair(pair: UserIdGroupPair): UserIdGroupPair {
  if (!pair.GroupId && !pair.GroupName) throw new ApiError('MissingParameter', 'Source group ID missing.')
  return pair
}

function prefixListOf(id: string | undefined): string {
  if (!id) throw missingParameter('prefixListId')
  return id
}

const PROTOCOL_NAMES: Record<string, string> = {
  tcp: 'tcp', 6: 'tcp', udp: 'udp', 17: 'udp', icmp: 'icmp', 1: 'icmp', '-1': '-1', all: '-1',
  icmpv6: ICMPV6,
}

/** A protocol's name as EC2 stores it: a name where it has one, else the number as text. */
function protocolOf(given: string | undefined): string {
  if (!given) {
    throw new ApiError(
      'InvalidParameterValue',
      "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
    )
  }
  const text = /^\d{1,3}$/.test(given) ? String(Number(given)) : given.toLowerCase()
  const named = Object.hasOwn(PROTOCOL_NAMES, text) ? PROTOCOL_NAMES[text] : undefined
  if (named !== undefined) return named
  if (/^\d+$/.test(text) && Number(text) <= 255) return text
  throw new ApiError('InvalidParameterValue', `Invalid value '${given}' for IP protocol. Unknown protocol.`)
}

/**
 * Ports of TCP and UDP, type and code of ICMP. Other protocols have none: EC2 documents that it lets
 * any that are given pass unread.
 */
function portsOf(protocol: string, permission: IpPermission): { fromPort: number; toPort: number } {
  const { FromPort: fromPort, ToPort: toPort } = permission
  if (protocol === 'tcp' || protocol === 'udp') {
    if (fromPort === undefined || toPort === undefined) {
      throw portRangeMissing('Must specify both from and to ports with TCP/UDP.')
    }
    checkRange('TCP/UDP port', fromPort, 0, MAX_PORT)
    checkRange('TCP/UDP port', toPort, 0, MAX_PORT)
    if (fromPort > toPort) {
      throw new ApiError('InvalidParameterValue', `Invalid TCP/UDP port range (${fromPort}:${toPort})`)
    }
    return { fromPort, toPort }
  }
  if (protocol !== 'icmp' && protocol !== ICMPV6) return { fromPort: -1, toPort: -1 }
  // Type and code may be left out for ICMPv6 only, and are then all.
  if (protocol === ICMPV6 && fromPort === undefined && toPort === undefined) return { fromPort: -1, toPort: -1 }
  if (fromPort === undefined || toPort === undefined) {
    throw portRangeMissing('Must specify both type (FromPort) and code (ToPort) with ICMP; -1 means all.')
  }
  checkRange('ICMP type', fromPort, -1, MAX_ICMP)
  checkRange('ICMP code', toPort, -1, MAX_ICMP)
  if (fromPort === -1 && toPort !== -1) {
    throw new ApiError('InvalidParameterValue', `ICMP code (${toPort}) must be -1 when the type is -1`)
  }
  return { fromPort, toPort }
}

function portRangeMissing(hint: string): ApiError {
  return new ApiError('InvalidParameterValue', `Invalid value for portRange. ${hint}`)
}

function checkRange(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return
  throw new ApiError('InvalidPermission.Malformed', `${what} (${value}) out of range`)
}

/** "10.0.0.7/24" as EC2 stores it: 10.0.0.0/24. */
function canonicalCidr(given: string | undefined): string {
  const cidr = given === undefined ? undefined : parseCidr(given)
  if (!cidr) throw new ApiError('InvalidParameterValue', `CIDR block ${given ?? ''} is malformed`)
  return formatCidr(cidr)
}

function canonicalIpv6(given: string | undefined): string {
  const cidr = given === undefined ? undefined : canonicalIpv6Cidr(given)
  if (cidr === undefined) throw new ApiError('InvalidParameterValue', `CIDR block ${given ?? ''} is malformed`)
  return cidr
}

/**
 * A rule's description as it is kept; null for none.
 *
 * @throws ApiError InvalidParameterValue when it is too long or has other characters than EC2 takes.
 */
export function descriptionOf(given: string | undefined): string | null {
  if (!given) return null
  if (given.length > MAX_DESCRIPTION_LENGTH || !/^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]*$/.test(given)) {
    throw new ApiError(
      'InvalidParameterValue',
      'Invalid rule description. Valid descriptions are strings less than 256 characters from the following set:  ' +
        'a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*',
    )
  }
  return given
}
