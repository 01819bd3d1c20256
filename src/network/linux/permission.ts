import { parseCidr, formatCidr } from '../../core/cidr.ts'
import type { AclEntrySpec, RuleSpec } from '../driver.ts'

type Flow = Pick<RuleSpec, 'protocol' | 'fromPort' | 'toPort'>

/** Protocol numbers that EC2 accepts in place of a name. */
const NAMED: Record<string, string> = { '1': 'icmp', '6': 'tcp', '17': 'udp' }

/**
 * The nftables rules of one permission: one, or none where it can match no IPv4 packet.
 *
 * @param side which address of the packet is the peer's.
 * @param membersOf name of the set of a group's addresses.
 */
export function renderPermission(
  rule: RuleSpec,
  side: 'saddr' | 'daddr',
  membersOf: (groupId: string) => string,
): string[] {
  return renderMatch(rule, renderPeer(rule.peer, side, membersOf), 'accept')
}

/**
 * The nftables rules of one entry of a network ACL. What it allows goes on to be judged by others.
 *
 * @param side which address of the packet the entry's block is about.
 */
export function renderAclEntry(entry: AclEntrySpec, side: 'saddr' | 'daddr'): string[] {
  return renderMatch(entry, renderBlock(entry.cidr, side), entry.action === 'allow' ? 'return' : 'drop')
}

function renderMatch(flow: Flow, peer: string | undefined, verdict: string): string[] {
  if (peer === undefined) return []
  return [[peer, renderProtocol(flow), verdict].filter((part) => part !== '').join(' ')]
}

function renderPeer(
  peer: RuleSpec['peer'],
  side: 'saddr' | 'daddr',
  membersOf: (groupId: string) => string,
): string | undefined {
  if ('groupId' in peer) return `ip ${side} @${membersOf(peer.groupId)}`
  return renderBlock(peer.cidr, side)
}

/** Undefined for an IPv6 block. */
function renderBlock(text: string, side: 'saddr' | 'daddr'): string | undefined {
  const cidr = parseCidr(text)
  if (cidr === undefined) return undefined
  return cidr.prefix === 0 ? '' : `ip ${side} ${formatCidr(cidr)}`
}

function renderProtocol(rule: Flow): string {
  const protocol = NAMED[rule.protocol] ?? rule.protocol
  if (protocol === '-1') return ''
  const from = rule.fromPort ?? -1
  const to = rule.toPort ?? -1
  if (protocol === 'icmp') return renderIcmp(from, to)
  if (protocol !== 'tcp' && protocol !== 'udp') return `meta l4proto ${protocol}`
  if (from === -1 || (from === 0 && to === 65535)) return `meta l4proto ${protocol}`
  return `${protocol} dport ${from === to ? from : `${from}-${to}`}`
}

/** For ICMP, EC2 keeps the type in fromPort and the code in toPort. */
function renderIcmp(type: number, code: number): string {
  if (type === -1) return 'meta l4proto icmp'
  return code === -1 ? `icmp type ${type}` : `icmp type ${type} icmp code ${code}`
}
