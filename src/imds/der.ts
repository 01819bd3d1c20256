/** DER, the encoding of X.509 and PKCS #7 (ITU-T X.690): each function returns a whole element. */

const OID = 0x06
const SEQUENCE = 0x30
const SET = 0x31

/** An element of any tag (one byte) around what it holds. */
function element(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content)
  return Buffer.concat([Buffer.from([tag]), lengthOf(body.length), body])
}

export const sequence = (...items: Buffer[]): Buffer => element(SEQUENCE, ...items)

/** A SET OF, whose elements DER puts in order of their bytes. */
export const setOf = (...items: Buffer[]): Buffer => element(SET, ...items.toSorted(Buffer.compare))

/** `[tag]` around an element. */
export const explicit = (tag: number, item: Buffer): Buffer => element(0xa0 | tag, item)

/** `[tag]` in place of the tag of a set or sequence. */
export function implicit(tag: number, item: Buffer): Buffer {
  const copy = Buffer.from(item)
  copy.writeUInt8(0xa0 | tag, 0)
  return copy
}

/** A whole number that is not negative, as its bytes or a small one. */
export function integer(value: number | Buffer): Buffer {
  const bytes = typeof value === 'number' ? Buffer.from([value]) : value
  const begin = bytes.findIndex((byte) => byte !== 0)
  const shortest = begin === -1 ? Buffer.from([0]) : bytes.subarray(begin)
  // The highest bit is the sign.
  return element(0x02, ...(shortest.readUInt8(0) >= 0x80 ? [Buffer.from([0])] : []), shortest)
}

export const octets = (bytes: Buffer): Buffer => element(0x04, bytes)
export const nothing = (): Buffer => element(0x05)
export const utf8 = (text: string): Buffer => element(0x0c, Buffer.from(text))
/** A BIT STRING; `unused` of its last bits do not count. */
export const bits = (bytes: Buffer, unused = 0): Buffer => element(0x03, Buffer.from([unused]), bytes)
export const yes = (): Buffer => element(0x01, Buffer.from([0xff]))

/** An object identifier, given as "1.2.840.113549". */
export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  return element(OID, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]))
}

/** A time, to the second: UTCTime up to 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5). */
export function time(ms: number): Buffer {
  const digits = `${new Date(ms).toISOString().slice(0, 19).replace(/\D/g, '')}Z`
  const isShort = digits < '2050'
  return element(isShort ? 0x17 : 0x18, Buffer.from(isShort ? digits.slice(2) : digits))
}

function base128(value: number): number[] {
  const digits = [value & 0x7f]
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) digits.unshift((rest & 0x7f) | 0x80)
  return digits
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length])
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(length)
  const shortest = bytes.subarray(bytes.findIndex((byte) => byte !== 0))
  return Buffer.concat([Buffer.from([0x80 | shortest.length]), shortest])
}
