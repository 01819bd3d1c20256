import { contains, formatCidr, overlaps, parseCidr, type Cidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'

/** Blocks of VPCs and subnets are between these: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html */
const LONGEST_PREFIX = 28
const SHORTEST_PREFIX = 16

/** Addresses that are no network's: this host, loopback, link-local, multicast and what is beyond. */
const UNUSABLE = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'].map(known)

const TEN = known('10.0.0.0/8')
const PRIVATE_172 = known('172.16.0.0/12')
const PRIVATE_192 = known('192.168.0.0/16')
/** EC2 keeps these for services of its own. */
const SERVICES = known('198.19.0.0/16')
const SERVICES_IN_172 = known('172.31.0.0/16')
const SERVICES_IN_TEN = known('10.0.0.0/16')
const FIRST_OF_TEN = known('10.0.0.0/15')

function known(text: string): Cidr {
  const cidr = parseCidr(text)
  if (!cidr) throw new Error(`not a CIDR block: ${text}`)
  return cidr
}

/**
 * A block that a call names, in canonical form: EC2 makes 100.68.0.0/18 of 100.68.0.18/18.
 *
 * @param code of the error for a block of the wrong size: InvalidVpc.Range or InvalidSubnet.Range
 * @throws ApiError InvalidParameterValue for what is no block at all, else `code`.
 */
export function parseNetworkCidr(text: string, code: string): Cidr {
  const cidr = parseCidr(text)
  if (!cidr) {
    throw new ApiError('InvalidParameterValue', `Value (${text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.`)
  }
  const isSized = cidr.prefix >= SHORTEST_PREFIX && cidr.prefix <= LONGEST_PREFIX
  if (!isSized || UNUSABLE.some((each) => overlaps(each, cidr))) throw invalidRange(code, text)
  return cidr
}

/** EC2's error for a block that cannot be a network's. */
export function invalidRange(code: string, text: string): ApiError {
  return new ApiError(code, `The CIDR '${text}' is invalid.`)
}

/**
 * Checks that a block may join those that a VPC has: only certain ranges go together.
 * https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions
 *
 * @throws ApiError CidrConflict, InvalidVpc.Range.
 */
export function checkSecondaryCidr(cidr: Cidr, present: readonly Cidr[]): void {
  if (present.some((each) => overlaps(each, cidr))) {
    throw new ApiError('CidrConflict', `The CIDR '${formatCidr(cidr)}' conflicts with another CIDR of the VPC`)
  }
  if (!present.some((each) => restrictedBeside(each, present).some((range) => overlaps(range, cidr)))) return
  throw new ApiError(
    'InvalidVpc.Range',
    `The CIDR '${formatCidr(cidr)}' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, ` +
      'or use a publicly-routable CIDR. For additional restrictions, see ' +
      'https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#add-cidr-block-restrictions',
  )
}

/** What no block of a VPC may be in that has `own` among its blocks. */
function restrictedBeside(own: Cidr, all: readonly Cidr[]): Cidr[] {
  const isIn = (range: Cidr, cidr = own) => contains(range, cidr.base)
  if (isIn(TEN)) {
    const isFirst = all.some((each) => isIn(FIRST_OF_TEN, each))
    return [PRIVATE_172, PRIVATE_192, SERVICES, ...(isFirst ? [SERVICES_IN_TEN] : [])]
  }
  if (isIn(PRIVATE_172)) return [TEN, PRIVATE_192, SERVICES_IN_172, SERVICES]
  if (isIn(PRIVATE_192)) return [TEN, PRIVATE_172, SERVICES]
  // Once a VPC has a private range and others beside it, the private one decides.
  const hasPrivate = all.some((each) => [TEN, PRIVATE_172, PRIVATE_192].some((range) => isIn(range, each)))
  return hasPrivate ? [SERVICES] : [TEN, PRIVATE_172, PRIVATE_192, SERVICES]
}
