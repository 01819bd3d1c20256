import type { UserIdGroupPair } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { ForeignPeer } from '../model/security-group-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { SecurityGroupRuleTable, SecurityGroupTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { notFoundError, RESOURCE_KINDS } from './resources.ts'
import { groupById, groupByName, wakeGroup } from './security-group-lookup.ts'
import { wakeVpcEverywhere } from './vpc-lookup.ts'
import { peeringsOfVpc, peerOf } from './vpc-peering-lookup.ts'

/**
 * Id of the group that a rule of `group` names: one of its own VPC, or one of a VPC that it has an active
 * peering with, which may be another account's.
 * https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html
 *
 * @throws ApiError InvalidGroupId.Malformed, InvalidGroup.NotFound.
 */
export async function findPeerGroup(context: Context, group: SecurityGroupTable, pair: UserIdGroupPair): Promise<string> {
  const { GroupId: id, GroupName: name, UserId: owner = context.account } = pair
  // Groups of another account go by their id only.
  if (!id && owner && owner !== context.account) throw notFoundError(RESOURCE_KINDS.securityGroup, [name ?? ''])
  const peer = id
    ? await groupById({ ...context, account: owner || context.account }, id)
    : await groupByName(context, group.vpc_id, name ?? '')
  if (!peer) {
    throw new ApiError('InvalidGroup.NotFound', `The security group '${name}' does not exist in VPC '${group.vpc_id}'`)
  }
  const peeringId = pair.VpcPeeringConnectionId || undefined
  const isNamed = (!pair.VpcId || pair.VpcId === peer.vpc_id) && (await isReachable(context.db, group, peer, peeringId))
  if (!isNamed) {
    // Whether another account has such a group is not for everybody to know.
    if (peer.account_id !== context.account) throw notFoundError(RESOURCE_KINDS.securityGroup, [peer.group_id])
    throw new ApiError('InvalidGroup.NotFound', 'You have specified two resources that belong to different networks.')
  }
  return peer.group_id
}

async function isReachable(
  db: Db,
  group: SecurityGroupTable,
  peer: SecurityGroupTable,
  peeringId: string | undefined,
): Promise<boolean> {
  if (peer.vpc_id === group.vpc_id) return peeringId === undefined
  const peerings = await peeringsOfVpc(db, group.vpc_id)
  return peerings.some((row) => row.status === 'active' && peerOf(row, group.vpc_id) === peer.vpc_id &&
    (peeringId === undefined || row.peering_id === peeringId))
}

/** What the wire tells of the groups that rules name and that are of other VPCs, by rule id. */
export async function loadForeignPeers(
  db: Db,
  rules: readonly SecurityGroupRuleTable[],
): Promise<Map<string, ForeignPeer>> {
  const groups = new Map((await inBatches(
    rules.flatMap((rule) => (rule.peer_group_id === null || rule.peer_group_id === rule.group_id ? [] : [rule.group_id, rule.peer_group_id])),
    (batch) => db.selectFrom('security_groups').select(['group_id', 'vpc_id', 'account_id']).where('group_id', 'in', batch).execute(),
  )).map((row) => [row.group_id, row]))
  const peers = new Map<string, ForeignPeer>()
  for (const rule of rules) {
    const own = groups.get(rule.group_id)
    const peer = groups.get(rule.peer_group_id ?? '')
    if (!own || !peer || own.vpc_id === peer.vpc_id) continue
    const peerings = (await peeringsOfVpc(db, own.vpc_id)).filter((row) => peerOf(row, own.vpc_id) === peer.vpc_id)
    const newest = peerings.find((row) => row.status === 'active') ?? peerings.at(-1)
    peers.set(rule.rule_id, {
      accountId: peer.account_id, vpcId: peer.vpc_id,
      ...(newest ? { peering: { peeringId: newest.peering_id, status: newest.status } } : {}),
    })
  }
  return peers
}

/**
 * Has the group's rules put in force. With rules that name groups of peered VPCs the whole VPC is read:
 * the members of those groups are among what it must know.
 */
export async function wakeRules({ db, nowMs }: Context, group: SecurityGroupTable): Promise<void> {
  const foreign = await db
    .selectFrom('security_group_rules').innerJoin('security_groups as peer', 'peer.group_id', 'security_group_rules.peer_group_id')
    .select('peer.group_id').where('security_group_rules.group_id', '=', group.group_id)
    .where('peer.vpc_id', '<>', group.vpc_id).executeTakeFirst()
  if (foreign) await wakeVpcEverywhere(db, group.vpc_id, nowMs)
  else await wakeGroup(db, group, nowMs)
}
