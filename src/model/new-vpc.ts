import { formatCidr, overlaps, parseCidr, sizeOf, type Cidr } from '../core/cidr.ts'
import { newId } from '../core/ids.ts'
import type { SubnetTable, VpcTable } from '../store/schema.ts'
import { ensureDefaultDhcpOptions } from './dhcp-options.ts'
import { insertDefaultGroup } from './security-group.ts'
import { associateAcl, ensureVpcObjects, type Making } from './vpc-objects.ts'
import type { VpcDoc } from './vpc-wire.ts'

/** What every AWS account starts with in a region: 172.31.0.0/16 and a /20 in each zone. */
export const DEFAULT_VPC_CIDR = '172.31.0.0/16'
const DEFAULT_SUBNET_PREFIX = 20

/** A VPC with everything that it has from its first moment: security group, route table, network ACL. */
export async function insertVpc(
  making: Making,
  vpc: { accountId: string; cidr: string; isDefault: boolean; instanceTenancy?: VpcDoc['instanceTenancy'] | undefined },
): Promise<VpcTable> {
  const { db, random, nowMs } = making
  const { accountId, cidr, isDefault, instanceTenancy } = vpc
  const doc: VpcDoc = { dhcpOptionsId: await ensureDefaultDhcpOptions(making, accountId), ...(instanceTenancy ? { instanceTenancy } : {}) }
  const row: VpcTable = {
    vpc_id: newId(random, 'vpc'), account_id: accountId, cidr, is_default: isDefault ? 1 : 0, state: 'available',
    created_ms: nowMs, doc: JSON.stringify(doc),
  }
  await db.insertInto('vpcs').values(row).execute()
  await insertDefaultGroup(db, random, { vpcId: row.vpc_id, accountId, createdMs: nowMs })
  await ensureVpcObjects(making, row)
  return row
}

/** A subnet, which uses the default network ACL of its VPC. */
export async function insertSubnet(
  making: Making,
  subnet: { vpcId: string; accountId: string; zone: string; cidr: string; isDefault: boolean },
): Promise<SubnetTable> {
  const { db, random, nowMs } = making
  const isDefault = subnet.isDefault ? 1 : 0
  const row: SubnetTable = {
    subnet_id: newId(random, 'subnet'), account_id: subnet.accountId, vpc_id: subnet.vpcId, zone: subnet.zone,
    cidr: subnet.cidr, default_for_az: isDefault, map_public_ip: isDefault, state: 'available', created_ms: nowMs, doc: '{}',
  }
  await db.insertInto('subnets').values(row).execute()
  await associateAcl(making, row)
  return row
}

/**
 * The default VPC of an account: publicly reachable, with a default subnet in each zone.
 * https://docs.aws.amazon.com/vpc/latest/userguide/default-vpc.html
 */
export async function createDefaultVpc(making: Making, accountId: string, zones: readonly string[]): Promise<VpcTable> {
  const vpc = await insertVpc(making, { accountId, cidr: DEFAULT_VPC_CIDR, isDefault: true })
  for (const zone of zones) await insertDefaultSubnet(making, vpc, zone)
  return vpc
}

/** The default subnet of the zone: the first /20 of the VPC that is free. Undefined when there is none. */
export async function insertDefaultSubnet(making: Making, vpc: VpcTable, zone: string): Promise<SubnetTable | undefined> {
  const taken = await making.db.selectFrom('subnets').select('cidr').where('vpc_id', '=', vpc.vpc_id).execute()
  const cidr = firstFree(vpc.cidr, taken.flatMap((each) => parseCidr(each.cidr) ?? []))
  if (cidr === undefined) return undefined
  return insertSubnet(making, { vpcId: vpc.vpc_id, accountId: vpc.account_id, zone, cidr, isDefault: true })
}

function firstFree(vpcCidr: string, taken: readonly Cidr[]): string | undefined {
  const vpc = parseCidr(vpcCidr)
  if (!vpc) throw new Error(`not a CIDR block: ${vpcCidr}`)
  const step = sizeOf(DEFAULT_SUBNET_PREFIX)
  for (let base = vpc.base; base < vpc.base + sizeOf(vpc.prefix); base += step) {
    const candidate = { base, prefix: DEFAULT_SUBNET_PREFIX }
    if (!taken.some((each) => overlaps(each, candidate))) return formatCidr(candidate)
  }
  return undefined
}
