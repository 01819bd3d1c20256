import type { AllocateHostsRequest, AllocateHostsResult } from '@aws-sdk/client-ec2'
import { instanceType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { takeCapacity } from '../model/capacity.ts'
import { sizeOfDedicatedHost, type DedicatedHostDoc } from '../model/dedicated-host.ts'
import { familyOf, sizeOfType, typesOfFamily, type SizedType } from '../model/dedicated-host-types.ts'
import { ANYWHERE, type Size } from '../model/placement.ts'
import { wakeMarketOfRoom } from '../model/spot-market.ts'
import { howToHeal } from '../model/zone.ts'
import type { HostCapacity } from '../scheduler/place.ts'
import { preempt } from '../scheduler/preempt.ts'
import { insertRow } from '../store/prepared.ts'
import type { DedicatedHostTable, HostTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { chosenZone } from './create-subnet.ts'
import { forgetReleasedHosts } from './dedicated-host-rows.ts'
import { roomOf } from './launch-placement.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { insertTags, parseTagSpecifications, type TagInput } from './tags.ts'
import { loadSpotTenants, takeOver } from './take-over-room.ts'
import { isZoneUp } from './zone-available.ts'

/** More in one call are refused; EC2 has a quota instead. */
const MAX_QUANTITY = 100

/**
 * AllocateHosts: hosts of the account's own, each a part of a host of the zone that nobody else gets anything of.
 *
 * @throws ApiError InsufficientHostCapacity where one of them has no room, for all, or the zone has failed; InvalidHostConfiguration
 *   for what EC2 has no dedicated hosts of; MissingParameter, InvalidParameterCombination, InvalidParameterValue.
 */
export async function allocateHosts(context: Context, input: AllocateHostsRequest): Promise<AllocateHostsResult> {
  await forgetReleasedHosts(context)
  refuseParameters(input, ['AssetIds', 'OutpostArn'])
  if (input.CpuOptions?.AmdSevSnp !== undefined) throw unsupportedParameter('CpuOptions.AmdSevSnp')
  refuseHostOptions(input)
  const tags = parseTagSpecifications(input.TagSpecifications, ['dedicated-host']).get('dedicated-host') ?? []
  const zone = chosenZone(context, input, 'Dedicated Hosts')
  if (zone === undefined) throw missingParameter('AvailabilityZone or AvailabilityZoneId')
  const quantity = checkQuantity(input.Quantity)
  const supported = requestedTypes(input)
  const firstId = newId(context.random, 'h')
  const earlier = await claimToken(context, 'AllocateHosts', input, firstId)
  if (earlier !== undefined) return { HostIds: await allocatedWith(context, earlier) }
  const doc: DedicatedHostDoc = {
    instanceType: supported.only?.name ?? null, instanceFamily: supported.family, firstId, clientToken: input.ClientToken || null,
    autoPlacement: checkEnum('AutoPlacement', input.AutoPlacement, ['on', 'off']) ?? 'off',
  }
  const ids: string[] = []
  for (let each = 0; each < quantity; each++) {
    const id = each === 0 ? firstId : newId(context.random, 'h')
    await allocate(context, id, { zone, doc, supported, tags })
    ids.push(id)
  }
  await wakeMarketOfRoom(context.db, context.nowMs)
  return { HostIds: ids }
}

/** Recovery and maintenance of EC2 move instances to other hardware, of which a dedicated host has none here. */
export function refuseHostOptions(input: Pick<AllocateHostsRequest, 'HostRecovery' | 'HostMaintenance'>): void {
  for (const name of ['HostRecovery', 'HostMaintenance'] as const) {
    if (checkEnum(name, input[name], ['on', 'off']) === 'on') throw unsupportedParameter(`${name}=on`)
  }
}

function checkQuantity(quantity: number | undefined): number {
  if (quantity === undefined) throw missingParameter('Quantity')
  if (Number.isSafeInteger(quantity) && quantity >= 1 && quantity <= MAX_QUANTITY) return quantity
  throw invalidValue('Quantity', quantity, `It must be between 1 and ${MAX_QUANTITY}.`)
}

/** What may run on a dedicated host: one type, or all of a family, the smallest first. */
export interface SupportedTypes {
  family: string
  only: SizedType | null
  all: SizedType[]
}

/**
 * The type or the family that a call names; it must name one.
 *
 * @throws ApiError InvalidParameterCombination, MissingParameter, InvalidHostConfiguration.
 */
export function requestedTypes({ InstanceType: type, InstanceFamily: named }: Pick<AllocateHostsRequest, 'InstanceType' | 'InstanceFamily'>): SupportedTypes {
  if (type && named) {
    throw new ApiError('InvalidParameterCombination', 'You cannot specify InstanceType and InstanceFamily in the same request.')
  }
  if (!type && !named) throw missingParameter('InstanceType or InstanceFamily')
  const family = named || familyOf(type ?? '')
  const all = typesOfFamily(family)
  if (type && instanceType(type)?.DedicatedHostsSupported !== true) throw notSupported('type', type)
  if (all.length === 0) throw notSupported('family', family)
  return { family, only: type ? sizeOfType(type) : null, all }
}

function notSupported(what: 'type' | 'family', name: string): ApiError {
  return new ApiError('InvalidHostConfiguration', `The instance ${what} '${name}' is not supported.`)
}

/** What an earlier call with the same token allocated. */
async function allocatedWith({ db, account }: Context, firstId: string): Promise<string[]> {
  const first = await db.selectFrom('dedicated_hosts').select('created_ms').where('dedicated_host_id', '=', firstId).executeTakeFirst()
  const rows = await db
    .selectFrom('dedicated_hosts').selectAll().where('account_id', '=', account).where('created_ms', '=', first?.created_ms ?? 0)
    .orderBy('dedicated_host_id').execute()
  const ids = rows.filter((row) => (JSON.parse(row.doc) as DedicatedHostDoc).firstId === firstId).map((row) => row.dedicated_host_id)
  return ids.toSorted((a, b) => Number(b === firstId) - Number(a === firstId))
}

interface Allocation {
  zone: string
  doc: DedicatedHostDoc
  supported: SupportedTypes
  tags: TagInput[]
}

async function allocate(context: Context, id: string, { zone, doc, supported, tags }: Allocation): Promise<void> {
  const { db, account, nowMs } = context
  if (!await isZoneUp(context, zone)) throw insufficientHostCapacity(howToHeal([zone]))
  const found = await pickHost(context, zone, supported)
  const place = found && {
    host_id: found.host.host_id, node_id: found.host.node_id, dedicated_host_id: null, capacity_reservation_id: null, partition_number: null,
  }
  if (!found || !place || !await takeCapacity(db, place, found.size, 1)) {
    const what = supported.only?.name ?? supported.family
    throw insufficientHostCapacity(`No host of ${zone} has room for one of ${what}; "hearth status" shows what is free.`)
  }
  const row: DedicatedHostTable = {
    dedicated_host_id: id, account_id: account, host_id: found.host.host_id, zone, state: 'available', vcpus: found.size.vcpus,
    memory_mib: found.size.memoryMib, vcpus_used: 0, memory_mib_used: 0, created_ms: nowMs, released_ms: null, doc: JSON.stringify(doc),
  }
  await insertRow(db, 'dedicated_hosts', { ...row })
  await insertTags(db, account, 'dedicated-host', id, tags)
}

interface Part {
  host: HostTable
  size: Size
}

/**
 * The host of the zone with the most free memory that it can be a part of, and how large a part. Where none has room for one
 * instance, spot instances are told to go that are in the way of that, as for a launch on demand.
 */
async function pickHost(context: Context, zone: string, supported: SupportedTypes): Promise<Part | undefined> {
  const hosts = await hostsOf(context, zone)
  const found = emptiest(hosts, supported)
  if (found) return found
  const least = supported.only ?? supported.all[0]
  const room = least && preempt(hosts.map(toCapacity), {
    accountId: context.account, instanceType: least.name, zones: [zone], architecture: ANY_ARCHITECTURE, vcpus: least.vcpus,
    memoryMib: least.memoryMib, minCount: 1, maxCount: 1, wish: ANYWHERE, group: null, strategy: context.placement,
  }, await loadSpotTenants(context, [zone]))
  if (!room) return undefined
  await takeOver(context, room.victims)
  return emptiest(await hostsOf(context, zone), supported)
}

async function hostsOf({ db, region }: Context, zone: string): Promise<HostTable[]> {
  return db.selectFrom('hosts').selectAll().where('region', '=', region).where('zone', '=', zone).orderBy('host_id').execute()
}

/** What is launched there says of what architecture it is; room is room. */
const ANY_ARCHITECTURE = 'any'

/** Who else is on the host does not matter: nobody of them gets anything of the part. */
function toCapacity(host: HostTable): HostCapacity {
  return { ...roomOf(host), architectures: [ANY_ARCHITECTURE] }
}

function emptiest(hosts: readonly HostTable[], { only, all }: SupportedTypes): Part | undefined {
  const least = only ?? all[0]
  const family = all.at(-1)
  if (!least || !family) return undefined
  const able = hosts.flatMap((host) => {
    const size = sizeOfDedicatedHost({
      family, least, total: { vcpus: host.vcpus, memoryMib: host.memory_mib },
      free: { vcpus: host.vcpus - host.vcpus_used, memoryMib: host.memory_mib - host.memory_mib_used },
    })
    return size ? [{ host, size }] : []
  })
  const free = ({ host }: Part) => host.memory_mib - host.memory_mib_used
  return able.toSorted((a, b) => free(b) - free(a))[0]
}

function insufficientHostCapacity(why: string): ApiError {
  return new ApiError(
    'InsufficientHostCapacity',
    'There is not enough capacity to fulfill your Dedicated Host request. Reduce the number of Dedicated Hosts in your request, or ' +
      `wait for additional capacity to become available. (${why})`,
  )
}
