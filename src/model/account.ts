import type { Clock } from '../core/clock.ts'
import { newId } from '../core/ids.ts'
import { formatCidr, parseCidr } from '../core/cidr.ts'
import type { Random } from '../core/random.ts'
import type { Db } from '../store/store.ts'
import { ensureVpcObjects } from './vpc-objects.ts'
import { zonesOf } from './zone.ts'

/** The account of the person who runs Hearth, and of everybody in permissive mode. */
export const DEFAULT_ACCOUNT = '123456789012'

/** Owns the public images that Hearth builds; DescribeImages knows it by the alias "amazon". */
export const PROVIDER_ACCOUNT = '137112412989'

/** What every AWS account starts with in a region: 172.31.0.0/16 and a /20 in each zone. */
const DEFAULT_VPC_CIDR = '172.31.0.0/16'
const DEFAULT_SUBNET_PREFIX = 20

/** Makes the account with its default VPC, subnets and security group, unless it is there. */
export async function ensureAccount(
  db: Db,
  ambient: { clock: Clock; random: Random; region: string },
  account: { accountId: string; name: string },
): Promise<void> {
  const existing = await db
    .selectFrom('accounts').select('account_id').where('account_id', '=', account.accountId).executeTakeFirst()
  if (existing) return
  const createdMs = ambient.clock.now()
  await db
    .insertInto('accounts')
    .values({ account_id: account.accountId, name: account.name, created_ms: createdMs })
    .execute()
  await createDefaultVpc(db, ambient, account.accountId)
}

async function createDefaultVpc(
  db: Db,
  ambient: { clock: Clock; random: Random; region: string },
  accountId: string,
): Promise<void> {
  const { random } = ambient
  const createdMs = ambient.clock.now()
  const vpcId = newId(random, 'vpc')
  await db
    .insertInto('vpcs')
    .values({
      vpc_id: vpcId, account_id: accountId, cidr: DEFAULT_VPC_CIDR, is_default: 1, state: 'available',
      created_ms: createdMs, doc: JSON.stringify({ dhcpOptionsId: newId(random, 'dopt') }),
    })
    .execute()
  const base = parseCidr(DEFAULT_VPC_CIDR)?.base ?? 0
  for (const [index, zone] of zonesOf(ambient.region).entries()) {
    const cidr = formatCidr({ base: base + index * 2 ** (32 - DEFAULT_SUBNET_PREFIX), prefix: DEFAULT_SUBNET_PREFIX })
    await db
      .insertInto('subnets')
      .values({
        subnet_id: newId(random, 'subnet'), account_id: accountId, vpc_id: vpcId, zone, cidr, default_for_az: 1,
        map_public_ip: 1, state: 'available', created_ms: createdMs, doc: '{}',
      })
      .execute()
  }
  const groupId = newId(random, 'sg')
  await insertGroup(db, { groupId, accountId, vpcId, name: 'default', description: 'default VPC security group', createdMs })
  await insertRule(db, random, { accountId, groupId, isEgress: false, protocol: '-1', peerGroupId: groupId })
  await insertRule(db, random, { accountId, groupId, isEgress: true, protocol: '-1', cidr: '0.0.0.0/0' })
  await ensureVpcObjects({ db, random, nowMs: createdMs }, { vpc_id: vpcId, account_id: accountId, is_default: 1 })
}

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
