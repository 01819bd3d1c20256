import { instanceType, maxInterfacesOf } from '../catalogue/instance-types.ts'
import { ApiError } from '../core/errors.ts'
import { invalidValue } from './parameters.ts'

/** Addresses that an interface may have while no instance sets a limit: the most that any type allows. */
const UNATTACHED_ADDRESS_LIMIT = 64

/** Above all types' numbers of interfaces. */
const DEVICE_INDEX_LIMIT = 32

/**
 * Checks how many interfaces an instance of that type is to have.
 *
 * @throws ApiError AttachmentLimitExceeded.
 */
export function checkInterfaceCount(typeName: string, count: number): void {
  const limit = maxInterfacesOf(typeName)
  if (count > limit) throw new ApiError('AttachmentLimitExceeded', `Interface count ${count} exceeds the limit for ${typeName}`)
}

/**
 * Checks how many private addresses, the primary one included, an interface is to have on an instance
 * of that type; on none without `typeName`.
 *
 * @throws ApiError PrivateIpAddressLimitExceeded.
 */
export function checkAddressCount(typeName: string | undefined, count: number): void {
  const limit = typeName === undefined
    ? UNATTACHED_ADDRESS_LIMIT
    : instanceType(typeName)?.NetworkInfo?.Ipv4AddressesPerInterface ?? 1
  if (count > limit) throw new ApiError('PrivateIpAddressLimitExceeded', 'Number of private addresses will exceed limit.')
}

/** @throws ApiError InvalidParameterValue for a device index that no instance has. */
export function checkDeviceIndex(index: number): number {
  if (index >= 0 && index < DEVICE_INDEX_LIMIT) return index
  throw invalidValue('deviceIndex', index, `It must be between 0 and ${DEVICE_INDEX_LIMIT - 1}.`)
}
