import { contains, formatIpv4, netmask, parseCidr, parseIpv4, sizeOf } from '../../core/cidr.ts'
import type { Lease } from '../driver.ts'
import {
  addressBytes, decodeDhcp, encodeDhcp, MESSAGE_TYPES, OPTIONS, readAddress, type DhcpMessage,
} from './dhcp-codec.ts'

/** A reply, and the address that it goes to. */
export interface DhcpReply {
  bytes: Buffer
  address: string
}

const UNSET = '0.0.0.0'
const METADATA_ADDRESS = '169.254.169.254'

/**
 * Answers one DHCP datagram of a guest; undefined when none is due: junk, a stranger, another
 * server's client, a release.
 *
 * The reply always goes to the leased address, even where the client asks for a broadcast (RFC
 * 2131, 4.1): each guest has an interface of its own here, so a broadcast would have to name one,
 * while the kernel knows the guest's route and MAC. Clients without an address listen below IP and
 * take it.
 */
export async function answerDhcp(
  bytes: Buffer,
  leaseFor: (mac: string) => Promise<Lease | undefined>,
): Promise<DhcpReply | undefined> {
  const request = decodeDhcp(bytes)
  if (!request || request.op !== 'request' || request.giaddr !== UNSET) return undefined
  const type = request.options.get(OPTIONS.messageType)
  if (type?.length !== 1) return undefined
  const lease = await leaseFor(request.mac)
  const replyType = lease && replyTypeFor(type.readUInt8(), request, lease)
  if (!lease || replyType === undefined) return undefined
  return { bytes: encodeDhcp(buildReply(request, lease, replyType)), address: lease.address }
}

type ReplyType = 'offer' | 'ack' | 'nak' | 'inform'

function replyTypeFor(type: number, request: DhcpMessage, lease: Lease): ReplyType | undefined {
  if (type === MESSAGE_TYPES.discover) return 'offer'
  if (type === MESSAGE_TYPES.inform) return request.ciaddr === lease.address ? 'inform' : undefined
  if (type !== MESSAGE_TYPES.request) return undefined
  const serverId = request.options.get(OPTIONS.serverId)
  if (serverId && readAddress(serverId) !== lease.gateway) return undefined
  // Selecting and rebooting clients name the address in an option, renewing ones have it (RFC 2131, 4.3.2).
  const requested = readAddress(request.options.get(OPTIONS.requestedAddress))
  const claimed = requested ?? (request.ciaddr === UNSET ? undefined : request.ciaddr)
  if (claimed === undefined) return undefined
  return claimed === lease.address ? 'ack' : 'nak'
}

function buildReply(request: DhcpMessage, lease: Lease, type: ReplyType): DhcpMessage {
  const messageType = type === 'inform' ? MESSAGE_TYPES.ack : MESSAGE_TYPES[type]
  const options = new Map([
    [OPTIONS.messageType, Buffer.from([messageType])],
    [OPTIONS.serverId, addressBytes(lease.gateway)],
    ...(type === 'offer' || type === 'ack' ? timeOptions(lease) : []),
    ...(type === 'nak' ? [] : configurationOptions(lease)),
  ] as [number, Buffer][])
  const asked = request.options.get(OPTIONS.parameterList)
  if (type !== 'nak' && asked?.includes(OPTIONS.classlessRoutes)) options.set(OPTIONS.classlessRoutes, routes(lease))
  // RFC 6842: the client's id goes back to it.
  const clientId = request.options.get(OPTIONS.clientId)
  if (clientId) options.set(OPTIONS.clientId, clientId)
  return {
    op: 'reply', xid: request.xid, secs: 0, flags: request.flags, giaddr: UNSET, mac: request.mac, options,
    ciaddr: type === 'nak' || type === 'offer' ? UNSET : request.ciaddr,
    yiaddr: type === 'nak' || type === 'inform' ? UNSET : lease.address,
  }
}

function timeOptions({ leaseSeconds }: Lease): [number, Buffer][] {
  return [
    [OPTIONS.leaseSeconds, uint32(leaseSeconds)],
    [OPTIONS.renewalSeconds, uint32(Math.floor(leaseSeconds / 2))],
    [OPTIONS.rebindingSeconds, uint32(Math.floor((leaseSeconds * 7) / 8))],
  ]
}

function configurationOptions(lease: Lease): [number, Buffer][] {
  const mtu = Buffer.alloc(2)
  mtu.writeUInt16BE(lease.mtu)
  return [
    [OPTIONS.subnetMask, addressBytes(netmask(lease.prefix))],
    [OPTIONS.router, addressBytes(lease.gateway)],
    ...servers(OPTIONS.dns, lease.dns),
    [OPTIONS.hostname, Buffer.from(lease.hostname, 'latin1')],
    ...(lease.domainName === null ? [] : [[OPTIONS.domainName, Buffer.from(lease.domainName, 'latin1')] as [number, Buffer]]),
    [OPTIONS.mtu, mtu],
    [OPTIONS.broadcast, addressBytes(broadcastOf(lease))],
    ...servers(OPTIONS.ntp, lease.ntpServers),
    ...servers(OPTIONS.netbiosServers, lease.netbiosServers),
    ...(lease.netbiosNodeType === undefined ? [] : [[OPTIONS.netbiosNodeType, Buffer.from([lease.netbiosNodeType])] as [number, Buffer]]),
  ]
}

/** An option without a value may not be sent. */
function servers(code: number, addresses: string[] = []): [number, Buffer][] {
  return addresses.length === 0 ? [] : [[code, addressBytes(...addresses)]]
}

function broadcastOf({ address, prefix }: Lease): string {
  const subnet = parseCidr(`${address}/${prefix}`)
  if (!subnet || !contains(subnet, parseIpv4(address) ?? -1)) throw new Error(`not a lease: ${address}/${prefix}`)
  return formatIpv4(subnet.base + sizeOf(prefix) - 1)
}

/**
 * The default route, which a client that asks for routes takes from here alone (RFC 3442), and the
 * metadata service's own: images with a route for all of 169.254.0.0/16 would look for it on the link.
 */
function routes({ gateway }: Lease): Buffer {
  return Buffer.concat([
    Buffer.from([32]), addressBytes(METADATA_ADDRESS, gateway),
    Buffer.from([0]), addressBytes(gateway),
  ])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
