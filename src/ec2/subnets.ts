import type { DescribeSubnetsRequest, DescribeSubnetsResult } from '@aws-sdk/client-ec2'
import { parseCidr } from '../core/cidr.ts'
import { usableAddresses } from '../model/address.ts'
import { subnetArn, subnetToWire } from '../model/subnet-wire.ts'
import { zoneIdOf } from '../model/zone.ts'
import { inBatches } from '../store/batch.ts'
import type { SubnetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { tagsOf, toWireTags } from './tags.ts'

/** A subnet and how many of its addresses are free. */
type SubnetItem = SubnetTable & { available: number }

const never = () => 'false'

const FILTERS: FilterFields<SubnetItem> = {
  'availability-zone': (row) => row.zone,
  availabilityZone: (row) => row.zone,
  'availability-zone-id': (row) => zoneIdOf(row.zone),
  availabilityZoneId: (row) => zoneIdOf(row.zone),
  'available-ip-address-count': (row) => filterText(row.available),
  'cidr-block': (row) => row.cidr,
  cidr: (row) => row.cidr,
  cidrBlock: (row) => row.cidr,
  'default-for-az': (row) => filterText(row.default_for_az === 1),
  defaultForAz: (row) => filterText(row.default_for_az === 1),
  'enable-dns64': never,
  'ipv6-native': never,
  'map-customer-owned-ip-on-launch': never,
  'map-public-ip-on-launch': (row) => filterText(row.map_public_ip === 1),
  'owner-id': (row) => row.account_id,
  'private-dns-name-options-on-launch.hostname-type': () => 'ip-name',
  'private-dns-name-options-on-launch.enable-resource-name-dns-a-record': never,
  'private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record': never,
  state: (row) => row.state,
  'subnet-arn': (row) => subnetArn(row),
  'subnet-id': (row) => row.subnet_id,
  'vpc-id': (row) => row.vpc_id,
  ...withoutValue(
    'customer-owned-ipv4-pool', 'enable-lni-at-device-index', 'outpost-arn',
    'ipv6-cidr-block-association.ipv6-cidr-block', 'ipv6-cidr-block-association.association-id',
    'ipv6-cidr-block-association.state',
  ),
}

/** DescribeSubnets: those named, or all of the account, oldest first. */
export async function describeSubnets(
  { db, account }: Context,
  input: DescribeSubnetsRequest,
): Promise<DescribeSubnetsResult> {
  const ids = input.SubnetIds ?? []
  checkIds(RESOURCE_KINDS.subnet, ids)
  const query = db.selectFrom('subnets').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('subnet_id', 'in', batch).execute())
  if (ids.length > 0) requireAll(RESOURCE_KINDS.subnet, ids, new Set(rows.map((row) => row.subnet_id)))
  const used = await usedAddresses(db, rows.map((row) => row.subnet_id))
  const items = rows.map((row) => ({ ...row, available: capacityOf(row) - (used.get(row.subnet_id) ?? 0) }))
  const tags = await tagsOf(db, rows.map((row) => row.subnet_id))
  const matches = compileFilters(input.Filters, FILTERS, (row) => tags.get(row.subnet_id) ?? [])
  const { page, nextToken } = paginate(items.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.zone, row.subnet_id),
    operation: 'DescribeSubnets',
  })
  return {
    Subnets: page.map((row) => subnetToWire(row, row.available, toWireTags(tags.get(row.subnet_id)))),
    NextToken: nextToken,
  }
}

function capacityOf(row: SubnetTable): number {
  const cidr = parseCidr(row.cidr)
  if (!cidr) throw new Error(`${row.subnet_id}: not a CIDR block: ${row.cidr}`)
  return usableAddresses(cidr)
}

/** How many addresses the interfaces of each subnet hold, secondary ones too; a subnet that has none is not in the map. */
async function usedAddresses(db: Db, subnetIds: string[]): Promise<Map<string, number>> {
  const primary = await inBatches(subnetIds, (batch) =>
    db
      .selectFrom('interfaces')
      .select((eb) => ['subnet_id', eb.fn.countAll<number>().as('used')])
      .where('subnet_id', 'in', batch)
      .groupBy('subnet_id')
      .execute(),
  )
  const secondary = await inBatches(subnetIds, (batch) =>
    db
      .selectFrom('interface_addresses')
      .innerJoin('interfaces', 'interfaces.interface_id', 'interface_addresses.interface_id')
      .select((eb) => ['interfaces.subnet_id', eb.fn.countAll<number>().as('used')])
      .where('interfaces.subnet_id', 'in', batch)
      .groupBy('interfaces.subnet_id')
      .execute(),
  )
  const used = new Map<string, number>()
  for (const row of [...primary, ...secondary]) {
    used.set(row.subnet_id, (used.get(row.subnet_id) ?? 0) + Number(row.used))
  }
  return used
}
