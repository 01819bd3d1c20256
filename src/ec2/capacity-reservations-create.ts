import type { CreateCapacityReservationRequest, CreateCapacityReservationResult } from '@aws-sdk/client-ec2'
import { instanceType, suggestType } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { capacityReservationDoc, wakeReservation, type CapacityReservationDoc } from '../model/capacity-reservation.ts'
import { addSlots } from '../model/capacity-reservation-room.ts'
import { ANYWHERE, type PlacementWish } from '../model/placement.ts'
import { wakeMarketOfRoom } from '../model/spot-market.ts'
import { howToHeal } from '../model/zone.ts'
import { insertRow } from '../store/prepared.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import { adoptMatching } from './capacity-reservation-matches.ts'
import { forgetEndedReservations, loadReservationToWire } from './capacity-reservation-rows.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { chosenZone } from './create-subnet.ts'
import { takePlaces } from './launch-placement.ts'
import { checkEnum, invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { canBeEbsOptimized } from './run-instances-options.ts'
import { sizeOf } from './run-instances-input.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'
import { isZoneUp } from './zone-available.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateCapacityReservation.html */
export const MAX_COUNT = 1000

/**
 * CreateCapacityReservation: room for so many instances of a type, taken out of the hosts of a zone from now on. Where it is
 * open, instances that match and run already go on in it, as in EC2.
 *
 * @throws ApiError what `addRoom` throws; MissingParameter, InvalidParameterValue, InvalidParameterCombination.
 */
export async function createCapacityReservation(
  context: Context,
  input: CreateCapacityReservationRequest,
): Promise<CreateCapacityReservationResult> {
  await forgetEndedReservations(context)
  const tags = parseTagSpecifications(input.TagSpecifications, ['capacity-reservation']).get('capacity-reservation') ?? []
  const id = newId(context.random, 'cr')
  // First: by now the date that it was to end at may be over.
  const earlier = await claimToken(context, 'CreateCapacityReservation', input, id)
  if (earlier === undefined) {
    const row: CapacityReservationTable = {
      ...checkRequest(context, input), capacity_reservation_id: id, account_id: context.account, state: 'active', created_ms: context.nowMs,
    }
    await insertRow(context.db, 'capacity_reservations', { ...row })
    await addRoom(context, row, row.total)
    await insertTags(context.db, context.account, 'capacity-reservation', id, tags)
    await wakeReservation(context.db, row)
  }
  return { CapacityReservation: await loadReservationToWire(context, earlier ?? id) }
}

type Request = Omit<CapacityReservationTable, 'capacity_reservation_id' | 'account_id' | 'state' | 'created_ms'>

function checkRequest(context: Context, input: CreateCapacityReservationRequest): Request {
  refuseParameters(input, [
    'EphemeralStorage', 'OutpostArn', 'PlacementGroupArn', 'StartDate', 'CommitmentDuration', 'DeliveryPreference',
  ])
  const { InstanceType: type, InstancePlatform: platform } = input
  if (!type) throw missingParameter('InstanceType')
  const info = instanceType(type)
  if (!info) {
    const suggestion = suggestType(type)
    throw new ApiError(
      'InvalidParameterValue', `Invalid value '${type}' for InstanceType.${suggestion ? ` Did you mean '${suggestion}'?` : ''}`,
    )
  }
  if (!platform) throw missingParameter('InstancePlatform')
  const zone = chosenZone(context, input, 'Capacity reservations')
  if (zone === undefined) throw missingParameter('AvailabilityZone or AvailabilityZoneId')
  if (input.InstanceCount === undefined) throw missingParameter('InstanceCount')
  if (input.EbsOptimized === true && !canBeEbsOptimized(type)) {
    throw new ApiError('InvalidParameterCombination', `EBS-optimized instances are not supported for the instance type '${type}'.`)
  }
  const { vcpus, memoryMib } = sizeOf(type, info)
  return {
    zone, instance_type: type, total: checkCount(input.InstanceCount),
    match_criteria: checkEnum('InstanceMatchCriteria', input.InstanceMatchCriteria, ['open', 'targeted']) ?? 'open',
    end_ms: requestedEnd(context, input) ?? null,
    doc: JSON.stringify({
      platform: checkPlatform(platform), tenancy: checkEnum('Tenancy', input.Tenancy, ['default', 'dedicated']) ?? 'default',
      ebsOptimized: input.EbsOptimized ?? false, size: { vcpus, memoryMib }, endedMs: null,
    } satisfies CapacityReservationDoc),
  }
}

/** EC2's names of what it bills for; instances here are of the first. */
const PLATFORMS = [
  'Linux/UNIX', 'Red Hat Enterprise Linux', 'SUSE Linux', 'Windows', 'Windows with SQL Server', 'Windows with SQL Server Enterprise',
  'Windows with SQL Server Standard', 'Windows with SQL Server Web', 'Linux with SQL Server Standard', 'Linux with SQL Server Web',
  'Linux with SQL Server Enterprise', 'RHEL with SQL Server Standard', 'RHEL with SQL Server Enterprise', 'RHEL with SQL Server Web',
  'RHEL with HA', 'RHEL with HA and SQL Server Standard', 'RHEL with HA and SQL Server Enterprise', 'Ubuntu Pro',
] as const

function checkPlatform(asked: string): 'Linux/UNIX' {
  const platform = checkEnum('InstancePlatform', asked, PLATFORMS)
  if (platform === 'Linux/UNIX') return platform
  throw unsupportedParameter(`InstancePlatform=${asked}`)
}

/** Checks a number of instances. @throws ApiError InvalidParameterValue, in EC2's words. */
export function checkCount(count: number): number {
  if (Number.isSafeInteger(count) && count >= 1 && count <= MAX_COUNT) return count
  throw new ApiError(
    'InvalidParameterValue', `${count} is an invalid value for InstanceCount. InstanceCount must be between 1 and ${MAX_COUNT}.`,
  )
}

/**
 * When a reservation is to end; null for never, undefined where the call says nothing of it.
 *
 * @throws ApiError InvalidParameterCombination for a date without an end or the other way about, InvalidParameterValue.
 */
export function requestedEnd(
  { nowMs }: Pick<Context, 'nowMs'>,
  { EndDate: date, EndDateType: asked }: Pick<CreateCapacityReservationRequest, 'EndDate' | 'EndDateType'>,
): number | null | undefined {
  const type = checkEnum('EndDateType', asked, ['unlimited', 'limited']) ?? (date ? 'limited' : undefined)
  if (type === undefined) return undefined
  if (type === 'unlimited') {
    if (!date) return null
    throw new ApiError('InvalidParameterCombination', 'The parameter EndDate cannot be used with EndDateType unlimited.')
  }
  if (!date) throw new ApiError('InvalidParameterCombination', 'The parameter EndDate must be specified with EndDateType limited.')
  const endMs = date.getTime()
  if (!(endMs > nowMs)) throw invalidValue('EndDate', Number.isNaN(endMs) ? date : date.toISOString(), 'The date must be in the future.')
  return endMs
}

/**
 * Gives a reservation `count` places more: those of instances that match it and run already, else new ones. As a launch on demand
 * it takes that of spot instances where no other room is left; who is launched into it waits for them then, as on any host that
 * somebody is leaving.
 *
 * @throws ApiError InsufficientInstanceCapacity where there is not room for all, or the zone has failed; Unsupported where no
 *   host can boot instances of its type.
 */
export async function addRoom(context: Context, row: CapacityReservationTable, count: number): Promise<void> {
  if (!await isZoneUp(context, row.zone)) throw insufficientCapacity(howToHeal([row.zone]))
  const adopted = await adoptMatching(context, row, count)
  if (adopted < count) await reserveRoom(context, row, count - adopted)
  await wakeMarketOfRoom(context.db, context.nowMs)
}

async function reserveRoom(context: Context, row: CapacityReservationTable, count: number): Promise<void> {
  const { tenancy, size } = capacityReservationDoc(row)
  const { zone, instance_type: instanceType } = row
  const wish: PlacementWish = { ...ANYWHERE, tenancy, reservation: { preference: 'none', targetId: null } }
  try {
    const places = await takePlaces(context, {
      instanceType, zones: [zone], architecture: architectureOf(instanceType), ...size, minCount: count, maxCount: count, wish,
    })
    for (const { hostId, count: reserved } of places) await addSlots(context.db, row, { hostId, reserved, used: 0 })
  } catch (error) {
    if (!(error instanceof ApiError && error.code === 'InsufficientInstanceCapacity')) throw error
    throw insufficientCapacity(
      `${zone} has no room for ${count} more of ${instanceType}. Terminate or stop instances, or reserve for fewer; "hearth status" shows what is free.`)
  }
}

/** What images of instances of a type are for; i386 ones run where x86_64 ones do. */
function architectureOf(typeName: string): string {
  const [first = 'x86_64', ...others] = instanceType(typeName)?.ProcessorInfo?.SupportedArchitectures ?? []
  return others.includes('x86_64') ? 'x86_64' : first
}

/** EC2's sentence for reservations, with what helps here. */
function insufficientCapacity(remedy: string): ApiError {
  return new ApiError('InsufficientInstanceCapacity', `Insufficient capacity. [Hearth: ${remedy}]`)
}
