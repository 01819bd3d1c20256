import type { InstanceTable } from '../store/schema.ts'

/** What a launch asks of where its instances are. Kept with each of them, since every start looks for a place anew. */
export interface PlacementWish {
  /** `dedicated`: on hosts that have no instances of other accounts; `host`: on a dedicated host of the account. */
  tenancy: 'default' | 'dedicated' | 'host'
  placementGroupId: string | null
  /** Of a partition group, from 1; null leaves it to the scheduler, once: a start later keeps what it chose. */
  partitionNumber: number | null
  /**
   * With tenancy `host`: the one to be launched on, and later the one that it was on last; null for any of the account with
   * auto-placement.
   */
  dedicatedHostId: string | null
  /** Whether that one was named since the last start: the next goes there or fails, whatever the affinity. */
  isHostNamed?: boolean | undefined
  /** `host`: a start later goes to the same dedicated host or fails. */
  affinity: 'default' | 'host'
  reservation: ReservationWish
}

/** Which capacity reservations may be used. */
export interface ReservationWish {
  preference: 'open' | 'none' | 'capacity-reservations-only'
  /** One that is meant, open or targeted. */
  targetId: string | null
}

/** What a launch asks for that says nothing of it. */
export const ANYWHERE: PlacementWish = {
  tenancy: 'default', placementGroupId: null, partitionNumber: null, dedicatedHostId: null, affinity: 'default',
  reservation: { preference: 'open', targetId: null },
}

/** Where one instance is: its host, and whose room there it takes. */
export type Place = Pick<InstanceTable, 'host_id' | 'node_id' | 'dedicated_host_id' | 'capacity_reservation_id' | 'partition_number'>

/** What an instance takes of its place. */
export interface Size {
  vcpus: number
  memoryMib: number
}
