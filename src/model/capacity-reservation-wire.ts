import type { CapacityReservation, Tag } from '@aws-sdk/client-ec2'
import type { CapacityReservationTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'
import { capacityReservationDoc, stateOfReservation } from './capacity-reservation.ts'
import { zoneIdOf } from './zone.ts'

/** What the wire shows of a reservation beside its own row. */
export interface ReservationRelated {
  region: string
  nowMs: number
  /** Instances in it. */
  used: number
  tags: Tag[]
}

/** A capacity reservation as DescribeCapacityReservations shows it. */
export function capacityReservationToWire(row: CapacityReservationTable, { region, nowMs, used, tags }: ReservationRelated): CapacityReservation {
  const { platform, tenancy, ebsOptimized } = capacityReservationDoc(row)
  const state = stateOfReservation(row, nowMs)
  const isActive = state === 'active'
  return {
    CapacityReservationId: row.capacity_reservation_id,
    CapacityReservationArn: ec2Arn(region, row.account_id, 'capacity-reservation', row.capacity_reservation_id),
    OwnerId: row.account_id,
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    InstanceType: row.instance_type,
    InstancePlatform: platform,
    Tenancy: tenancy,
    TotalInstanceCount: row.total,
    AvailableInstanceCount: isActive ? row.total - used : 0,
    EbsOptimized: ebsOptimized,
    EphemeralStorage: false,
    State: state,
    StartDate: new Date(row.created_ms),
    CreateDate: new Date(row.created_ms),
    EndDate: row.end_ms === null ? undefined : new Date(row.end_ms),
    EndDateType: row.end_ms === null ? 'unlimited' : 'limited',
    InstanceMatchCriteria: row.match_criteria,
    ReservationType: 'default',
    CapacityAllocations: isActive && used > 0 ? [{ AllocationType: 'used', Count: used }] : [],
    Interruptible: false,
    Tags: tags,
  }
}
