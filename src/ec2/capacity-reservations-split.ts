import type {
  CreateCapacityReservationBySplittingRequest, CreateCapacityReservationBySplittingResult, MoveCapacityReservationInstancesRequest,
  MoveCapacityReservationInstancesResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { capacityReservationDoc, wakeReservation } from '../model/capacity-reservation.ts'
import { endReservation, handOverInstances, handOverSlots } from '../model/capacity-reservation-room.ts'
import { instanceDoc, placementWish } from '../model/instance.ts'
import { insertRow } from '../store/prepared.ts'
import type { CapacityReservationTable, InstanceTable } from '../store/schema.ts'
import { findReservationToWire, forgetEndedReservations, loadReservationToWire, requireActiveReservation, usedOf } from './capacity-reservation-rows.ts'
import { checkCount } from './capacity-reservations-create.ts'
import { change } from './capacity-reservations-modify.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { invalidValue, missingParameter } from './parameters.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'

/**
 * CreateCapacityReservationBySplitting: some of the places of a reservation become one of their own, alike but for its tags;
 * free ones first, then those of instances.
 *
 * @throws ApiError InvalidParameterValue for all of it or more, or for more than can be moved.
 */
export async function createCapacityReservationBySplitting(
  context: Context,
  input: CreateCapacityReservationBySplittingRequest,
): Promise<CreateCapacityReservationBySplittingResult> {
  const { db, account, nowMs } = context
  await forgetEndedReservations(context)
  const tags = parseTagSpecifications(input.TagSpecifications, ['capacity-reservation']).get('capacity-reservation') ?? []
  const count = requiredCount(input)
  const id = newId(context.random, 'cr')
  const earlier = await claimToken(context, 'CreateCapacityReservationBySplitting', input, id)
  if (earlier === undefined) {
    const source = await requireActiveReservation(context, input.SourceCapacityReservationId, 'SourceCapacityReservationId')
    if (count >= source.total) throw invalidValue('InstanceCount', count, `The source is for ${source.total} instances.`)
    const row = { ...source, capacity_reservation_id: id, total: count, created_ms: nowMs }
    await insertRow(db, 'capacity_reservations', row)
    await handOver(context, source, row, count)
    await change(context, source, { total: source.total - count })
    await insertTags(db, account, 'capacity-reservation', id, tags)
    await wakeReservation(db, row)
  }
  return {
    // When the call is repeated, the source may have been forgotten.
    SourceCapacityReservation: await findReservationToWire(context, input.SourceCapacityReservationId ?? ''),
    DestinationCapacityReservation: await loadReservationToWire(context, earlier ?? id), InstanceCount: count,
  }
}

/**
 * MoveCapacityReservationInstances: places of one reservation become another's, free ones first, then those of instances. One
 * that has none left is cancelled, as in EC2.
 *
 * @throws ApiError InvalidParameterCombination where the two differ in more than EC2 allows, InvalidParameterValue for more than
 *   can be moved.
 */
export async function moveCapacityReservationInstances(
  context: Context,
  input: MoveCapacityReservationInstancesRequest,
): Promise<MoveCapacityReservationInstancesResult> {
  const { db, nowMs } = context
  const count = requiredCount(input)
  const { SourceCapacityReservationId: sourceId = '', DestinationCapacityReservationId: destinationId = '' } = input
  const earlier = await claimToken(context, 'MoveCapacityReservationInstances', input, destinationId)
  if (earlier === undefined) {
    const source = await requireActiveReservation(context, sourceId, 'SourceCapacityReservationId')
    const destination = await requireActiveReservation(context, destinationId, 'DestinationCapacityReservationId')
    checkAlike(source, destination)
    await handOver(context, source, destination, count)
    await change(context, destination, { total: destination.total + count })
    await wakeReservation(db, destination)
    if (count === source.total) await endReservation(db, await change(context, source, { total: 0 }), 'cancelled', nowMs)
    else await change(context, source, { total: source.total - count })
  }
  return {
    // When the call is repeated, an emptied source may have been forgotten.
    SourceCapacityReservation: await findReservationToWire(context, sourceId),
    DestinationCapacityReservation: await loadReservationToWire(context, destinationId), InstanceCount: count,
  }
}

function requiredCount({ InstanceCount: count }: { InstanceCount?: number | undefined }): number {
  if (count === undefined) throw missingParameter('InstanceCount')
  return checkCount(count)
}

/**
 * Hands `count` places over: free ones, and where those are too few, some with the instances in them, as far as both are open
 * and the instances mean none in particular.
 */
async function handOver(
  context: Context,
  source: CapacityReservationTable,
  destination: CapacityReservationTable,
  count: number,
): Promise<void> {
  const { db } = context
  if (count > source.total) throw invalidValue('InstanceCount', count, `The source is for ${source.total} instances.`)
  const used = (await usedOf(context, [source.capacity_reservation_id])).get(source.capacity_reservation_id) ?? 0
  const free = Math.min(count, source.total - used)
  const areOpen = source.match_criteria === 'open' && destination.match_criteria === 'open'
  const instances = areOpen && count > free ? await movable(context, source, count - free) : []
  if (free + instances.length < count) {
    throw invalidValue('InstanceCount', count, `${source.total - used} places of the source are free, and no other can be moved.`)
  }
  await handOverSlots(db, source, destination, free)
  await handOverInstances(db, source, destination, instances)
}

/** Instances in an open reservation that came there by themselves, the oldest first. */
async function movable({ db }: Context, source: CapacityReservationTable, count: number): Promise<InstanceTable[]> {
  const rows = await db
    .selectFrom('instances').selectAll()
    .where('capacity_reservation_id', '=', source.capacity_reservation_id).where('holds_capacity', '=', 1)
    .orderBy('launch_ms').orderBy('instance_id').execute()
  return rows.filter((row) => {
    const { preference, targetId } = placementWish(instanceDoc(row)).reservation
    return preference === 'open' && targetId === null
  }).slice(0, count)
}

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-reservations-move.html */
function checkAlike(source: CapacityReservationTable, destination: CapacityReservationTable): void {
  const signature = (row: CapacityReservationTable) => {
    const { platform, tenancy } = capacityReservationDoc(row)
    return JSON.stringify([row.instance_type, row.zone, row.end_ms, platform, tenancy])
  }
  if (source.capacity_reservation_id !== destination.capacity_reservation_id && signature(source) === signature(destination)) return
  throw new ApiError(
    'InvalidParameterCombination',
    'The source and the destination must be two capacity reservations of the same instance type, platform, Availability Zone, ' +
      'tenancy and end time.',
  )
}
