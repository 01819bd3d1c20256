import type {
  CapacityReservationSpecification, ModifyInstanceCapacityReservationAttributesRequest, ModifyInstanceCapacityReservationAttributesResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { ANYWHERE, type ReservationWish } from '../model/placement.ts'
import { requireReservation } from './capacity-reservation-rows.ts'
import type { Context } from './context.ts'
import { requireLivingInstance, requireStopped } from './instance-rows.ts'
import { checkEnum, missingParameter, unsupportedParameter } from './parameters.ts'

const NAME = 'CapacityReservationSpecification'

/**
 * What is asked of capacity reservations; undefined where nothing is.
 *
 * @throws ApiError InvalidCapacityReservationId.NotFound; UnsupportedOperation for a resource group;
 *   InvalidParameterCombination for a target and a preference that forbids it.
 */
export async function requestedReservationWish(
  context: Context,
  asked: CapacityReservationSpecification | undefined,
): Promise<ReservationWish | undefined> {
  const target = asked?.CapacityReservationTarget
  if (target?.CapacityReservationResourceGroupArn) {
    throw unsupportedParameter(`${NAME}.CapacityReservationTarget.CapacityReservationResourceGroupArn`)
  }
  const preference =
    checkEnum(`${NAME}.CapacityReservationPreference`, asked?.CapacityReservationPreference, ['open', 'none', 'capacity-reservations-only'])
  if (target?.CapacityReservationId) {
    if (preference === 'open' || preference === 'none') {
      throw new ApiError(
        'InvalidParameterCombination',
        `A CapacityReservationTarget cannot be specified with the CapacityReservationPreference ${preference}.`,
      )
    }
    await requireReservation(context, target.CapacityReservationId)
    return { preference: 'capacity-reservations-only', targetId: target.CapacityReservationId }
  }
  return preference === undefined ? undefined : { preference, targetId: null }
}

/**
 * ModifyInstanceCapacityReservationAttributes: which reservations a stopped instance may use, from its next start on.
 *
 * @throws ApiError IncorrectInstanceState, MissingParameter, and what `requestedReservationWish` throws.
 */
export async function modifyInstanceCapacityReservationAttributes(
  context: Context,
  input: ModifyInstanceCapacityReservationAttributesRequest,
): Promise<ModifyInstanceCapacityReservationAttributesResult> {
  const row = await requireLivingInstance(context, input.InstanceId)
  const reservation = await requestedReservationWish(context, input.CapacityReservationSpecification)
  if (reservation === undefined) throw missingParameter(NAME)
  requireStopped(row)
  await changeInstanceDoc(context.db, row.instance_id, { placement: { ...ANYWHERE, ...instanceDoc(row).placement, reservation } })
  return { Return: true }
}
