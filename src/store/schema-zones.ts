/** What somebody has done to a zone. One without a row has always been available. */
export interface ZoneTable {
  /** us-east-1a */
  zone: string
  /** `impaired`: its guests stand still; `unavailable`: it has no power. Either way its network is cut. */
  state: 'available' | 'impaired' | 'unavailable'
  /** Raised by every change of state; a host says in its own row which one it has put in force. */
  revision: number
  /** How often it has lost its power; no machine outlives that. */
  power_cuts: number
  /** Since when it is in that state. */
  since_ms: number
  doc: string
}

export interface PlacementGroupTable {
  group_id: string
  account_id: string
  name: string
  strategy: 'cluster' | 'spread' | 'partition'
  /** 0 but for partition groups. */
  partition_count: number
  created_ms: number
  doc: string
}

/** A host of its own that an account has allocated: a part of a host, taken out of what that can promise to others. */
export interface DedicatedHostTable {
  dedicated_host_id: string
  account_id: string
  /** The host that it is a part of, whose agent runs its instances. */
  host_id: string
  zone: string
  state: 'available' | 'released'
  /** What it can promise, all of it counted as used on the host; and what instances on it were promised. */
  vcpus: number
  memory_mib: number
  vcpus_used: number
  memory_mib_used: number
  created_ms: number
  released_ms: number | null
  doc: string
}

export interface CapacityReservationTable {
  capacity_reservation_id: string
  account_id: string
  zone: string
  instance_type: string
  state: 'active' | 'expired' | 'cancelled'
  /** For how many instances; the sum of what its hosts have reserved while it is active. */
  total: number
  match_criteria: 'open' | 'targeted'
  end_ms: number | null
  created_ms: number
  doc: string
}

/** What of a host a reservation holds, all of it counted as used on the host. */
export interface CapacityReservationHostTable {
  capacity_reservation_id: string
  host_id: string
  /** Instances that there is room for, and instances in it. */
  reserved: number
  used: number
}

export interface FleetTable {
  /** fleet-… or sfr-… */
  fleet_id: string
  /** Of CreateFleet, or of RequestSpotFleet. */
  kind: 'fleet' | 'spot-fleet'
  account_id: string
  state: string
  type: 'instant' | 'request' | 'maintain'
  client_token: string | null
  created_ms: number
  doc: string
}
