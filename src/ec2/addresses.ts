import type {
  Address, AllocateAddressRequest, AllocateAddressResult, DescribeAddressesAttributeRequest,
  DescribeAddressesAttributeResult, DescribeAddressesRequest, DescribeAddressesResult, ReleaseAddressRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { addressNotFound, claimPublicAddress, pickPublicAddress } from '../model/address.ts'
import { addressToWire, AMAZON_POOL } from '../model/address-wire.ts'
import { ELASTIC_IP_LIMIT } from '../model/elastic-ip.ts'
import { preparedIn } from '../store/prepared.ts'
import type { AddressTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { requireAddress } from './address-rows.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, refuseParameters, unsupportedParameter } from './parameters.ts'
import { requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, fromWireTags, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

/**
 * AllocateAddress: a public address of the pool, any or the one named, that is the account's until it
 * is released.
 *
 * @throws ApiError AddressLimitExceeded, InsufficientAddressCapacity, InvalidAddress.NotFound for an
 *   address that is not of the pool, InvalidIPAddress.InUse.
 */
export async function allocateAddress(context: Context, input: AllocateAddressRequest): Promise<AllocateAddressResult> {
  const { db, account, random, region, publicPool, nowMs } = context
  checkAllocate(context, input)
  const tags = parseTagSpecifications(input.TagSpecifications, ['elastic-ip']).get('elastic-ip') ?? []
  const { allocated } = await db
    .selectFrom('addresses').select((eb) => eb.fn.countAll<number>().as('allocated'))
    .where('account_id', '=', account).executeTakeFirstOrThrow()
  if (Number(allocated) >= ELASTIC_IP_LIMIT) {
    throw new ApiError('AddressLimitExceeded', 'The maximum number of addresses has been reached.')
  }
  const row: AddressTable = {
    allocation_id: newId(random, 'eipalloc'), account_id: account,
    public_ip: input.Address
      ? await claimPublicAddress(db, publicPool, input.Address)
      : await pickPublicAddress(db, random, publicPool),
    association_id: null, interface_id: null, private_ip: null, created_ms: nowMs, doc: '{}',
  }
  await db.insertInto('addresses').values(row).execute()
  await insertTags(db, account, 'elastic-ip', row.allocation_id, tags)
  return {
    AllocationId: row.allocation_id, Domain: 'vpc', NetworkBorderGroup: region, PublicIp: row.public_ip,
    PublicIpv4Pool: AMAZON_POOL,
  }
}

function checkAllocate({ region }: Context, input: AllocateAddressRequest): void {
  // Addresses outside of VPCs went with EC2-Classic.
  if (checkEnum('domain', input.Domain, ['vpc', 'standard']) === 'standard') throw unsupportedParameter('Domain=standard')
  refuseParameters(input, ['CustomerOwnedIpv4Pool', 'IpamPoolId'])
  if (input.PublicIpv4Pool && input.PublicIpv4Pool !== AMAZON_POOL) throw unsupportedParameter('PublicIpv4Pool')
  if (input.NetworkBorderGroup && input.NetworkBorderGroup !== region) throw unsupportedParameter('NetworkBorderGroup')
}

/**
 * ReleaseAddress: of one that is associated with nothing.
 *
 * @throws ApiError InvalidAllocationID.NotFound, InvalidIPAddress.InUse.
 */
export async function releaseAddress(context: Context, input: ReleaseAddressRequest): Promise<void> {
  const { db, region } = context
  const row = await requireAddress(context, input)
  if (input.PublicIp) {
    throw new ApiError('InvalidParameterValue', 'You must specify an allocation id when releasing a VPC elastic IP address')
  }
  if (input.NetworkBorderGroup && input.NetworkBorderGroup !== region) throw addressNotFound(row.public_ip)
  if (row.association_id !== null) throw new ApiError('InvalidIPAddress.InUse', `Address ${row.public_ip} is in use.`)
  await deleteTagsOf(db, [row.allocation_id])
  await db.deleteFrom('addresses').where('allocation_id', '=', row.allocation_id).execute()
}

/** DescribeAddresses: the account's Elastic IPs, oldest first. Automatic addresses are none. */
export async function describeAddresses(context: Context, input: DescribeAddressesRequest): Promise<DescribeAddressesResult> {
  const { db, region } = context
  const matches = compileFilters(input.Filters, FIELDS, (each: Address) => fromWireTags(each.Tags))
  const rows = await selectRows(context, input)
  const holders = await loadHolders(db, rows)
  const tags = await tagsOf(db, rows.map((row) => row.allocation_id))
  const wired = rows.map((row) => addressToWire(row, {
    region, holder: holders.get(row.interface_id ?? ''), tags: toWireTags(tags.get(row.allocation_id)),
  }))
  return { Addresses: wired.filter(matches) }
}

/**
 * DescribeAddressesAttribute: which Terraform reads with every address. Nobody can give an address a
 * domain name here (ModifyAddressAttribute is not there), so none has a PTR record of its own.
 */
export async function describeAddressesAttribute(
  context: Context,
  input: DescribeAddressesAttributeRequest,
): Promise<DescribeAddressesAttributeResult> {
  checkEnum('attribute', input.Attribute, ['domain-name'])
  const rows = await selectRows(context, { AllocationIds: input.AllocationIds })
  const { page, nextToken } = paginate(rows, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.allocation_id), operation: 'DescribeAddressesAttribute',
  })
  return {
    Addresses: page.map((row) => ({ AllocationId: row.allocation_id, PublicIp: row.public_ip })), NextToken: nextToken,
  }
}

/** There are few: an account has no more than the limit. */
async function selectRows({ db, account }: Context, input: DescribeAddressesRequest): Promise<AddressTable[]> {
  const all = await db
    .selectFrom('addresses').selectAll().where('account_id', '=', account)
    .orderBy('created_ms').orderBy('allocation_id').execute()
  const ids = input.AllocationIds ?? []
  requireAll(RESOURCE_KINDS.elasticIp, ids, new Set(all.map((row) => row.allocation_id)))
  const publicIps = input.PublicIps ?? []
  const unknown = publicIps.find((address) => !all.some((row) => row.public_ip === address))
  if (unknown !== undefined) throw addressNotFound(unknown)
  const named = all.filter((row) => ids.includes(row.allocation_id) || publicIps.includes(row.public_ip))
  return ids.length + publicIps.length > 0 ? named : all
}

const holdersOf = preparedIn((db, ids) =>
  db.selectFrom('interfaces').select(['interface_id', 'instance_id', 'account_id']).where('interface_id', 'in', ids))

async function loadHolders(db: Db, rows: readonly AddressTable[]) {
  const holders = await holdersOf(db, rows.flatMap((row) => row.interface_id ?? []))
  return new Map(holders.map((holder) => [holder.interface_id, holder]))
}

const FIELDS: FilterFields<Address> = {
  'allocation-id': (each) => each.AllocationId,
  'association-id': (each) => each.AssociationId,
  domain: (each) => each.Domain,
  'instance-id': (each) => each.InstanceId,
  'network-border-group': (each) => each.NetworkBorderGroup,
  'network-interface-id': (each) => each.NetworkInterfaceId,
  'network-interface-owner-id': (each) => each.NetworkInterfaceOwnerId,
  'private-ip-address': (each) => each.PrivateIpAddress,
  'public-ip': (each) => each.PublicIp,
}
