import { formatIpv4, parseIpv4 } from '../../core/cidr.ts'

/** DHCP's message types (RFC 2132, 9.6). */
export const MESSAGE_TYPES = {
  discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7, inform: 8,
} as const

/** The options that are read or written here (RFC 2132, and RFC 3442 for 121). */
export const OPTIONS = {
  subnetMask: 1, router: 3, dns: 6, hostname: 12, domainName: 15, mtu: 26, broadcast: 28, ntp: 42, netbiosServers: 44,
  netbiosNodeType: 46, requestedAddress: 50, leaseSeconds: 51, messageType: 53, serverId: 54, parameterList: 55,
  renewalSeconds: 58, rebindingSeconds: 59, clientId: 61, classlessRoutes: 121,
} as const

/** A DHCP message over Ethernet. Addresses that are not set are "0.0.0.0". */
export interface DhcpMessage {
  op: 'request' | 'reply'
  xid: number
  secs: number
  flags: number
  ciaddr: string
  yiaddr: string
  giaddr: string
  /** Lower case with colons. */
  mac: string
  /** By code, in the order in which they are written; parts of a split option are joined (RFC 3396). */
  options: Map<number, Buffer>
}

const MAGIC = 0x63825363
const OPTIONS_OFFSET = 240
/** Shortest message that every BOOTP relay and client takes (RFC 1542, 2.1). */
const MIN_BYTES = 300
const ETHERNET = 1
const MAC_BYTES = 6
const PAD = 0
const END = 255

/** Reads a message; undefined when the bytes are not one over Ethernet. */
export function decodeDhcp(bytes: Buffer): DhcpMessage | undefined {
  if (bytes.length < OPTIONS_OFFSET || bytes.readUInt32BE(236) !== MAGIC) return undefined
  const [op, htype, hlen] = bytes
  if ((op !== 1 && op !== 2) || htype !== ETHERNET || hlen !== MAC_BYTES) return undefined
  const options = decodeOptions(bytes.subarray(OPTIONS_OFFSET))
  if (!options) return undefined
  return {
    op: op === 1 ? 'request' : 'reply',
    xid: bytes.readUInt32BE(4),
    secs: bytes.readUInt16BE(8),
    flags: bytes.readUInt16BE(10),
    ciaddr: formatIpv4(bytes.readUInt32BE(12)),
    yiaddr: formatIpv4(bytes.readUInt32BE(16)),
    giaddr: formatIpv4(bytes.readUInt32BE(24)),
    mac: bytes.toString('hex', 28, 28 + MAC_BYTES).replace(/..(?=.)/g, '$&:'),
    options,
  }
}

/** Writes a message, padded to the least length that clients take. */
export function encodeDhcp(message: DhcpMessage): Buffer {
  const head = Buffer.alloc(OPTIONS_OFFSET)
  head.set([message.op === 'request' ? 1 : 2, ETHERNET, MAC_BYTES])
  head.writeUInt32BE(message.xid, 4)
  head.writeUInt16BE(message.secs, 8)
  head.writeUInt16BE(message.flags, 10)
  for (const [offset, address] of [[12, message.ciaddr], [16, message.yiaddr], [24, message.giaddr]] as const) {
    head.writeUInt32BE(parseIpv4(address) ?? 0, offset)
  }
  head.write(message.mac.replaceAll(':', ''), 28, MAC_BYTES, 'hex')
  head.writeUInt32BE(MAGIC, 236)
  const written = Buffer.concat([head, ...[...message.options].flatMap(encodeOption), Buffer.from([END])])
  return Buffer.concat([written, Buffer.alloc(Math.max(0, MIN_BYTES - written.length))])
}

/** Addresses as an option's value. */
export function addressBytes(...addresses: string[]): Buffer {
  const bytes = Buffer.alloc(addresses.length * 4)
  for (const [index, address] of addresses.entries()) bytes.writeUInt32BE(parseIpv4(address) ?? 0, index * 4)
  return bytes
}

/** An option's value of exactly one address, as text. */
export function readAddress(value: Buffer | undefined): string | undefined {
  return value?.length === 4 ? formatIpv4(value.readUInt32BE()) : undefined
}

function decodeOptions(bytes: Buffer): Map<number, Buffer> | undefined {
  const options = new Map<number, Buffer>()
  let offset = 0
  while (offset < bytes.length) {
    const code = bytes[offset++]
    if (code === PAD) continue
    if (code === END) return options
    const length = bytes[offset++]
    if (code === undefined || length === undefined || offset + length > bytes.length) return undefined
    const value = bytes.subarray(offset, offset + length)
    const earlier = options.get(code)
    options.set(code, earlier ? Buffer.concat([earlier, value]) : value)
    offset += length
  }
  // Some clients leave the end mark out.
  return options
}

function encodeOption([code, value]: [number, Buffer]): Buffer[] {
  const parts: Buffer[] = []
  let offset = 0
  do {
    const part = value.subarray(offset, offset + 255)
    parts.push(Buffer.from([code, part.length]), part)
    offset += 255
  } while (offset < value.length)
  return parts
}
