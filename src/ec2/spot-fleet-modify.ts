import type { ModifySpotFleetRequestRequest, ModifySpotFleetRequestResponse } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { moveFleet, wakeFleet } from '../model/fleet.ts'
import { noteFleetEvent } from '../model/fleet-history.ts'
import type { FleetSpec } from '../model/fleet-spec.ts'
import { spotFleetDoc, type SpotFleetAsked } from '../model/spot-fleet.ts'
import type { Context } from './context.ts'
import { checkExcess, checkTargetNumbers, checkTemplates, invalidSpotFleet } from './spot-fleet-input.ts'
import { requireSpotFleet } from './spot-fleet-rows.ts'
import { checkSpotFleetPools, templateSources } from './spot-fleet-spec.ts'

/**
 * ModifySpotFleetRequest: of a fleet of type maintain that is active. It is `modifying` until the reconciler of fleets has seen it.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySpotFleetRequest.html
 *
 * @throws ApiError FleetNotInModifiableState, InvalidSpotFleetRequestConfig, InvalidParameterCombinationException.
 */
export async function modifySpotFleetRequest(
  context: Context,
  input: ModifySpotFleetRequestRequest,
): Promise<ModifySpotFleetRequestResponse> {
  const { db, nowMs, region } = context
  const row = await requireSpotFleet(context, input.SpotFleetRequestId)
  if (row.type !== 'maintain') throw notModifiable(`Fleet Request: ${row.fleet_id} is not a modifiable fleet request type.`)
  if (row.state !== 'active') throw notModifiable(`Fleet Request: ${row.fleet_id} is not in a modifiable state.`)
  if ([input.TargetCapacity, input.OnDemandTargetCapacity, input.ExcessCapacityTerminationPolicy, input.Context, input.LaunchTemplateConfigs?.[0]]
    .every((value) => value === undefined)) {
    throw new ApiError('InvalidParameterCombinationException', 'No attributes specified.')
  }
  const doc = spotFleetDoc(row)
  const spec = await changedSpec(context, doc.spec, input)
  const change = { spec, asked: changedConfig(doc.asked, input) }
  if (!(await moveFleet(db, row, 'modifying', change))) throw notModifiable(`Fleet Request: ${row.fleet_id} is not in a modifiable state.`)
  await noteFleetEvent(db, row, region, { type: 'fleetRequestChange', subType: 'modify_in_progress', description: describe(spec, input) }, nowMs)
  await wakeFleet(db, row.fleet_id, nowMs)
  return { Return: true }
}

function notModifiable(message: string): ApiError {
  return new ApiError('FleetNotInModifiableState', message)
}

async function changedSpec(context: Context, spec: FleetSpec, input: ModifySpotFleetRequestRequest): Promise<FleetSpec> {
  const { LaunchTemplateConfigs: templates = [] } = input
  const hasTemplates = spec.sources.every((each) => each.template !== null)
  if (templates.length > 0 && !hasTemplates) {
    throw invalidSpotFleet('LaunchTemplateConfigs cannot be specified for a Spot Fleet request that was made with LaunchSpecifications.')
  }
  checkTemplates(templates)
  const onDemand = input.OnDemandTargetCapacity ?? spec.target.onDemand
  const total = input.TargetCapacity ?? spec.target.onDemand + spec.target.spot
  checkTargetNumbers({ target: total, onDemandTarget: onDemand }, { unitType: spec.target.unitType, hasTemplates })
  const terminatesExcess = checkExcess(input)
  const changed: FleetSpec = {
    ...spec, target: { ...spec.target, onDemand, spot: total - onDemand },
    ...(terminatesExcess === undefined ? {} : { terminatesExcess }),
    ...(templates.length > 0 ? { sources: await templateSources(context, templates) } : {}),
  }
  if (templates.length > 0) await checkSpotFleetPools(context, changed)
  return changed
}

function changedConfig(asked: SpotFleetAsked, { LaunchTemplateConfigs: templates, ...input }: ModifySpotFleetRequestRequest): SpotFleetAsked {
  return {
    ...asked, ...(templates?.length ? { LaunchTemplateConfigs: templates } : {}), ...(input.Context === undefined ? {} : { Context: input.Context }),
    ...(input.ExcessCapacityTerminationPolicy ? { ExcessCapacityTerminationPolicy: input.ExcessCapacityTerminationPolicy } : {}),
  }
}

/** As recorded: "Modify request received. Requested targetCapacity: 38" */
function describe({ target }: FleetSpec, { ExcessCapacityTerminationPolicy: policy }: ModifySpotFleetRequestRequest): string {
  const excess = policy ? `, excessCapacityTerminationPolicy: ${checkExcess({ ExcessCapacityTerminationPolicy: policy }) ? 'Default' : 'NoTermination'}` : ''
  return `Modify request received. Requested targetCapacity: ${target.onDemand + target.spot}${excess}`
}
