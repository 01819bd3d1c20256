import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { Db } from '../store/store.ts'

/** Writes a security group without rules. */
export async function insertGroup(
  db: Db,
  group: { groupId: string; accountId: string; vpcId: string; name: string; description: string; createdMs: number },
): Promise<void> {
  await db
    .insertInto('security_groups')
    .values({
      group_id: group.groupId, account_id: group.accountId, vpc_id: group.vpcId, name: group.name,
      name_key: group.name.toLowerCase(), description: group.description, created_ms: group.createdMs,
      revision: 1, synced_revision: 0,
    })
    .execute()
}

/** One permission of a security group: a protocol, its ports, and one peer. */
export interface NewRule {
  accountId: string
  groupId: string
  isEgress: boolean
  protocol: string
  /** Ports, or ICMP type and code; left out where the protocol has none. */
  fromPort?: number
  toPort?: number
  cidr?: string
  peerGroupId?: string
  prefixListId?: string
  description?: string | null
}

/** Writes a rule and answers its id; the caller has validated it and looked for duplicates. */
export async function insertRule(db: Db, random: Random, rule: NewRule): Promise<string> {
  const ruleId = newId(random, 'sgr')
  await db
    .insertInto('security_group_rules')
    .values({
      rule_id: ruleId, account_id: rule.accountId, group_id: rule.groupId, is_egress: rule.isEgress ? 1 : 0,
      protocol: rule.protocol, from_port: rule.fromPort ?? -1, to_port: rule.toPort ?? -1,
      cidr: rule.cidr ?? null, peer_group_id: rule.peerGroupId ?? null, prefix_list_id: rule.prefixListId ?? null,
      peer_key: rule.cidr ?? rule.peerGroupId ?? rule.prefixListId ?? '', description: rule.description ?? null,
    })
    .execute()
  return ruleId
}

/** The group that every VPC has: its members reach one another and the world. https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html */
export async function insertDefaultGroup(
  db: Db,
  random: Random,
  vpc: { vpcId: string; accountId: string; createdMs: number },
): Promise<void> {
  const { accountId } = vpc
  const groupId = newId(random, 'sg')
  await insertGroup(db, { ...vpc, groupId, name: 'default', description: 'default VPC security group' })
  await insertRule(db, random, { accountId, groupId, isEgress: false, protocol: '-1', peerGroupId: groupId })
  await insertRule(db, random, { accountId, groupId, isEgress: true, protocol: '-1', cidr: '0.0.0.0/0' })
}
