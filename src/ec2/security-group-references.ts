import type {
  DescribeSecurityGroupReferencesRequest, DescribeSecurityGroupReferencesResult, DescribeStaleSecurityGroupsRequest,
  DescribeStaleSecurityGroupsResult, SecurityGroupReference, StaleIpPermission,
} from '@aws-sdk/client-ec2'
import { permissionsToWire, peerGroupOf, type ForeignPeers } from '../model/security-group-wire.ts'
import { groupBy, inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { loadForeignPeers } from './security-group-peers.ts'
import { requireVpc } from './vpc-lookup.ts'
import { activePeersOf, peeringsOfVpc, peerOf } from './vpc-peering-lookup.ts'

/** DescribeSecurityGroupReferences: VPCs at the other end of a peering whose groups have rules that name one of these. */
export async function describeSecurityGroupReferences(
  { db, account }: Context,
  input: DescribeSecurityGroupReferencesRequest,
): Promise<DescribeSecurityGroupReferencesResult> {
  const ids = [...new Set(input.GroupId ?? [])]
  if (ids.length === 0) throw missingParameter('groupId')
  checkIds(RESOURCE_KINDS.securityGroup, ids)
  const groups = await inBatches(ids, (batch) => db
    .selectFrom('security_groups').select(['group_id', 'vpc_id'])
    .where('account_id', '=', account).where('group_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.securityGroup, ids, new Set(groups.map((group) => group.group_id)))
  const set: SecurityGroupReference[] = []
  for (const group of groups) {
    const referring = await db
      .selectFrom('security_group_rules').innerJoin('security_groups', 'security_groups.group_id', 'security_group_rules.group_id')
      .select('vpc_id').distinct()
      .where('peer_group_id', '=', group.group_id).where('vpc_id', '<>', group.vpc_id).orderBy('vpc_id').execute()
    const peerings = await peeringsOfVpc(db, group.vpc_id)
    for (const { vpc_id: vpcId } of referring) {
      const peering = peerings.findLast((row) => row.status === 'active' && peerOf(row, group.vpc_id) === vpcId)
      if (peering) set.push({ GroupId: group.group_id, ReferencingVpcId: vpcId, VpcPeeringConnectionId: peering.peering_id })
    }
  }
  return { SecurityGroupReferenceSet: set }
}

/**
 * DescribeStaleSecurityGroups: groups of the VPC with rules that name a group of a peered VPC which is
 * gone, or whose peering is.
 */
export async function describeStaleSecurityGroups(
  context: Context,
  input: DescribeStaleSecurityGroupsRequest,
): Promise<DescribeStaleSecurityGroupsResult> {
  const { db } = context
  const { vpc_id: vpcId } = await requireVpc(context, input.VpcId)
  const groups = await db.selectFrom('security_groups').selectAll().where('vpc_id', '=', vpcId).execute()
  const rules = await inBatches(groups.map((group) => group.group_id), (batch) =>
    db.selectFrom('security_group_rules').selectAll().where('group_id', 'in', batch).execute())
  const foreign = await loadForeignPeers(db, rules)
  const active = new Set(await activePeersOf(db, vpcId))
  const isStale = (rule: SecurityGroupRuleTable) => {
    if (rule.peer_group_id === null) return peerGroupOf(rule) !== null
    const peer = foreign.get(rule.rule_id)
    return peer !== undefined && !active.has(peer.vpcId)
  }
  const stale = groupBy(rules.filter(isStale), (rule) => rule.group_id)
  const { page, nextToken } = paginate(groups.filter((group) => stale.has(group.group_id)), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 255,
    keyOf: (group) => timeKey(group.created_ms, group.group_id),
    operation: 'DescribeStaleSecurityGroups',
  })
  const permissions = (groupId: string, isEgress: number) =>
    stalePermissions((stale.get(groupId) ?? []).filter((rule) => rule.is_egress === isEgress), foreign)
  return {
    StaleSecurityGroupSet: page.map((group) => ({
      GroupId: group.group_id,
      GroupName: group.name,
      Description: group.description,
      VpcId: group.vpc_id,
      StaleIpPermissions: permissions(group.group_id, 0),
      StaleIpPermissionsEgress: permissions(group.group_id, 1),
    })),
    NextToken: nextToken,
  }
}

function stalePermissions(rules: SecurityGroupRuleTable[], foreign: ForeignPeers): StaleIpPermission[] {
  return permissionsToWire(rules, foreign).map(({ IpProtocol, FromPort, ToPort, UserIdGroupPairs }) => ({
    IpProtocol, FromPort, ToPort, IpRanges: [], PrefixListIds: [], UserIdGroupPairs,
  }))
}
