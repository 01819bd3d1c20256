import type { IpPermission, SecurityGroup, SecurityGroupRule, Tag } from '@aws-sdk/client-ec2'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'

/** Protocols whose rules have ports, or ICMP type and code; all others are allowed whole. */
const HAS_PORTS: readonly string[] = ['tcp', 'udp', 'icmp']

/** A security group with its rules, as DescribeSecurityGroups shows it. */
export function securityGroupToWire(
  row: SecurityGroupTable,
  rules: readonly SecurityGroupRuleTable[],
  tags: Tag[],
  region: string,
): SecurityGroup {
  return {
    GroupId: row.group_id,
    GroupName: row.name,
    Description: row.description,
    OwnerId: row.account_id,
    VpcId: row.vpc_id,
    SecurityGroupArn: securityGroupArn(row, region),
    IpPermissions: permissionsToWire(rules.filter((rule) => rule.is_egress === 0)),
    IpPermissionsEgress: permissionsToWire(rules.filter((rule) => rule.is_egress === 1)),
    Tags: tags,
  }
}

/** The group's ARN. */
export function securityGroupArn(row: Pick<SecurityGroupTable, 'account_id' | 'group_id'>, region: string): string {
  return ec2Arn(region, row.account_id, 'security-group', row.group_id)
}

/** Rules of one direction, those of the same protocol and ports in one permission, as EC2 groups them. */
export function permissionsToWire(rules: readonly SecurityGroupRuleTable[]): IpPermission[] {
  const permissions = new Map<string, Required<Pick<IpPermission, 'IpRanges' | 'UserIdGroupPairs'>> & IpPermission>()
  for (const rule of rules.toSorted(compareRules)) {
    const key = `${rule.protocol}/${rule.from_port}/${rule.to_port}`
    let permission = permissions.get(key)
    if (!permission) {
      const ports = HAS_PORTS.includes(rule.protocol) ? { FromPort: rule.from_port, ToPort: rule.to_port } : {}
      permission = {
        IpProtocol: rule.protocol, ...ports, IpRanges: [], Ipv6Ranges: [], PrefixListIds: [], UserIdGroupPairs: [],
      }
      permissions.set(key, permission)
    }
    const Description = rule.description ?? undefined
    if (rule.cidr !== null) permission.IpRanges.push({ CidrIp: rule.cidr, Description })
    // Both groups are in one VPC, and so of one account.
    else permission.UserIdGroupPairs.push({ GroupId: rule.peer_group_id ?? '', UserId: rule.account_id, Description })
  }
  return [...permissions.values()]
}

/** Any fixed order, so that two answers never differ without reason. */
function compareRules(a: SecurityGroupRuleTable, b: SecurityGroupRuleTable): number {
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1
  return a.from_port - b.from_port || a.to_port - b.to_port || (a.peer_key < b.peer_key ? -1 : 1)
}

/** One rule by itself, as AuthorizeSecurityGroupIngress answers; -1 stands for ports it has not. */
export function securityGroupRuleToWire(row: SecurityGroupRuleTable, tags: Tag[], region: string): SecurityGroupRule {
  return {
    SecurityGroupRuleId: row.rule_id,
    SecurityGroupRuleArn: ec2Arn(region, row.account_id, 'security-group-rule', row.rule_id),
    GroupId: row.group_id,
    GroupOwnerId: row.account_id,
    IsEgress: row.is_egress === 1,
    IpProtocol: row.protocol,
    FromPort: row.from_port,
    ToPort: row.to_port,
    CidrIpv4: row.cidr ?? undefined,
    ReferencedGroupInfo:
      row.peer_group_id === null ? undefined : { GroupId: row.peer_group_id, UserId: row.account_id },
    Description: row.description ?? undefined,
    Tags: tags,
  }
}
