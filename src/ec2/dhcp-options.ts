import type {
  AssociateDhcpOptionsRequest, CreateDhcpOptionsRequest, CreateDhcpOptionsResult, DeleteDhcpOptionsRequest,
  DescribeDhcpOptionsRequest, DescribeDhcpOptionsResult, NewDhcpConfiguration,
} from '@aws-sdk/client-ec2'
import { parseIpv4 } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId, newId } from '../core/ids.ts'
import {
  AMAZON_PROVIDED_DNS, dhcpOptionsOf, NO_DHCP_OPTIONS, type DhcpOption, type DhcpOptionKey, type DhcpOptionsDoc,
} from '../model/dhcp-options.ts'
import { dhcpOptionsToWire } from '../model/dhcp-options-wire.ts'
import { vpcDoc } from '../model/vpc-wire.ts'
import { inBatches } from '../store/batch.ts'
import type { Database } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

type DhcpOptionsTable = Database['dhcp_options']

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateDhcpOptions.html */
const MAX_SERVERS = 4
const MAX_DOMAIN_NAME_LENGTH = 255
const NODE_TYPES: readonly string[] = ['1', '2', '4', '8']

/** CreateDhcpOptions: a set of options, which never changes; VPCs are given another one. */
export async function createDhcpOptions(
  { db, account, region, random, nowMs }: Context,
  input: CreateDhcpOptionsRequest,
): Promise<CreateDhcpOptionsResult> {
  const tags = parseTagSpecifications(input.TagSpecifications, ['dhcp-options']).get('dhcp-options') ?? []
  const options = parseOptions(input.DhcpConfigurations ?? [])
  const row: DhcpOptionsTable = {
    dhcp_options_id: newId(random, 'dopt'), account_id: account, created_ms: nowMs,
    doc: JSON.stringify({ isDefault: false, options } satisfies DhcpOptionsDoc),
  }
  await db.insertInto('dhcp_options').values(row).execute()
  await insertTags(db, account, 'dhcp-options', row.dhcp_options_id, tags)
  return { DhcpOptions: dhcpOptionsToWire(row, region, toWireTags(tags)) }
}

/**
 * The options of a call, checked. Several addresses may come as several values or in one, separated
 * by commas.
 *
 * @throws ApiError MissingParameter, InvalidParameterValue; UnsupportedOperation for IPv6.
 */
function parseOptions(configurations: readonly NewDhcpConfiguration[]): DhcpOption[] {
  if (configurations.length === 0) throw missingParameter('dhcpConfigurationSet')
  const options = new Map<DhcpOptionKey, string[]>()
  for (const { Key: key, Values: given = [] } of configurations) {
    if (!key) throw missingParameter('name')
    if (key === 'ipv6-address-preferred-lease-time') throw unsupportedParameter(key)
    if (!isOptionKey(key)) throw invalidValue('name', key, 'Unknown DHCP option')
    if (options.has(key)) throw invalidValue('name', key, 'The same DHCP option may not be specified more than once')
    const values = given.filter((value) => value !== '')
    if (values.length === 0) throw missingParameter('value')
    options.set(key, CHECKS[key](values))
  }
  return [...options].map(([key, values]) => ({ key, values }))
}

const CHECKS: Record<DhcpOptionKey, (values: string[]) => string[]> = {
  'domain-name': (values) => onlyOne(values, isDomainName),
  'domain-name-servers': (values) => servers('domain-name-servers', values, AMAZON_PROVIDED_DNS),
  'ntp-servers': (values) => servers('ntp-servers', values),
  'netbios-name-servers': (values) => servers('netbios-name-servers', values),
  'netbios-node-type': (values) => onlyOne(values, (value) => NODE_TYPES.includes(value), 'Valid values are: 1, 2, 4, 8.'),
}

function isOptionKey(key: string): key is DhcpOptionKey {
  return Object.hasOwn(CHECKS, key)
}

/** Some systems take several names, separated by spaces. */
function isDomainName(value: string): boolean {
  return value.length <= MAX_DOMAIN_NAME_LENGTH && /^[\w-]+(\.[\w-]+)*\.?( [\w-]+(\.[\w-]+)*\.?)*$/.test(value)
}

function onlyOne(values: string[], isValid: (value: string) => boolean, hint = ''): string[] {
  if (values.length > 1) throw invalidValue('value', values.join(','), 'Only one value may be specified for this DHCP option')
  for (const value of values) if (!isValid(value)) throw invalidValue('value', value, hint)
  return values
}

function servers(key: DhcpOptionKey, given: string[], word?: string): string[] {
  const values = given.flatMap((value) => value.split(',')).map((value) => value.trim())
  for (const value of values) {
    if (value.includes(':')) throw unsupportedParameter(`${key} with an IPv6 address`)
    if (value !== word && parseIpv4(value) === undefined) throw invalidValue('value', value, 'Not a valid IPv4 address')
  }
  if (values.length > MAX_SERVERS) {
    throw invalidValue('value', values.join(','), `No more than ${MAX_SERVERS} servers may be specified`)
  }
  return values
}

/** DescribeDhcpOptions: those named, or all of the account, oldest first. */
export async function describeDhcpOptions(
  { db, account, region }: Context,
  input: DescribeDhcpOptionsRequest,
): Promise<DescribeDhcpOptionsResult> {
  const ids = input.DhcpOptionsIds ?? []
  for (const id of ids) checkId(id)
  const query = db.selectFrom('dhcp_options').selectAll().where('account_id', '=', account)
  const rows = ids.length === 0
    ? await query.execute()
    : await inBatches(ids, (batch) => query.where('dhcp_options_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.dhcpOptions, ids, new Set(rows.map((row) => row.dhcp_options_id)))
  const tags = await tagsOf(db, rows.map((row) => row.dhcp_options_id))
  const matches = compileFilters<DhcpOptionsTable>(
    input.Filters,
    {
      'dhcp-options-id': (row) => row.dhcp_options_id,
      key: (row) => dhcpOptionsOf(row, region).map((option) => option.key),
      value: (row) => dhcpOptionsOf(row, region).flatMap((option) => option.values),
      'owner-id': (row) => row.account_id,
    },
    (row) => tags.get(row.dhcp_options_id) ?? [],
  )
  const { page, nextToken } = paginate(rows.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, max: 1000,
    keyOf: (row) => timeKey(row.created_ms, row.dhcp_options_id), operation: 'DescribeDhcpOptions',
  })
  return {
    DhcpOptions: page.map((row) => dhcpOptionsToWire(row, region, toWireTags(tags.get(row.dhcp_options_id)))),
    NextToken: nextToken,
  }
}

/** DeleteDhcpOptions: a set that no VPC has. The next VPC gets a new default set when that one is gone. */
export async function deleteDhcpOptions(
  { db, account }: Context,
  input: DeleteDhcpOptionsRequest,
): Promise<Record<string, never>> {
  const id = input.DhcpOptionsId
  if (!id) throw missingParameter('dhcpOptionsId')
  checkId(id)
  const row = await db
    .selectFrom('dhcp_options').select('dhcp_options_id')
    .where('account_id', '=', account).where('dhcp_options_id', '=', id).executeTakeFirst()
  // This call alone spells code and noun so.
  if (!row) throw new ApiError('InvalidDhcpOptionsID.NotFound', `The dhcpOptions ID '${id}' does not exist`)
  const vpcs = await db.selectFrom('vpcs').select('doc').where('account_id', '=', account).execute()
  if (vpcs.some((vpc) => vpcDoc(vpc).dhcpOptionsId === id)) {
    throw new ApiError('DependencyViolation', `The dhcpOptions '${id}' has dependencies and cannot be deleted.`)
  }
  await deleteTagsOf(db, [id])
  await db.deleteFrom('dhcp_options').where('dhcp_options_id', '=', id).execute()
  return {}
}

/**
 * AssociateDhcpOptions: gives the VPC a set of options, or with 'default' none. Guests take the new
 * ones when they renew their lease.
 */
export async function associateDhcpOptions(
  { db, account }: Context,
  input: AssociateDhcpOptionsRequest,
): Promise<Record<string, never>> {
  const { DhcpOptionsId: id, VpcId: vpcId } = input
  if (!id) throw missingParameter('dhcpOptionsId')
  if (!vpcId) throw missingParameter('vpcId')
  checkIds(RESOURCE_KINDS.vpc, [vpcId])
  if (id !== NO_DHCP_OPTIONS) {
    checkId(id)
    const row = await db
      .selectFrom('dhcp_options').select('dhcp_options_id')
      .where('account_id', '=', account).where('dhcp_options_id', '=', id).executeTakeFirst()
    requireAll(RESOURCE_KINDS.dhcpOptions, [id], new Set(row ? [id] : []))
  }
  const vpc = await db
    .selectFrom('vpcs').select(['vpc_id', 'doc']).where('account_id', '=', account).where('vpc_id', '=', vpcId).executeTakeFirst()
  requireAll(RESOURCE_KINDS.vpc, [vpcId], new Set(vpc ? [vpcId] : []))
  if (!vpc) return {}
  await db
    .updateTable('vpcs').set({ doc: JSON.stringify({ ...vpcDoc(vpc), dhcpOptionsId: id }) })
    .where('account_id', '=', account).where('vpc_id', '=', vpcId).execute()
  return {}
}

/** @throws ApiError InvalidDhcpOptionsId.Malformed, in the words of its own that EC2 has for it. */
function checkId(id: string): void {
  if (isWellFormedId('dopt', id)) return
  throw new ApiError(RESOURCE_KINDS.dhcpOptions.malformedCode, `The dhcp-options ID '${id}' is malformed`)
}
