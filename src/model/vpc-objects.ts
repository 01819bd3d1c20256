import { sql } from 'kysely'
import { newId } from '../core/ids.ts'
import type { Random } from '../core/random.ts'
import type { VpcTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { ensureDhcpOptions } from './dhcp-options.ts'

/** What making rows needs of the surroundings: ids and the time, milliseconds since the epoch. */
export interface Making {
  db: Db
  random: Random
  nowMs: number
}

/** The number of the entry that a default network ACL has in both directions. */
const FIRST_RULE_NUMBER = 100

/**
 * What every VPC has from its first moment: a main route table, a default network ACL that lets
 * everything through and that its subnets use, and a set of DHCP options. Makes what is missing, so that homes that were made
 * before these existed get them too.
 * https://docs.aws.amazon.com/vpc/latest/userguide/create-vpc.html
 */
export async function ensureVpcObjects(making: Making, vpc: Pick<VpcTable, 'vpc_id' | 'account_id' | 'is_default'>): Promise<void> {
  const { db } = making
  const main = await db
    .selectFrom('route_tables').select('route_table_id').where('vpc_id', '=', vpc.vpc_id).where('is_main', '=', sql.lit(1)).executeTakeFirst()
  if (!main) {
    const routeTableId = await createRouteTable(making, vpc, true)
    if (vpc.is_default === 1) await createDefaultRoute(making, vpc, routeTableId)
  }
  const subnets = await db.selectFrom('subnets').select(['subnet_id', 'account_id', 'vpc_id']).where('vpc_id', '=', vpc.vpc_id).execute()
  const aclId = await ensureDefaultAcl(making, vpc)
  for (const subnet of subnets) await associateAcl(making, subnet, aclId)
  await ensureDhcpOptions(making, vpc.vpc_id)
}

/** A route table; with `isMain` that of the VPC, which subnets use that have none of their own. */
async function createRouteTable(
  { db, random, nowMs }: Making,
  vpc: Pick<VpcTable, 'vpc_id' | 'account_id'>,
  isMain: boolean,
): Promise<string> {
  const routeTableId = newId(random, 'rtb')
  await db.insertInto('route_tables').values({
    route_table_id: routeTableId, account_id: vpc.account_id, vpc_id: vpc.vpc_id, is_main: isMain ? 1 : 0, created_ms: nowMs,
  }).execute()
  if (isMain) {
    await db.insertInto('route_table_associations').values({
      association_id: newId(random, 'rtbassoc'), account_id: vpc.account_id, route_table_id: routeTableId, subnet_id: null,
      created_ms: nowMs,
    }).execute()
  }
  return routeTableId
}

/** The default VPC comes with an internet gateway, and everything outside the VPC is routed there. */
async function createDefaultRoute(
  { db, random, nowMs }: Making,
  vpc: Pick<VpcTable, 'vpc_id' | 'account_id'>,
  routeTableId: string,
): Promise<void> {
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpc.vpc_id).executeTakeFirst()
  const gatewayId = gateway?.internet_gateway_id ?? newId(random, 'igw')
  if (!gateway) {
    await db.insertInto('internet_gateways').values({
      internet_gateway_id: gatewayId, account_id: vpc.account_id, vpc_id: vpc.vpc_id, created_ms: nowMs,
    }).execute()
  }
  await db.insertInto('routes').values({
    route_table_id: routeTableId, account_id: vpc.account_id, destination: '0.0.0.0/0', target_kind: 'internet-gateway',
    target_id: gatewayId, created_ms: nowMs,
  }).execute()
}

async function ensureDefaultAcl({ db, random, nowMs }: Making, vpc: Pick<VpcTable, 'vpc_id' | 'account_id'>): Promise<string> {
  const found = await db
    .selectFrom('network_acls').select('network_acl_id').where('vpc_id', '=', vpc.vpc_id).where('is_default', '=', sql.lit(1)).executeTakeFirst()
  if (found) return found.network_acl_id
  const networkAclId = newId(random, 'acl')
  await db.insertInto('network_acls').values({
    network_acl_id: networkAclId, account_id: vpc.account_id, vpc_id: vpc.vpc_id, is_default: 1, created_ms: nowMs,
  }).execute()
  for (const isEgress of [0, 1]) {
    await db.insertInto('network_acl_entries').values({
      network_acl_id: networkAclId, account_id: vpc.account_id, is_egress: isEgress, rule_number: FIRST_RULE_NUMBER,
      action: 'allow', protocol: '-1', cidr: '0.0.0.0/0', from_port: -1, to_port: -1,
    }).execute()
  }
  return networkAclId
}

/** Has the subnet use that network ACL, unless it uses one. For a new subnet: the default one of its VPC. */
export async function associateAcl(
  { db, random, nowMs }: Making,
  subnet: { subnet_id: string; account_id: string; vpc_id: string },
  networkAclId?: string,
): Promise<void> {
  const aclId = networkAclId ?? (await db
    .selectFrom('network_acls').select('network_acl_id').where('vpc_id', '=', subnet.vpc_id).where('is_default', '=', sql.lit(1))
    .executeTakeFirstOrThrow()).network_acl_id
  await db
    .insertInto('network_acl_associations')
    .values({
      association_id: newId(random, 'aclassoc'), account_id: subnet.account_id, network_acl_id: aclId,
      subnet_id: subnet.subnet_id, created_ms: nowMs,
    })
    .onConflict((conflict) => conflict.column('subnet_id').doNothing())
    .execute()
}
