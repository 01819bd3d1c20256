import type {
  IpPermission, RevokedSecurityGroupRule, SecurityGroup, SecurityGroupRule, Tag,
} from '@aws-sdk/client-ec2'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'

/** How rows have ICMPv6; the wire has it by name. */
export const ICMPV6 = '58'

/** Protocols whose rules have ports, or ICMP type and code; all others are allowed whole. */
const HAS_PORTS: readonly string[] = ['tcp', 'udp', 'icmp', ICMPV6]

/** What a rule allows, apart from whose it is. */
export type RulePermission = Omit<SecurityGroupRuleTable, 'rule_id' | 'group_id' | 'is_egress'>

/** What the wire tells of a group that a rule names and that is of a peered VPC. */
export interface ForeignPeer {
  accountId: string
  vpcId: string
  /** The newest peering between the two VPCs; left out when none is known any more. */
  peering?: { peeringId: string; status: string }
}

/** Groups of peered VPCs, by the id of the rule that names one. */
export type ForeignPeers = ReadonlyMap<string, ForeignPeer>

/** The group that a rule names; of one that is gone, in a peered VPC, only the id is left. */
export function peerGroupOf(rule: RulePermission): string | null {
  return rule.peer_group_id ?? (rule.peer_key.startsWith('sg-') ? rule.peer_key : null)
}

/** A protocol as the wire and filters have it. */
export function wireProtocol(protocol: string): string {
  return protocol === ICMPV6 ? 'icmpv6' : protocol
}

/** Whether a rule's block is one of IPv6. */
export function isIpv6Block(cidr: string | null): cidr is string {
  return cidr !== null && cidr.includes(':')
}

/** The block as IPv4 and as IPv6; at most one of them is there. */
export function blocksOf({ cidr }: RulePermission): { ipv4: string | undefined; ipv6: string | undefined } {
  return isIpv6Block(cidr) ? { ipv4: undefined, ipv6: cidr } : { ipv4: cidr ?? undefined, ipv6: undefined }
}

/** A security group with its rules, as DescribeSecurityGroups shows it. */
export function securityGroupToWire(
  row: SecurityGroupTable,
  rules: readonly SecurityGroupRuleTable[],
  tags: Tag[],
  region: string,
  foreign?: ForeignPeers,
): SecurityGroup {
  return {
    GroupId: row.group_id,
    GroupName: row.name,
    Description: row.description,
    OwnerId: row.account_id,
    VpcId: row.vpc_id,
    SecurityGroupArn: securityGroupArn(row, region),
    IpPermissions: permissionsToWire(rules.filter((rule) => rule.is_egress === 0), foreign),
    IpPermissionsEgress: permissionsToWire(rules.filter((rule) => rule.is_egress === 1), foreign),
    Tags: tags,
  }
}

/** The group's ARN. */
export function securityGroupArn(row: Pick<SecurityGroupTable, 'account_id' | 'group_id'>, region: string): string {
  return ec2Arn(region, row.account_id, 'security-group', row.group_id)
}

/** A permission of which every kind of peer is there, if only as an empty list. */
type WholePermission = IpPermission &
  Required<Pick<IpPermission, 'IpRanges' | 'Ipv6Ranges' | 'PrefixListIds' | 'UserIdGroupPairs'>>

/** Rules of one direction, those of the same protocol and ports in one permission, as EC2 groups them. */
export function permissionsToWire(
  rules: readonly (RulePermission & { rule_id?: string })[],
  foreign?: ForeignPeers,
): IpPermission[] {
  const permissions = new Map<string, WholePermission>()
  for (const rule of rules.toSorted(compareRules)) {
    const key = `${rule.protocol}/${rule.from_port}/${rule.to_port}`
    let permission = permissions.get(key)
    if (!permission) {
      const ports = HAS_PORTS.includes(rule.protocol) ? { FromPort: rule.from_port, ToPort: rule.to_port } : {}
      permission = {
        IpProtocol: wireProtocol(rule.protocol), ...ports,
        IpRanges: [], Ipv6Ranges: [], PrefixListIds: [], UserIdGroupPairs: [],
      }
      permissions.set(key, permission)
    }
    addPeer(permission, rule, foreign?.get(rule.rule_id ?? ''))
  }
  return [...permissions.values()]
}

function addPeer(permission: WholePermission, rule: RulePermission, peer: ForeignPeer | undefined): void {
  const Description = rule.description ?? undefined
  const { ipv4, ipv6 } = blocksOf(rule)
  if (ipv4 !== undefined) permission.IpRanges.push({ CidrIp: ipv4, Description })
  else if (ipv6 !== undefined) permission.Ipv6Ranges.push({ CidrIpv6: ipv6, Description })
  else if (rule.prefix_list_id !== null) permission.PrefixListIds.push({ PrefixListId: rule.prefix_list_id, Description })
  else permission.UserIdGroupPairs.push({ ...peerToWire(rule, peer), Description })
}

/** A group that a rule names. Without `peer` both groups are in one VPC, and so of one account. */
function peerToWire(rule: RulePermission, peer: ForeignPeer | undefined) {
  const own = { GroupId: peerGroupOf(rule) ?? undefined, UserId: peer?.accountId ?? rule.account_id }
  if (!peer) return own
  return { ...own, VpcId: peer.vpcId, VpcPeeringConnectionId: peer.peering?.peeringId, PeeringStatus: peer.peering?.status }
}

/** Any fixed order, so that two answers never differ without reason. */
function compareRules(a: RulePermission, b: RulePermission): number {
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1
  return a.from_port - b.from_port || a.to_port - b.to_port || (a.peer_key < b.peer_key ? -1 : 1)
}

/** One rule by itself, as AuthorizeSecurityGroupIngress answers; -1 stands for ports it has not. */
export function securityGroupRuleToWire(
  row: SecurityGroupRuleTable,
  tags: Tag[],
  region: string,
  foreign?: ForeignPeers,
): SecurityGroupRule {
  return {
    ...ruleMembers(row),
    SecurityGroupRuleArn: ec2Arn(region, row.account_id, 'security-group-rule', row.rule_id),
    GroupOwnerId: row.account_id,
    ReferencedGroupInfo: peerGroupOf(row) === null ? undefined : peerToWire(row, foreign?.get(row.rule_id)),
    Tags: tags,
  }
}

/** A rule that is gone, as RevokeSecurityGroupIngress and -Egress answer it. */
export function revokedRuleToWire(row: SecurityGroupRuleTable): RevokedSecurityGroupRule {
  return { ...ruleMembers(row), ReferencedGroupId: peerGroupOf(row) ?? undefined }
}

/** What is told of a rule whether it is there or gone. */
function ruleMembers(row: SecurityGroupRuleTable) {
  const { ipv4, ipv6 } = blocksOf(row)
  return {
    SecurityGroupRuleId: row.rule_id,
    GroupId: row.group_id,
    IsEgress: row.is_egress === 1,
    IpProtocol: wireProtocol(row.protocol),
    FromPort: row.from_port,
    ToPort: row.to_port,
    CidrIpv4: ipv4,
    CidrIpv6: ipv6,
    PrefixListId: row.prefix_list_id ?? undefined,
    Description: row.description ?? undefined,
  }
}
