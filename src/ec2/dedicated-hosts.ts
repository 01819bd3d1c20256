import type {
  DescribeHostsRequest, DescribeHostsResult, Host, ModifyHostsRequest, ModifyHostsResult, ReleaseHostsRequest, ReleaseHostsResult,
  UnsuccessfulItem,
} from '@aws-sdk/client-ec2'
import { giveHostRoomBack } from '../model/capacity.ts'
import { dedicatedHostDoc, roomFor, type DedicatedHostDoc } from '../model/dedicated-host.ts'
import { wakeMarketOfRoom } from '../model/spot-market.ts'
import type { DedicatedHostTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { loadDedicatedHostsToWire, shownDedicatedHosts } from './dedicated-host-rows.ts'
import { refuseHostOptions, requestedTypes, type SupportedTypes } from './dedicated-hosts-allocate.ts'
import { compileFilters, withoutValue, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { checkEnum, missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags } from './tags.ts'

const MAX_PAGE = 500

const FILTERS: FilterFields<Host> = {
  'auto-placement': (host) => host.AutoPlacement,
  'availability-zone': (host) => host.AvailabilityZone,
  'client-token': (host) => host.ClientToken,
  'instance-type': (host) => host.HostProperties?.InstanceType,
  state: (host) => host.State,
  ...withoutValue('host-reservation-id'),
}

/** DescribeHosts: the dedicated hosts named, or all of the account, oldest first; released ones for an hour. */
export async function describeHosts(context: Context, input: DescribeHostsRequest): Promise<DescribeHostsResult> {
  const ids = input.HostIds ?? []
  refuseIdsWithMaxResults(ids, input.MaxResults, 'hostIdSet')
  checkIds(RESOURCE_KINDS.dedicatedHost, ids)
  const rows = await shownDedicatedHosts(context, ids)
  if (ids.length > 0) requireAll(RESOURCE_KINDS.dedicatedHost, ids, new Set(rows.map((row) => row.dedicated_host_id)))
  const matches = compileFilters(input.Filter, FILTERS, (host) => fromWireTags(host.Tags))
  const all = await loadDedicatedHostsToWire(context, rows)
  const { page, nextToken } = paginate(all.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, max: MAX_PAGE, operation: 'DescribeHosts',
    keyOf: (host) => timeKey(host.AllocationTime?.getTime() ?? 0, host.HostId ?? ''),
  })
  return { Hosts: page, NextToken: nextToken }
}

/** Why one of the hosts of a call is left as it is. */
interface Failure {
  code: string
  message: string
}

/** Applies `change` to every host named, and tells for which of them it failed. A released one is as good as none. */
async function changeEach(
  context: Context,
  ids: string[] | undefined,
  change: (row: DedicatedHostTable) => Promise<Failure | undefined>,
): Promise<{ Successful: string[]; Unsuccessful: UnsuccessfulItem[] }> {
  if (!ids || ids.length === 0) throw missingParameter('HostId')
  checkIds(RESOURCE_KINDS.dedicatedHost, ids)
  const rows = new Map((await shownDedicatedHosts(context, ids)).map((row) => [row.dedicated_host_id, row]))
  const result: { Successful: string[]; Unsuccessful: UnsuccessfulItem[] } = { Successful: [], Unsuccessful: [] }
  for (const id of new Set(ids)) {
    const row = rows.get(id)
    const failure = row?.state === 'available' ? await change(row) : notFound(id)
    if (failure) result.Unsuccessful.push({ ResourceId: id, Error: { Code: failure.code, Message: failure.message } })
    else result.Successful.push(id)
  }
  return result
}

function notFound(id: string): Failure {
  const { code, message } = notFoundError(RESOURCE_KINDS.dedicatedHost, [id])
  return { code: `Client.${code}`, message }
}

function occupied(id: string, verb: 'released' | 'modified'): Failure {
  return { code: 'Client.InvalidHost.Occupied', message: `Dedicated host '${id}' cannot be ${verb} as it is occupied.` }
}

function isOccupied(row: DedicatedHostTable): boolean {
  return row.vcpus_used > 0 || row.memory_mib_used > 0
}

/** ReleaseHosts: the room of those that no instance is on is everybody's again; the others are told of, and stay. */
export async function releaseHosts(context: Context, input: ReleaseHostsRequest): Promise<ReleaseHostsResult> {
  const { db, nowMs } = context
  const result = await changeEach(context, input.HostIds, async (row) => {
    if (isOccupied(row)) return occupied(row.dedicated_host_id, 'released')
    await db
      .updateTable('dedicated_hosts').set({ state: 'released', released_ms: nowMs })
      .where('dedicated_host_id', '=', row.dedicated_host_id).execute()
    await giveHostRoomBack(db, row.host_id, { vcpus: row.vcpus, memoryMib: row.memory_mib })
    return undefined
  })
  await wakeMarketOfRoom(db, nowMs)
  return result
}

/**
 * ModifyHosts: whether they take instances that name no host, and which types of their family may run there. Types can be
 * changed only while no instance is on it, as in EC2; its size stays.
 *
 * @throws ApiError MissingParameter for a change of nothing, InvalidParameterCombination, InvalidHostConfiguration.
 */
export async function modifyHosts(context: Context, input: ModifyHostsRequest): Promise<ModifyHostsResult> {
  refuseHostOptions(input)
  const autoPlacement = checkEnum('AutoPlacement', input.AutoPlacement, ['on', 'off'])
  const types = input.InstanceType || input.InstanceFamily ? requestedTypes(input) : undefined
  if (autoPlacement === undefined && types === undefined && !input.HostRecovery && !input.HostMaintenance) throw missingParameter('AutoPlacement')
  return changeEach(context, input.HostIds, async (row) => {
    const doc = dedicatedHostDoc(row)
    const failure = types && typesFailure(row, doc, types)
    if (failure) return failure
    const changed: DedicatedHostDoc = {
      ...doc, autoPlacement: autoPlacement ?? doc.autoPlacement, ...(types ? { instanceType: types.only?.name ?? null } : {}),
    }
    await context.db
      .updateTable('dedicated_hosts').set({ doc: JSON.stringify(changed) }).where('dedicated_host_id', '=', row.dedicated_host_id).execute()
    return undefined
  })
}

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/modify-host-support.html */
function typesFailure(row: DedicatedHostTable, doc: DedicatedHostDoc, { family, only, all }: SupportedTypes): Failure | undefined {
  if ((only?.name ?? null) === doc.instanceType && family === doc.instanceFamily) return undefined
  const unfit = (why: string): Failure =>
    ({ code: 'Client.InvalidHostConfiguration', message: `Dedicated host '${row.dedicated_host_id}' ${why}.` })
  if (family !== doc.instanceFamily) return unfit(`is of the instance family ${doc.instanceFamily}, which cannot be changed`)
  if (isOccupied(row)) return occupied(row.dedicated_host_id, 'modified')
  const least = only ?? all[0]
  const size = { vcpus: row.vcpus, memoryMib: row.memory_mib }
  return least && roomFor(size, least) > 0 ? undefined : unfit(`is too small for ${only?.name ?? family}`)
}
