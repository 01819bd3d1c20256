import type { ModifyFleetRequest, ModifyFleetResult, TargetCapacitySpecificationRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { changeFleet, fleetDoc, moveFleet, wakeFleet, type FleetDoc } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import type { FleetSpec } from '../model/fleet-spec.ts'
import type { Context } from './context.ts'
import { checkConfigs, checkExcess, checkTarget, type FleetTarget } from './create-fleet-input.ts'
import { poolsOf, shownConfigs, sourcesOf } from './create-fleet-pools.ts'
import { requireFleet } from './fleet-rows.ts'
import { refuseParameters } from './parameters.ts'
import { loadSpotPrices } from './spot-prices.ts'

/**
 * ModifyFleet, of fleets of type `maintain` that are submitted or active: another target, other configurations, another policy for what is too much then. The
 * reconciler does what follows from it. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/modify-ec2-fleet.html
 *
 * @throws ApiError FleetNotInModifiableState, and what CreateFleet throws for the same parameters.
 */
export async function modifyFleet(context: Context, input: ModifyFleetRequest): Promise<ModifyFleetResult> {
  const { db, region, nowMs } = context
  const row = await requireFleet(context, input.FleetId)
  const doc = fleetDoc(row)
  if (row.type !== 'maintain' || doc.spec === null) {
    throw new ApiError('FleetNotInModifiableState', `Fleet Request: ${row.fleet_id} is not a modifiable fleet request type.`)
  }
  refuseParameters(input, ['Context'])
  const excess = checkExcess(input.ExcessCapacityTerminationPolicy)
  const target = input.TargetCapacitySpecification ? newTarget(input.TargetCapacitySpecification, doc.target) : undefined
  if (input.LaunchTemplateConfigs) checkConfigs(input.LaunchTemplateConfigs, 'maintain')
  const spec: FleetSpec = {
    ...doc.spec,
    ...(input.LaunchTemplateConfigs ? { sources: await sourcesOf(context, input.LaunchTemplateConfigs) } : {}),
    ...(target ? { target: { onDemand: target.OnDemandTargetCapacity, spot: target.SpotTargetCapacity, unitType: target.TargetCapacityUnitType ?? 'units' } } : {}),
    ...(excess ? { terminatesExcess: excess === 'termination' } : {}),
  }
  await poolsOf(context, spec, spec.target.spot > 0 ? await loadSpotPrices(db, region, nowMs) : null)
  const change: Partial<FleetDoc> = {
    spec, configs: shownConfigs(spec.sources), ...(target ? { target } : {}), progress: { ...doc.progress, activity: 'pending_fulfillment', backoff: null },
  }
  // One that has not begun yet goes on waiting for that.
  const hasBegun = row.state !== 'submitted'
  if (!hasBegun) await changeFleet(db, row, change)
  else if (!(await moveFleet(db, row, 'modifying', change))) {
    throw new ApiError('FleetNotInModifiableState', `Fleet Request: ${row.fleet_id} is in the state ${row.state} and cannot be modified.`)
  }
  await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: 'modify_in_progress' }, nowMs)
  if (!hasBegun) await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: 'modify_succeeded' }, nowMs)
  await wakeFleet(db, row.fleet_id, nowMs)
  return { Return: true }
}

/** A target as it is after a change: what the call leaves open is of the default type, and the other stays as far as that goes. */
function newTarget(asked: TargetCapacitySpecificationRequest, before: FleetDoc['target']): FleetTarget {
  const { OnDemandTargetCapacity: onDemand, SpotTargetCapacity: spot, TotalTargetCapacity: total = 0 } = asked
  const defaultType = asked.DefaultTargetCapacityType ?? before.DefaultTargetCapacityType
  const unitType = asked.TargetCapacityUnitType ?? before.TargetCapacityUnitType
  const kept = defaultType === 'spot'
    ? { OnDemandTargetCapacity: onDemand ?? Math.min(before.OnDemandTargetCapacity ?? 0, Math.max(0, total - (spot ?? 0))) }
    : { SpotTargetCapacity: spot ?? Math.min(before.SpotTargetCapacity ?? 0, Math.max(0, total - (onDemand ?? 0))) }
  return checkTarget({ ...asked, ...kept, DefaultTargetCapacityType: defaultType, TargetCapacityUnitType: unitType })
}
