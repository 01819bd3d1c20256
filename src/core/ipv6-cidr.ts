import { isIPv6 } from 'node:net'

const GROUPS = 8
const GROUP_BITS = 16
const MAX_PREFIX = GROUPS * GROUP_BITS

/**
 * An IPv6 block as RFC 5952 writes it, without bits beyond its prefix: "2001:DB8::1/32" is
 * "2001:db8::/32". Undefined when the text is no such block.
 */
export function canonicalIpv6Cidr(text: string): string | undefined {
  const [address = '', bits = '', ...rest] = text.split('/')
  const prefix = Number(bits)
  if (rest.length > 0 || !/^\d{1,3}$/.test(bits) || prefix > MAX_PREFIX) return undefined
  // A zone (fe80::1%eth0) means something on one host only.
  if (address.includes('%') || !isIPv6(address)) return undefined
  const masked = expand(compress(address)).map((group, index) => {
    const kept = Math.min(Math.max(prefix - index * GROUP_BITS, 0), GROUP_BITS)
    return group & (0xffff << (GROUP_BITS - kept)) & 0xffff
  })
  return `${compress(masked.map((group) => group.toString(16)).join(':'))}/${prefix}`
}

/** The shortest form of an address, which is how URLs are normalised; dotted ends become groups. */
function compress(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1)
}

/** The eight groups of a compressed address. */
function expand(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const groupsOf = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
  const left = groupsOf(head)
  const right = tail === undefined ? [] : groupsOf(tail)
  return [...left, ...Array<number>(GROUPS - left.length - right.length).fill(0), ...right]
}

/** An IPv6 address without a zone as a number. */
export function ipv6Value(address: string): bigint {
  return expand(compress(address)).reduce((value, group) => (value << BigInt(GROUP_BITS)) | BigInt(group), 0n)
}
