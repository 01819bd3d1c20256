import type { Generated } from 'kysely'

/**
 * One request for one Spot Instance (sir-…), whichever call made it: RunInstances, RequestSpotInstances or a fleet. What changes it
 * goes through model/spot-request.ts, which tells the market.
 */
export interface SpotRequestTable {
  request_id: string
  account_id: string
  state: 'open' | 'active' | 'disabled' | 'closed' | 'cancelled' | 'failed'
  /** One of SPOT_STATUS_CODES. */
  status_code: string
  type: 'one-time' | 'persistent'
  instance_type: string
  /** The zone that was asked for; null for whichever will do. */
  zone: string | null
  /** The most that its user pays, micro-dollars per hour; and that as parts per million of the type's price on demand. */
  max_price_micro_usd: number
  bid_ppm: number
  /** The instance that fulfils it, or did last. */
  instance_id: string | null
  launch_group: string | null
  az_group: string | null
  fleet_id: string | null
  valid_from_ms: number | null
  valid_until_ms: number | null
  created_ms: number
  /** When state or status were changed last. */
  status_ms: number
  doc: string
}

/** The market of a region: one row, see SpotMarketDoc. */
export interface SpotMarketTable {
  region: string
  doc: string
}

/** What of a zone's market is in force. */
export interface SpotZoneTable {
  zone: string
  /** What own demand makes of the price, parts per million of the price on demand; 0 where nobody has to be kept out. */
  clearing_ppm: number
  /** By `hearth market set-supply`: the most of the zone that spot instances may have, parts per million; null for what is free. */
  supply_cap_ppm: number | null
  updated_ms: number
  doc: string
}

/** Every change of `clearing_ppm`, kept as long as prices are shown. */
export interface SpotClearingTable {
  zone: string
  at_ms: number
  clearing_ppm: number
}

/** By `hearth market set-price`: a type's price in a zone from then on; null where it follows the market again. */
export interface SpotPinTable {
  zone: string
  instance_type: string
  at_ms: number
  price_micro_usd: number | null
}

/** What DescribeFleetHistory and DescribeSpotFleetRequestHistory tell. */
export interface FleetHistoryTable {
  fleet_id: string
  seq: number
  at_ms: number
  event_type: 'instanceChange' | 'fleetRequestChange' | 'error' | 'information'
  doc: string
}

/** An event as EventBridge would get it, written in the transaction that it tells of. */
export interface CloudEventTable {
  seq: Generated<number>
  account_id: string
  at_ms: number
  /** aws.ec2 */
  source: string
  /** EC2 Instance State-change Notification */
  detail_type: string
  /** JSON: a list of ARNs. */
  resources: string
  /** JSON: an object. */
  detail: string
}

/** Where events are delivered to. */
export interface EventTargetTable {
  name: string
  kind: 'webhook' | 'file'
  /** URL, or path of a file. */
  endpoint: string
  /** An event pattern of EventBridge, as JSON; null for all events. */
  pattern: string | null
  /** The last event that it has had, or that it does not want. */
  cursor_seq: number
  /** Failures in a row. */
  attempts: number
  created_ms: number
  doc: string
}

/** A stretch of time in which an instance was to be paid for. */
export interface UsageRunTable {
  instance_id: string
  from_ms: number
  /** Null while it goes on. */
  until_ms: number | null
  account_id: string
  zone: string
  instance_type: string
  lifecycle: 'on-demand' | 'spot'
  /** From then on its cost still follows from prices; before that it is written down, as all of it is where this is null. */
  unsealed_from_ms: number | null
  doc: string
}
