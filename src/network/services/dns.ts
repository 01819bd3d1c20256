import dnsPacket from 'dns-packet'
import { contains, parseCidr, parseIpv4 } from '../../core/cidr.ts'
import { messageOf } from '../../core/errors.ts'

/** What a VPC's resolver knows and whom it asks. */
export interface DnsSources {
  /** Address of one of our own names; undefined when it is not ours. */
  resolveName(name: string): Promise<string | undefined>
  /** Name of one of our own addresses; undefined when it is not ours. */
  resolveAddress(address: string): Promise<string | undefined>
  /** Asks the outer resolver, with the query as it came; undefined when none answered in time. */
  forward(query: Buffer): Promise<Buffer | undefined>
  /** Told why a query could not be answered, when one of the above fails. */
  onError(error: string): void
}

const HEADER_BYTES = 12
const QDCOUNT_OFFSET = 4
const MAX_LABEL_BYTES = 63
const QR_BIT = 0x80
const TTL_SECONDS = 60
const RCODES = { ok: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4 } as const
/** Our own payload limit: fits any path that carries IPv6 (DNS Flag Day 2020). */
const UDP_PAYLOAD_BYTES = 1232

/** Zones that are nobody's outside of a VPC. */
const OWN_ZONES = ['ec2.internal', 'compute.internal']

/** Addresses whose names the world does not know (RFC 6303); asking for them would only leak them. */
const LOCAL_BLOCKS = ['10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12',
  '192.168.0.0/16', '198.18.0.0/15'].flatMap((text) => parseCidr(text) ?? [])

/** A public name as EC2 gives it to an address. */
const PUBLIC_NAME = /^ec2-(\d+)-(\d+)-(\d+)-(\d+)\.((?:compute-1|[a-z0-9-]+\.compute)\.amazonaws\.com)$/

/** Answers one DNS message; undefined when it is not a query at all. Never throws on bad input. */
export async function answerDns(message: Buffer, sources: DnsSources): Promise<Buffer | undefined> {
  if (message.length < HEADER_BYTES || isReply(message)) return undefined
  if (((message.readUInt8(2) >> 3) & 15) !== 0) return bareReply(message, RCODES.notImplemented)
  const query = decode(message)
  const [question] = query?.questions ?? []
  const questionBytes = rawQuestion(message)
  if (!query || !question || !questionBytes) return bareReply(message, RCODES.formatError)
  if (question.class !== 'IN') return bareReply(message, RCODES.notImplemented)
  try {
    const own = await ownAnswer(question, sources)
    if (own) return encodeOwn(query, questionBytes, own)
    return (await sources.forward(message)) ?? bareReply(message, RCODES.serverFailure)
  } catch (error) {
    // A database that is away, say: the guest asks again.
    sources.onError(messageOf(error))
    return bareReply(message, RCODES.serverFailure)
  }
}

interface OwnAnswer {
  rcode: number
  answers: dnsPacket.Answer[]
  /** Zone that a negative answer speaks for. */
  zone: string
}

async function ownAnswer(question: dnsPacket.Question, sources: DnsSources): Promise<OwnAnswer | undefined> {
  const { name } = question
  const lower = name.toLowerCase().replace(/\.$/, '')
  const reversed = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/.exec(lower)?.slice(1).toReversed().join('.')
  const data = reversed === undefined ? await sources.resolveName(lower) : await sources.resolveAddress(reversed)
  const zone = zoneOf(lower, reversed)
  if (data === undefined) {
    if (zone === undefined) return undefined
    // The zone's own name exists; it only has no records of the kind.
    return { rcode: lower === zone ? RCODES.ok : RCODES.nameError, answers: [], zone }
  }
  const type = reversed === undefined ? 'A' : 'PTR'
  const isWanted = question.type === type || (question.type as string) === 'ANY'
  const answers: dnsPacket.Answer[] = isWanted ? [{ type, name, ttl: TTL_SECONDS, class: 'IN', data }] : []
  return { rcode: RCODES.ok, answers, zone: zone ?? lower }
}

/**
 * The zone of ours that a name belongs to; undefined for a name that others may know. Names that only
 * have others below them are zones as well: they exist, and a "no such name" would deny all of those
 * too (RFC 8020).
 */
function zoneOf(name: string, reversed: string | undefined): string | undefined {
  if (reversed !== undefined) return isLocal(reversed) ? name.split('.').slice(1).join('.') : undefined
  const [, a, b, c, d, publicZone] = PUBLIC_NAME.exec(name) ?? []
  if (publicZone !== undefined && isLocal(`${a}.${b}.${c}.${d}`)) return publicZone
  if (/^[a-z0-9-]+\.compute\.internal$/.test(name)) return name
  const octets = /^((?:\d+\.){1,3})in-addr\.arpa$/.exec(name)?.[1]?.split('.').slice(0, -1).toReversed()
  if (octets && isLocal([...octets, 0, 0, 0].slice(0, 4).join('.'), octets.length * 8)) return name
  return OWN_ZONES.find((zone) => name === zone || name.endsWith(`.${zone}`))
}

/** Whether the world knows nothing of any address in the block. */
function isLocal(text: string, prefix = 32): boolean {
  const base = parseIpv4(text)
  return base !== undefined && LOCAL_BLOCKS.some((block) => block.prefix <= prefix && contains(block, base))
}

function encodeOwn(query: dnsPacket.DecodedPacket, questionBytes: Buffer, own: OwnAnswer): Buffer {
  const soa: dnsPacket.Answer = {
    type: 'SOA', name: own.zone, ttl: TTL_SECONDS, class: 'IN',
    data: {
      mname: `ns.${OWN_ZONES[0]}`, rname: `hostmaster.${OWN_ZONES[0]}`, serial: 1, refresh: 3600, retry: 600,
      expire: 86_400, minimum: TTL_SECONDS,
    },
  }
  const hasEdns = (query.additionals ?? []).some((record) => record.type === 'OPT')
  const opt: dnsPacket.OptAnswer = {
    type: 'OPT', name: '.', udpPayloadSize: UDP_PAYLOAD_BYTES, extendedRcode: 0, ednsVersion: 0, flags: 0,
    flag_do: false, options: [],
  }
  const encoded = dnsPacket.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: dnsPacket.AUTHORITATIVE_ANSWER | dnsPacket.RECURSION_AVAILABLE |
      ((query.flags ?? 0) & dnsPacket.RECURSION_DESIRED) | own.rcode,
    answers: own.answers,
    authorities: own.answers.length > 0 ? [] : [soa],
    additionals: hasEdns ? [opt] : [],
  })
  // The question goes back byte for byte: clients compare it, and may play with its case.
  encoded.writeUInt16BE(1, QDCOUNT_OFFSET)
  return Buffer.concat([encoded.subarray(0, HEADER_BYTES), questionBytes, encoded.subarray(HEADER_BYTES)])
}

/** Whether a message of at least a header's length is a reply. */
export function isReply(message: Buffer): boolean {
  return (message.readUInt8(2) & QR_BIT) !== 0
}

/** The one question as it was sent; undefined when there is not exactly one, or it refers elsewhere. */
export function rawQuestion(message: Buffer): Buffer | undefined {
  if (message.readUInt16BE(QDCOUNT_OFFSET) !== 1) return undefined
  let end = HEADER_BYTES
  for (let length = message[end]; length !== 0; length = message[end]) {
    if (length === undefined || length > MAX_LABEL_BYTES) return undefined
    end += 1 + length
  }
  end += 1 + 4
  return end <= message.length ? message.subarray(HEADER_BYTES, end) : undefined
}

function decode(message: Buffer): dnsPacket.DecodedPacket | undefined {
  try {
    return dnsPacket.decode(message)
  } catch {
    return undefined
  }
}

/** The header of a reply alone; it repeats nothing that could not be read. */
function bareReply(query: Buffer, rcode: number): Buffer {
  const reply = Buffer.alloc(HEADER_BYTES)
  query.copy(reply, 0, 0, 2)
  // QR, the opcode and RD as asked; RA.
  reply.writeUInt8(QR_BIT | (query.readUInt8(2) & 0x79), 2)
  reply.writeUInt8(0x80 | rcode, 3)
  return reply
}
