/** An IPv4 block in canonical form. */
export interface Cidr {
  /** The first address, as an unsigned 32-bit number. */
  base: number
  /** Prefix length, 0–32. */
  prefix: number
}

/** Dotted IPv4 text to an unsigned 32-bit number; undefined when it is not an address. */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (!match) return undefined
  let value = 0
  for (const part of match.slice(1)) {
    const octet = Number(part)
    if (octet > 255) return undefined
    value = value * 256 + octet
  }
  return value
}

/** An unsigned 32-bit number as dotted IPv4 text. */
export function formatIpv4(value: number): string {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.')
}

/** How many addresses a prefix length covers. */
export function sizeOf(prefix: number): number {
  return 2 ** (32 - prefix)
}

/** "10.0.1.7/16" to its canonical block (10.0.0.0/16); undefined when it is not a CIDR. */
export function parseCidr(text: string): Cidr | undefined {
  const [address, bits, ...rest] = text.split('/')
  if (address === undefined || bits === undefined || rest.length > 0 || !/^\d{1,2}$/.test(bits)) return undefined
  const base = parseIpv4(address)
  const prefix = Number(bits)
  if (base === undefined || prefix > 32) return undefined
  return { base: base - (base % sizeOf(prefix)), prefix }
}

/** The block as text. */
export function formatCidr(cidr: Cidr): string {
  return `${formatIpv4(cidr.base)}/${cidr.prefix}`
}

/** Whether the address lies in the block. */
export function contains(cidr: Cidr, address: number): boolean {
  return address >= cidr.base && address < cidr.base + sizeOf(cidr.prefix)
}

/** Whether two blocks share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b.base) || contains(b, a.base)
}

/** Netmask of a prefix length as dotted text. */
export function netmask(prefix: number): string {
  return formatIpv4(prefix === 0 ? 0 : (2 ** 32 - sizeOf(prefix)) >>> 0)
}
