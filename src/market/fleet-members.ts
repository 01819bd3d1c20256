import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import type { SpotPrices } from '../ec2/spot-prices.ts'
import type { EngineDoc, FleetSpec } from '../model/fleet-spec.ts'
import { instanceDoc, STATE_REASONS } from '../model/instance.ts'
import { instanceStatuses } from '../model/instance-status-wire.ts'
import { loadOutages } from '../model/outage.ts'
import { findFleet } from '../model/fleet.ts'
import { wakeSpotRequest } from '../model/spot-request.ts'
import type { FleetTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { FleetMember } from './fleet-plan.ts'

/** A fleet in the transaction that looks at it. */
export interface FleetAtHand {
  row: FleetTable
  doc: EngineDoc
  members: FleetMember[]
}

/** What a member costs now, micro-dollars per hour. */
export function priceOf({ lifecycle, typeName, zone }: FleetMember, prices: SpotPrices): number {
  return (lifecycle === 'spot' ? prices.priceMicroUsd(typeName, zone) : undefined) ?? onDemandMicroUsd(typeName) ?? 0
}

/** The instances of a fleet that are not terminated. */
export async function loadMembers(db: Db, { fleetId, nowMs, spec }: { fleetId: string; nowMs: number; spec: FleetSpec }): Promise<FleetMember[]> {
  const rows = await db.selectFrom('instances').selectAll().where('fleet_id', '=', fleetId).where('state', '<>', 'terminated').orderBy('instance_id').execute()
  const outageOf = spec.replacesUnhealthy ? await loadOutages(db) : null
  return rows.map((row) => {
    const { spot, fleet, stateReason, stoppedByDown = false } = instanceDoc(row)
    const { interruption = null, rebalanceMs = null } = spot ?? {}
    const { SystemStatus: system, InstanceStatus: guest } = instanceStatuses(row, nowMs, outageOf?.(row))
    return {
      instanceId: row.instance_id, lifecycle: row.lifecycle === 'spot' ? 'spot' : 'on-demand', typeName: row.instance_type, zone: row.zone,
      state: row.state, weight: fleet?.weight ?? 1, launchedMs: row.launch_ms,
      isAtRisk: rebalanceMs !== null || interruption !== null,
      notice: interruption === null ? null : interruption.cause === 'fleet-excess' ? 'of-fleet' : 'of-market',
      rests: row.state !== 'stopped' ? null : stoppedByDown ? 'by-down' : stateReason?.code === STATE_REASONS.spotShutdown.code ? 'by-interruption' : null,
      isUnhealthy: outageOf !== null && (system.Status === 'impaired' || guest.Status === 'impaired'),
    }
  })
}

/**
 * Whether a fleet wants a member back that was stopped by an interruption: one that is maintained has most likely launched another one
 * instead, and would have to end one of them.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/stop-spot-instances.html
 */
export async function wantsBack(db: Db, fleetId: string): Promise<boolean> {
  const row = await findFleet(db, fleetId)
  if (row?.type !== 'maintain' || !['submitted', 'active', 'modifying'].includes(row.state)) return true
  const { spec } = JSON.parse(row.doc) as EngineDoc
  const living = await db
    .selectFrom('instances').select('doc').where('fleet_id', '=', fleetId).where('lifecycle', '=', 'spot').where('state', 'in', ['pending', 'running']).execute()
  return living.reduce((units, each) => units + (instanceDoc(each).fleet?.weight ?? 1), 0) < spec.target.spot
}

/** Has the market look again at the stopped members of a fleet that has too few: they may come back now. */
export async function wakeStoppedMembers(db: Db, fleetId: string, nowMs: number): Promise<void> {
  const stopped = await db.selectFrom('spot_requests').select('request_id').where('fleet_id', '=', fleetId).where('state', '=', 'disabled').execute()
  for (const { request_id: id } of stopped) await wakeSpotRequest(db, id, nowMs)
}
