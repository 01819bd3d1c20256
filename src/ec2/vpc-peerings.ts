import type {
  DescribeVpcPeeringConnectionsRequest, DescribeVpcPeeringConnectionsResult, VpcPeeringConnection,
} from '@aws-sdk/client-ec2'
import { isPeeringVisible } from '../model/vpc-peering.ts'
import { vpcPeeringToWire } from '../model/vpc-peering-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { VpcPeeringTable } from '../store/schema.ts'
import { cidrsOf } from '../vpc/load-routing.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { tagsOf, toWireTags, type TagInput } from './tags.ts'

/** A peering, its wire form and the account's own tags. */
interface PeeringItem {
  row: VpcPeeringTable
  wire: VpcPeeringConnection
  tags: TagInput[]
}

const FILTERS: FilterFields<PeeringItem> = {
  'accepter-vpc-info.cidr-block': ({ wire }) => wire.AccepterVpcInfo?.CidrBlockSet?.map((each) => each.CidrBlock),
  'accepter-vpc-info.owner-id': ({ wire }) => wire.AccepterVpcInfo?.OwnerId,
  'accepter-vpc-info.vpc-id': ({ wire }) => wire.AccepterVpcInfo?.VpcId,
  'expiration-time': ({ wire }) => filterText(wire.ExpirationTime),
  'requester-vpc-info.cidr-block': ({ wire }) => wire.RequesterVpcInfo?.CidrBlockSet?.map((each) => each.CidrBlock),
  'requester-vpc-info.owner-id': ({ wire }) => wire.RequesterVpcInfo?.OwnerId,
  'requester-vpc-info.vpc-id': ({ wire }) => wire.RequesterVpcInfo?.VpcId,
  'status-code': ({ wire }) => wire.Status?.Code,
  'status-message': ({ wire }) => wire.Status?.Message,
  'vpc-peering-connection-id': ({ wire }) => wire.VpcPeeringConnectionId,
}

/** DescribeVpcPeeringConnections: those of the account, on whichever side, oldest first. */
export async function describeVpcPeeringConnections(
  context: Context,
  input: DescribeVpcPeeringConnectionsRequest,
): Promise<DescribeVpcPeeringConnectionsResult> {
  const { db, account, nowMs } = context
  const ids = input.VpcPeeringConnectionIds ?? []
  checkIds(RESOURCE_KINDS.vpcPeering, ids)
  const query = db
    .selectFrom('vpc_peerings').selectAll()
    .where((eb) => eb.or([eb('account_id', '=', account), eb('accepter_account_id', '=', account)]))
  const all = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('peering_id', 'in', batch).execute())
  const rows = all.filter((row) => isPeeringVisible(row, account, nowMs))
  if (ids.length > 0) requireAll(RESOURCE_KINDS.vpcPeering, ids, new Set(rows.map((row) => row.peering_id)))
  const items = await loadPeerings(context, rows)
  const matches = compileFilters(input.Filters, FILTERS, ({ tags }) => tags)
  const { page, nextToken } = paginate(items.filter(matches), {
    maxResults: input.MaxResults,
    nextToken: input.NextToken,
    max: 1000,
    keyOf: ({ row }) => timeKey(row.created_ms, row.peering_id),
    operation: 'DescribeVpcPeeringConnections',
  })
  return { VpcPeeringConnections: page.map(({ wire }) => wire), NextToken: nextToken }
}

/** The peerings with their wire forms, as the account sees them: each side has tags of its own. */
export async function loadPeerings(
  { db, account, region, nowMs }: Context,
  rows: readonly VpcPeeringTable[],
  status?: VpcPeeringConnection['Status'],
): Promise<PeeringItem[]> {
  const tags = await tagsOf(db, rows.map((row) => row.peering_id), account)
  const items: PeeringItem[] = []
  for (const row of rows) {
    const own = tags.get(row.peering_id) ?? []
    const related = {
      region, nowMs, tags: toWireTags(own), ...(status ? { status } : {}),
      requesterCidrs: await cidrsOf(db, row.requester_vpc_id), accepterCidrs: await cidrsOf(db, row.accepter_vpc_id),
    }
    items.push({ row, wire: vpcPeeringToWire(row, related), tags: own })
  }
  return items
}
