import { ApiError } from '../core/errors.ts'
import type { FleetSpec } from '../model/fleet-spec.ts'
import { invalidValue } from './parameters.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotOptionsRequest.html */
const MAX_MIN_TARGET = 1000

/** @throws ApiError for a least capacity that does not go with the rest. */
export function checkLeast(group: string, asked: number | undefined, { hasSingle, total }: { hasSingle: boolean; total: number }): number {
  if (asked === undefined) return 0
  if (!Number.isSafeInteger(asked) || asked < 0 || asked > MAX_MIN_TARGET) {
    throw invalidValue(`${group}.MinTargetCapacity`, asked, `It must be between 0 and ${MAX_MIN_TARGET}.`)
  }
  if (asked > total) throw invalidFleet('MinTargetCapacity cannot be greater than the target capacity.')
  if (asked > 0 && !hasSingle) {
    throw invalidFleet('MinTargetCapacity needs SingleInstanceType or SingleAvailabilityZone.')
  }
  return asked
}

/** A price in dollars as micro-dollars; null for none. @throws ApiError InvalidParameterValue. */
export function checkPrice(name: string, text: string | undefined): number | null {
  if (!text) return null
  const price = Number(text)
  if (!(price >= 0.001 && Number.isFinite(price))) throw invalidValue(name, text, 'It must be at least 0.001.')
  return Math.round(price * 1_000_000)
}

/** EC2's code for what a fleet cannot be made of. */
export function invalidFleet(message: string): ApiError {
  return new ApiError('InvalidFleetConfig', message)
}

/** What only a fleet that launches at once can promise. @throws ApiError InvalidFleetConfig. */
export function checkSingle(
  group: string,
  { singleType, singleZone, MinTargetCapacity: least }: { singleType: boolean; singleZone: boolean; MinTargetCapacity: number | undefined },
  type: FleetSpec['type'],
): void {
  if (singleType) checkInstantOnly(`${group}.SingleInstanceType`, type)
  if (singleZone) checkInstantOnly(`${group}.SingleAvailabilityZone`, type)
  if (least) checkInstantOnly(`${group}.MinTargetCapacity`, type)
}

/** @throws ApiError InvalidFleetConfig for a parameter that the type does not have. */
export function checkInstantOnly(name: string, type: FleetSpec['type']): void {
  if (type !== 'instant') throw invalidFleet(`The parameter ${name} is supported only for fleets of type instant.`)
}
