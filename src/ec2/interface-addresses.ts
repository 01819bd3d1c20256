import type { PrivateIpAddressSpecification } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { claimPrivateAddress, pickPrivateAddress, type PickOptions } from '../model/address.ts'
import type { SubnetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { invalidValue } from './parameters.ts'

/** The private addresses that somebody wants for a new interface. */
export interface AddressRequest {
  /** Null for any. */
  primary: string | null
  secondary: string[]
  /** How many secondary addresses are to be any. */
  secondaryCount: number
}

interface AddressInput {
  PrivateIpAddress?: string | undefined
  PrivateIpAddresses?: PrivateIpAddressSpecification[] | undefined
  SecondaryPrivateIpAddressCount?: number | undefined
}

/**
 * The addresses that a call asks for in EC2's three parameters.
 *
 * @throws ApiError InvalidParameterCombination for several primary ones, or a list and a number of
 *   secondary ones; InvalidParameterValue.
 */
export function requestedAddresses(input: AddressInput): AddressRequest {
  const listed = input.PrivateIpAddresses ?? []
  const primaries = [
    ...(input.PrivateIpAddress ? [input.PrivateIpAddress] : []),
    ...listed.filter((each) => each.Primary).map(addressOf),
  ]
  const secondary = listed.filter((each) => !each.Primary).map(addressOf)
  const secondaryCount = input.SecondaryPrivateIpAddressCount ?? 0
  if (secondaryCount < 0) throw invalidValue('secondaryPrivateIpAddressCount', secondaryCount, 'It may not be negative.')
  if (primaries.length > 1) {
    throw new ApiError('InvalidParameterCombination', 'Only one primary private IP address can be specified.')
  }
  if (secondary.length > 0 && secondaryCount > 0) throw addressesAndCount()
  const [primary = null] = primaries
  const all = [...(primary === null ? [] : [primary]), ...secondary]
  const twice = all.find((address, index) => all.indexOf(address) !== index)
  if (twice !== undefined) throw invalidValue('privateIpAddresses', twice, 'Duplicate private IP addresses are not allowed.')
  return { primary, secondary, secondaryCount }
}

/** EC2's error for a list of secondary addresses together with a number of them. */
export function addressesAndCount(): ApiError {
  return new ApiError(
    'InvalidParameterCombination',
    'Secondary private IP addresses and a secondary private IP address count may not be specified on the same request',
  )
}

function addressOf(each: PrivateIpAddressSpecification): string {
  if (each.PrivateIpAddress) return each.PrivateIpAddress
  throw new ApiError('MissingParameter', 'Each private IP address specification must contain the parameter PrivateIpAddress')
}

/** How many addresses an interface has that is made for the request. */
export function addressCount(request: AddressRequest): number {
  return 1 + request.secondary.length + request.secondaryCount
}

/** Whether the request names addresses, which only one interface can have. */
export function isFixed(request: AddressRequest): boolean {
  return request.primary !== null || request.secondary.length > 0
}

/**
 * Gives an interface secondary addresses: those named, and any others. In the order given.
 *
 * @returns all that it got.
 * @throws ApiError InvalidIPAddress.InUse, InsufficientFreeAddressesInSubnet.
 */
export async function addSecondaryAddresses(
  { db, random, nowMs }: Context,
  { interfaceId, subnet }: { interfaceId: string; subnet: Pick<SubnetTable, 'subnet_id' | 'vpc_id' | 'cidr'> },
  { secondary, secondaryCount }: Pick<AddressRequest, 'secondary' | 'secondaryCount'>,
  options: PickOptions,
): Promise<string[]> {
  const given: string[] = []
  const give = async (address: string) => {
    await db.insertInto('interface_addresses').values({
      interface_id: interfaceId, vpc_id: subnet.vpc_id, private_ip: address, public_ip: null, created_ms: nowMs,
    }).execute()
    given.push(address)
  }
  for (const address of secondary) await give(await claimPrivateAddress(db, subnet, address))
  for (let each = 0; each < secondaryCount; each++) await give(await pickPrivateAddress(db, random, subnet, options))
  return given
}
