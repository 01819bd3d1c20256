import type { RequestLaunchTemplateData } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { FleetSpec } from '../model/fleet-spec.ts'
import { checkPrice } from './create-fleet-checks.ts'

/**
 * The most that a template with market options lets an instance of a fleet cost on spot, micro-dollars per hour; null for the
 * price on demand. Such a template goes with a fleet that is on spot as a whole: Packer makes one for each build with a
 * spot_price. What else it says of spot is the fleet's to say.
 * https://github.com/hashicorp/packer-plugin-amazon/blob/main/common/step_run_spot_instance.go
 *
 * @throws ApiError InvalidFleetConfiguration for options that the fleet does not have itself; InvalidParameterValue for what is no price.
 */
export function marketPrice({ InstanceMarketOptions: market }: RequestLaunchTemplateData, { target, spot }: FleetSpec): number | null {
  if (!market || Object.values(market).every((value) => value === undefined || value === '')) return null
  const { MaxPrice: price, SpotInstanceType: type, InstanceInterruptionBehavior: behavior, ...others } = market.SpotOptions ?? {}
  const isOnSpot = market.MarketType === 'spot' && target.onDemand === 0 && target.spot > 0
  const isAsTheFleet = (!type || type === 'one-time') && (!behavior || behavior === spot.behavior)
  if (!isOnSpot || !isAsTheFleet || Object.values(others).some((value) => value !== undefined)) {
    throw new ApiError(
      'InvalidFleetConfiguration',
      'A launch template that specifies InstanceMarketOptions can be used only by a fleet that is on spot as a whole, and with no other option than MaxPrice.',
    )
  }
  return checkPrice('LaunchTemplateData.InstanceMarketOptions.SpotOptions.MaxPrice', price)
}
