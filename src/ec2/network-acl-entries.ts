import type {
  CreateNetworkAclEntryRequest, DeleteNetworkAclEntryRequest, ReplaceNetworkAclEntryRequest,
} from '@aws-sdk/client-ec2'
import { formatCidr, parseCidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { canonicalIpv6Cidr } from '../core/ipv6-cidr.ts'
import { LAST_RULE_NUMBER } from '../model/network-acl-wire.ts'
import type { NetworkAclEntryTable, NetworkAclTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { combination } from './ip-permissions.ts'
import { findNetworkAcl, wakeAcl } from './network-acls.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'

/**
 * Entries of one direction, for IPv4 and for IPv6 apart; the last one, which denies all, counts:
 * https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
 */
export const MAX_ENTRIES = 20

const MAX_PORT = 65_535
const MAX_ICMP = 255

/** CreateNetworkAclEntry: an entry under a number that its direction has not yet. */
export async function createNetworkAclEntry(
  context: Context,
  input: CreateNetworkAclEntryRequest,
): Promise<Record<string, never>> {
  const { db } = context
  const acl = await findNetworkAcl(context, input.NetworkAclId)
  const entry = requestedEntry(context, acl, input)
  const others = await entriesInDirection(context, entry)
  if (others.some((other) => other.rule_number === entry.rule_number)) {
    throw new ApiError(
      'NetworkAclEntryAlreadyExists', `The network acl entry identified by ${entry.rule_number} already exists.`)
  }
  checkEntryCount([...others, entry])
  await db.insertInto('network_acl_entries').values(entry).execute()
  await wakeAcl(context, acl)
  return {}
}

/** ReplaceNetworkAclEntry: puts another entry in the place of the one with its number. */
export async function replaceNetworkAclEntry(
  context: Context,
  input: ReplaceNetworkAclEntryRequest,
): Promise<Record<string, never>> {
  const { db } = context
  const acl = await findNetworkAcl(context, input.NetworkAclId)
  const entry = requestedEntry(context, acl, input)
  const present = await entriesInDirection(context, entry)
  const others = present.filter((other) => other.rule_number !== entry.rule_number)
  if (others.length === present.length) throw entryNotFound(entry)
  checkEntryCount([...others, entry])
  await db
    .updateTable('network_acl_entries').set(entry)
    .where('network_acl_id', '=', acl.network_acl_id).where('is_egress', '=', entry.is_egress)
    .where('rule_number', '=', entry.rule_number).execute()
  await wakeAcl(context, acl)
  return {}
}

/** DeleteNetworkAclEntry: the last entry, which denies all, cannot be deleted. */
export async function deleteNetworkAclEntry(
  context: Context,
  input: DeleteNetworkAclEntryRequest,
): Promise<Record<string, never>> {
  const acl = await findNetworkAcl(context, input.NetworkAclId)
  const key = { rule_number: ruleNumberOf(input.RuleNumber), is_egress: directionOf(input.Egress) }
  const { numDeletedRows } = await context.db
    .deleteFrom('network_acl_entries')
    .where('network_acl_id', '=', acl.network_acl_id).where('is_egress', '=', key.is_egress)
    .where('rule_number', '=', key.rule_number).executeTakeFirst()
  if (numDeletedRows === 0n) throw entryNotFound(key)
  await wakeAcl(context, acl)
  return {}
}

function entriesInDirection({ db }: Context, entry: NetworkAclEntryTable): Promise<NetworkAclEntryTable[]> {
  return db
    .selectFrom('network_acl_entries').selectAll()
    .where('network_acl_id', '=', entry.network_acl_id).where('is_egress', '=', entry.is_egress).execute()
}

function entryNotFound({ is_egress: isEgress, rule_number: ruleNumber }: Pick<NetworkAclEntryTable, 'is_egress' | 'rule_number'>): ApiError {
  return new ApiError(
    'InvalidNetworkAclEntry.NotFound',
    `The network acl entry identified by rule number ${ruleNumber} (${isEgress === 1 ? 'egress' : 'ingress'}) does not exist`,
  )
}

function checkEntryCount(entries: readonly NetworkAclEntryTable[]): void {
  const ipv6 = entries.filter((entry) => entry.cidr.includes(':')).length
  if (Math.max(ipv6, entries.length - ipv6) + 1 <= MAX_ENTRIES) return
  throw new ApiError('NetworkAclEntryLimitExceeded', 'The maximum number of network acl entries has been reached.')
}

/** The entry that a call asks for, checked and in canonical form. */
function requestedEntry(
  { account }: Context,
  acl: NetworkAclTable,
  input: CreateNetworkAclEntryRequest,
): NetworkAclEntryTable {
  const action = checkEnum('ruleAction', input.RuleAction, ['allow', 'deny'])
  if (action === undefined) throw missingParameter('ruleAction')
  const protocol = protocolOf(input.Protocol)
  const cidr = blockOf(input)
  return {
    network_acl_id: acl.network_acl_id, account_id: account, is_egress: directionOf(input.Egress),
    rule_number: ruleNumberOf(input.RuleNumber), action, protocol, cidr, ...portsOf(protocol, cidr, input),
  }
}

function ruleNumberOf(given: number | undefined): number {
  if (given === undefined) throw missingParameter('ruleNumber')
  if (Number.isInteger(given) && given >= 1 && given < LAST_RULE_NUMBER) return given
  throw invalidValue('ruleNumber', given, `It must be between 1 and ${LAST_RULE_NUMBER - 1}.`)
}

function directionOf(egress: boolean | undefined): number {
  if (egress === undefined) throw missingParameter('egress')
  return egress ? 1 : 0
}

const PROTOCOL_NUMBERS: Record<string, string> = { tcp: '6', udp: '17', icmp: '1', icmpv6: '58', all: '-1', '-1': '-1' }

/** A protocol's number as text, -1 for all; the common ones may be given by name. */
function protocolOf(given: string | undefined): string {
  if (!given) throw missingParameter('protocol')
  const key = given.toLowerCase()
  if (Object.hasOwn(PROTOCOL_NUMBERS, key)) return PROTOCOL_NUMBERS[key] ?? ''
  if (/^\d{1,3}$/.test(given) && Number(given) <= 255) return String(Number(given))
  throw new ApiError('InvalidParameterValue', `Invalid value '${given}' for IP protocol. Unknown protocol.`)
}

/** The block of the entry in canonical form: 100.68.0.18/18 is 100.68.0.0/18. */
function blockOf({ CidrBlock: ipv4, Ipv6CidrBlock: ipv6 }: CreateNetworkAclEntryRequest): string {
  if (ipv4 && ipv6) throw combination('cidrBlock', 'ipv6CidrBlock')
  const malformed = (block: string) => new ApiError('InvalidParameterValue', `CIDR block ${block} is malformed`)
  if (ipv6) {
    const block = canonicalIpv6Cidr(ipv6)
    if (block === undefined) throw malformed(ipv6)
    return block
  }
  if (!ipv4) throw missingParameter('cidrBlock')
  const block = parseCidr(ipv4)
  if (!block) throw malformed(ipv4)
  return formatCidr(block)
}

/**
 * Ports of TCP and UDP, type and code of ICMP. EC2 documents that for every other protocol, and for
 * ICMPv6 with an IPv4 block, it lets any that are given pass unread.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html
 */
function portsOf(
  protocol: string,
  cidr: string,
  { PortRange: range, IcmpTypeCode: icmp }: CreateNetworkAclEntryRequest,
): { from_port: number; to_port: number } {
  if (protocol === '6' || protocol === '17') {
    const from = inRange('portRange.from', range?.From, 0, MAX_PORT)
    const to = inRange('portRange.to', range?.To, 0, MAX_PORT)
    if (from > to) throw new ApiError('InvalidParameterValue', `Invalid TCP/UDP port range (${from}:${to})`)
    return { from_port: from, to_port: to }
  }
  if (protocol === '1' || (protocol === '58' && cidr.includes(':'))) {
    const type = inRange('icmpTypeCode.type', icmp?.Type, -1, MAX_ICMP)
    const code = inRange('icmpTypeCode.code', icmp?.Code, -1, MAX_ICMP)
    if (type === -1 && code !== -1) {
      throw new ApiError('InvalidParameterValue', `ICMP code (${code}) must be -1 when the type is -1`)
    }
    return { from_port: type, to_port: code }
  }
  return { from_port: -1, to_port: -1 }
}

function inRange(name: string, value: number | undefined, min: number, max: number): number {
  if (value === undefined) throw missingParameter(name)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw invalidValue(name, value, `It must be between ${min} and ${max}.`)
}
