import { contains, formatIpv4, parseCidr, parseIpv4, sizeOf, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
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

/** A free private address of the subnet; throws InsufficientFreeAddressesInSubnet when it is full. */
export async function pickPrivateAddress(
  db: Db,
  random: Random,
  subnet: { subnet_id: string; vpc_id: string; cidr: string },
): Promise<string> {
  const cidr = cidrOf(subnet.cidr)
  const isFree = async (address: string) =>
    !(await db
      .selectFrom('interfaces').select('interface_id')
      .where('vpc_id', '=', subnet.vpc_id).where('private_ip', '=', address)
      .executeTakeFirst())
  const found = await pickFree(random, cidr.base + RESERVED_FIRST, usableAddresses(cidr), isFree)
  if (found) return found
  throw new ApiError(
    'InsufficientFreeAddressesInSubnet',
    `There are not enough free addresses in subnet '${subnet.subnet_id}' to satisfy the requested number of instances.`,
  )
}

/** Checks an address that the caller chose; throws as EC2 does when it cannot be had. */
export async function claimPrivateAddress(
  db: Db,
  subnet: { vpc_id: string; cidr: string },
  address: string,
): Promise<string> {
  const cidr = cidrOf(subnet.cidr)
  const value = parseIpv4(address)
  const offset = value === undefined ? -1 : value - cidr.base
  if (value === undefined || !contains(cidr, value)) {
    throw new ApiError('InvalidParameterValue', `Address ${address} does not fall within the subnet's address range`)
  }
  if (offset < RESERVED_FIRST || offset >= sizeOf(cidr.prefix) - RESERVED_LAST) {
    throw new ApiError('InvalidParameterValue', `Address ${address} is in subnet's reserved address range`)
  }
  const taken = await db
    .selectFrom('interfaces').select('interface_id')
    .where('vpc_id', '=', subnet.vpc_id).where('private_ip', '=', address)
    .executeTakeFirst()
  if (taken) throw new ApiError('InvalidIPAddress.InUse', `Address ${address} is in use.`)
  return address
}

/** A free public address of the pool. */
export async function pickPublicAddress(db: Db, random: Random, pool: Cidr): Promise<string> {
  const isFree = async (address: string) =>
    !(await db.selectFrom('interfaces').select('interface_id').where('public_ip', '=', address).executeTakeFirst())
  // The first and the last address are left alone, as some tools take them for network and broadcast.
  const found = await pickFree(random, pool.base + 1, sizeOf(pool.prefix) - 2, isFree)
  if (found) return found
  throw new ApiError(
    'InsufficientAddressCapacity',
    'Not enough public addresses are available; terminate instances, or start Hearth with a larger --public-pool.',
  )
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
