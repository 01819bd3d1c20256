import type {
  ModifyInstanceCapacityReservationAttributesRequest, ModifyInstanceCapacityReservationAttributesResult,
} from '@aws-sdk/client-ec2'
import { changeInstanceDoc, instanceDoc, placementWish } from '../model/instance.ts'
import type { Context } from './context.ts'
import { requireLivingInstance, requireStopped } from './instance-rows.ts'
import { missingParameter } from './parameters.ts'
import { requestedReservation } from './requested-placement.ts'
import { notInReservation } from './spot-offer.ts'

/**
 * ModifyInstanceCapacityReservationAttributes: which reservations a stopped instance may use, from its next start on.
 *
 * @throws ApiError IncorrectInstanceState, MissingParameter, InvalidParameterCombination for spot instances, and what `requestedReservation` throws.
 */
export async function modifyInstanceCapacityReservationAttributes(
  context: Context,
  { InstanceId: id, CapacityReservationSpecification: asked }: ModifyInstanceCapacityReservationAttributesRequest,
): Promise<ModifyInstanceCapacityReservationAttributesResult> {
  const row = await requireLivingInstance(context, id)
  if (!asked?.CapacityReservationPreference && !asked?.CapacityReservationTarget) throw missingParameter('CapacityReservationSpecification')
  const reservation = await requestedReservation(context, asked, row.tenancy)
  if (row.lifecycle === 'spot' && (reservation.preference !== 'none' || reservation.targetId !== null)) throw notInReservation()
  requireStopped(row)
  await changeInstanceDoc(context.db, row.instance_id, { placement: { ...placementWish(instanceDoc(row)), reservation } })
  return { Return: true }
}
