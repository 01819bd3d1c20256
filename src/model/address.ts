import { contains, formatIpv4, parseCidr, parseIpv4, sizeOf, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** EC2 keeps the first four addresses of a subnet and the last. */
const RESERVED_FIRST = 4
const RESERVED_LAST = 1

/** Random guesses before the whole block is looked through. */
const GUESSES = 16

/** How many addresses of a subnet instances may have. */
export function usableAddresses(cidr: Cidr): number {
  return sizeOf(cidr.prefix) - RESERVED_FIRST - RESERVED_LAST
}

export interface PickOptions {
  /** Who asks: EC2 has sentences of their own for launches and for other calls. */
  asker: 'launch' | 'interface'
  /** Addresses that the same call gives to others. */
  except: readonly string[]
}

/**
 * A free private address of the subnet.
 *
 * @throws ApiError InsufficientFreeAddressesInSubnet when it is full.
 */
export async function pickPrivateAddress(
  db: Db,
  random: Random,
  subnet: { subnet_id: string; vpc_id: string; cidr: string },
  { asker, except }: PickOptions,
): Promise<string> {
  const cidr = cidrOf(subnet.cidr)
  const isFree = async (address: string) => !except.includes(address) && !(await isPrivateTaken(db, subnet.vpc_id, address))
  const found = await pickFree(random, cidr.base + RESERVED_FIRST, usableAddresses(cidr), isFree)
  if (found) return found
  throw new ApiError(
    'InsufficientFreeAddressesInSubnet',
    asker === 'interface'
      ? 'The specified subnet does not have enough free addresses to satisfy the request.'
      : `There are not enough free addresses in subnet '${subnet.subnet_id}' to satisfy the requested number of instances.`,
  )
}

/**
 * Checks an address that the caller chose.
 *
 * @throws ApiError InvalidParameterValue outside of the subnet, InvalidIPAddress.InUse.
 */
export async function claimPrivateAddress(
  db: Db,
  subnet: { vpc_id: string; cidr: string },
  address: string,
): Promise<string> {
  checkPrivateAddress(subnet, address)
  if (await isPrivateTaken(db, subnet.vpc_id, address)) {
    throw new ApiError('InvalidIPAddress.InUse', `Address ${address} is in use.`)
  }
  return address
}

/** @throws ApiError InvalidParameterValue for an address that no interface of the subnet can have. */
export function checkPrivateAddress(subnet: { cidr: string }, address: string): void {
  const cidr = cidrOf(subnet.cidr)
  const value = parseIpv4(address)
  const offset = value === undefined ? -1 : value - cidr.base
  if (value === undefined || !contains(cidr, value)) {
    throw new ApiError('InvalidParameterValue', `Address ${address} does not fall within the subnet's address range`)
  }
  if (offset < RESERVED_FIRST || offset >= sizeOf(cidr.prefix) - RESERVED_LAST) {
    throw new ApiError('InvalidParameterValue', `Address ${address} is in subnet's reserved address range`)
  }
}

/** Primary and secondary addresses share the blocks of a VPC; no unique key reaches over both tables. */
const ownersOfPrivate = prepared((db, vpcId: string, address: string) =>
  db.selectFrom('interfaces').select('interface_id').where('vpc_id', '=', vpcId).where('private_ip', '=', address)
    .unionAll(db
      .selectFrom('interface_addresses').select('interface_id').where('vpc_id', '=', vpcId).where('private_ip', '=', address))
    .limit(1))

/** Whether an interface of the VPC has that private address, as its primary one or beside it. */
export async function isPrivateTaken(db: Db, vpcId: string, address: string): Promise<boolean> {
  return (await ownersOfPrivate(db, vpcId, address)).length > 0
}

/** Who has a public address: automatically, or as an Elastic IP, associated or not. */
const ownersOfPublic = prepared((db, address: string) =>
  db.selectFrom('interfaces').select('interface_id as id').where('public_ip', '=', address)
    .unionAll(db.selectFrom('interface_addresses').select('interface_id as id').where('public_ip', '=', address))
    .unionAll(db.selectFrom('addresses').select('allocation_id as id').where('public_ip', '=', address))
    .limit(1))

async function isPublicTaken(db: Db, address: string): Promise<boolean> {
  return (await ownersOfPublic(db, address)).length > 0
}

/**
 * A free public address of the pool.
 *
 * @throws ApiError InsufficientAddressCapacity when there is none.
 */
export async function pickPublicAddress(db: Db, random: Random, pool: Cidr): Promise<string> {
  const { first, count } = usablePool(pool)
  const found = await pickFree(random, first, count, async (address) => !(await isPublicTaken(db, address)))
  if (found) return found
  throw new ApiError(
    'InsufficientAddressCapacity',
    'Not enough public addresses are available; terminate instances, or start Hearth with a larger --public-pool.',
  )
}

/**
 * Checks a public address that the caller chose.
 *
 * @throws ApiError InvalidAddress.Malformed, InvalidAddress.NotFound outside of the pool, InvalidIPAddress.InUse.
 */
export async function claimPublicAddress(db: Db, pool: Cidr, address: string): Promise<string> {
  const value = parseIpv4(address)
  if (value === undefined) throw new ApiError('InvalidAddress.Malformed', `Invalid IPv4 address: ${address}`)
  const { first, count } = usablePool(pool)
  if (value < first || value >= first + count) throw addressNotFound(address)
  if (await isPublicTaken(db, address)) throw new ApiError('InvalidIPAddress.InUse', `Address ${address} is in use.`)
  return address
}

/** EC2's error for a public address that is not the account's. */
export function addressNotFound(address: string): ApiError {
  return new ApiError('InvalidAddress.NotFound', `Address '${address}' not found.`)
}

/** The first and the last address are left alone, as some tools take them for network and broadcast. */
function usablePool(pool: Cidr): { first: number; count: number } {
  return { first: pool.base + 1, count: sizeOf(pool.prefix) - 2 }
}

async function pickFree(
  random: Random,
  first: number,
  count: number,
  isFree: (address: string) => Promise<boolean>,
): Promise<string | undefined> {
  for (let guess = 0; guess < GUESSES; guess++) {
    const address = formatIpv4(first + random.int(count))
    if (await isFree(address)) return address
  }
  const start = random.int(count)
  for (let step = 0; step < count; step++) {
    const address = formatIpv4(first + ((start + step) % count))
    if (await isFree(address)) return address
  }
  return undefined
}

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text)
  if (!cidr) throw new Error(`not a CIDR block: ${text}`)
  return cidr
}
