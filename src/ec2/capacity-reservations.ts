import type {
  CancelCapacityReservationRequest, CancelCapacityReservationResult, CapacityReservation, DescribeCapacityReservationsRequest,
  DescribeCapacityReservationsResult, GetCapacityReservationUsageRequest, GetCapacityReservationUsageResult, InstanceUsage, _InstanceType,
} from '@aws-sdk/client-ec2'
import { endReservation } from '../model/capacity-reservation-room.ts'
import { loadReservationsToWire, loadReservationToWire, requireActiveReservation, requireReservation, shownReservations } from './capacity-reservation-rows.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, withoutValue, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { fromWireTags } from './tags.ts'

const MAX_PAGE = 1000

const FILTERS: FilterFields<CapacityReservation> = {
  'availability-zone': (each) => each.AvailabilityZone,
  'end-date': (each) => text(each.EndDate),
  'end-date-type': (each) => each.EndDateType,
  'instance-match-criteria': (each) => each.InstanceMatchCriteria,
  'instance-platform': (each) => each.InstancePlatform,
  'instance-type': (each) => each.InstanceType,
  'owner-id': (each) => each.OwnerId,
  'start-date': (each) => text(each.StartDate),
  state: (each) => each.State,
  tenancy: (each) => each.Tenancy,
  ...withoutValue('outpost-arn', 'placement-group-arn'),
}

/** DescribeCapacityReservations: those named, or all of the account, oldest first; those that have ended for an hour. */
export async function describeCapacityReservations(
  context: Context,
  input: DescribeCapacityReservationsRequest,
): Promise<DescribeCapacityReservationsResult> {
  const ids = input.CapacityReservationIds ?? []
  checkIds(RESOURCE_KINDS.capacityReservation, ids)
  const rows = await shownReservations(context, ids)
  if (ids.length > 0) requireAll(RESOURCE_KINDS.capacityReservation, ids, new Set(rows.map((row) => row.capacity_reservation_id)))
  const matches = compileFilters(input.Filters, FILTERS, (each) => fromWireTags(each.Tags))
  const all = await loadReservationsToWire(context, rows)
  const { page, nextToken } = paginate(all.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: MAX_PAGE, operation: 'DescribeCapacityReservations',
    keyOf: (each) => timeKey(each.CreateDate?.getTime() ?? 0, each.CapacityReservationId ?? ''),
  })
  return { CapacityReservations: page, NextToken: nextToken }
}

/**
 * CancelCapacityReservation: its room is everybody's again. Instances in it go on, outside of it.
 *
 * @throws ApiError InvalidCapacityReservationState for one that has ended.
 */
export async function cancelCapacityReservation(
  context: Context,
  input: CancelCapacityReservationRequest,
): Promise<CancelCapacityReservationResult> {
  const row = await requireActiveReservation(context, input.CapacityReservationId)
  await endReservation(context.db, row, 'cancelled', context.nowMs)
  return { Return: true }
}

/** GetCapacityReservationUsage: how many instances of which account are in it. */
export async function getCapacityReservationUsage(
  context: Context,
  input: GetCapacityReservationUsageRequest,
): Promise<GetCapacityReservationUsageResult> {
  const row = await requireReservation(context, input.CapacityReservationId)
  const wire = await loadReservationToWire(context, row.capacity_reservation_id)
  const used = wire.CapacityAllocations?.find((each) => each.AllocationType === 'used')?.Count ?? 0
  const usages: InstanceUsage[] = used === 0 ? [] : [{ AccountId: row.account_id, UsedInstanceCount: used }]
  const { page, nextToken } = paginate(usages, {
    maxResults: input.MaxResults, nextToken: input.NextToken, min: 1, max: MAX_PAGE, operation: 'GetCapacityReservationUsage',
    keyOf: (each) => each.AccountId ?? '',
  })
  return {
    CapacityReservationId: wire.CapacityReservationId, InstanceType: wire.InstanceType as _InstanceType | undefined,
    TotalInstanceCount: wire.TotalInstanceCount, AvailableInstanceCount: wire.AvailableInstanceCount, State: wire.State,
    Interruptible: false, InstanceUsages: page, NextToken: nextToken,
  }
}
