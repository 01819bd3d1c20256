import type dgram from 'node:dgram'
import { stat } from 'node:fs/promises'
import type net from 'node:net'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { messageOf } from '../../core/errors.ts'
import { systemRandom } from '../../core/random.ts'
import type { VpcServices } from '../driver.ts'
import type { VpcServicesServer } from '../services-server.ts'
import { answerDhcp } from './dhcp.ts'
import { createDnsServer } from './dns-server.ts'
import { createForwarder, hostResolvers, type Forwarder } from './forwarder.ts'
import { serveMetadata } from './http.ts'
import { answerNtp } from './ntp.ts'
import { closeSocket, isOpen, openSockets, type SocketHandle, type SocketSpec } from './sockets.ts'

const DHCP_CLIENT_PORT = 68
/** DHCP messages of one VPC under way; more are dropped, and their guests ask again. */
const MAX_DHCP_IN_FLIGHT = 256

export interface VpcServicesOptions {
  services: VpcServices
  clock: Clock
  log: Logger
  /** Resolvers for all names but our own; those of /etc/resolv.conf unless given. */
  upstreamDns?: string[]
}

type Listen = Parameters<VpcServicesServer['open']>[2]

interface OpenVpc {
  /** What is open and where; another one means to open anew. */
  key: string
  close(): void
}

/** DHCP, DNS, NTP and metadata for any number of VPCs, all answered by this process. */
export function createVpcServices(options: VpcServicesOptions): VpcServicesServer {
  const { clock, services, log, upstreamDns } = options
  const servers = upstreamDns ? () => upstreamDns : () => hostResolvers()
  const forwarder = createForwarder({ clock, random: systemRandom, servers })
  const open = new Map<string, OpenVpc>()
  // Calls for one VPC come after each other.
  const queues = new Map<string, Promise<void>>()

  function inTurn(vpcId: string, run: () => Promise<void>): Promise<void> {
    const done = (queues.get(vpcId) ?? Promise.resolve()).then(run)
    const settled = done.catch(() => {})
    queues.set(vpcId, settled)
    void settled.then(() => {
      if (queues.get(vpcId) === settled) queues.delete(vpcId)
    })
    return done
  }

  function closeNow(vpcId: string): void {
    open.get(vpcId)?.close()
    open.delete(vpcId)
  }

  return {
    open: (vpcId, netnsPath, listen) =>
      inTurn(vpcId, async () => {
        const key = JSON.stringify([await identityOf(netnsPath), listen])
        if (open.get(vpcId)?.key === key) return
        closeNow(vpcId)
        const serving = createServing(vpcId, { services, forwarder, clock, log })
        try {
          await openSockets(clock, netnsPath, socketSpecs(listen), (id, socket) => serving.attach(id, socket))
        } catch (error) {
          serving.close()
          throw error
        }
        open.set(vpcId, { key, close: serving.close })
      }),
    close: (vpcId) => inTurn(vpcId, async () => closeNow(vpcId)),
    async closeAll() {
      const ids = new Set([...open.keys(), ...queues.keys()])
      forwarder.cancelAll()
      await Promise.all([...ids].map((vpcId) => inTurn(vpcId, async () => closeNow(vpcId))))
    },
  }
}

/** A namespace that was made anew under the same path is another one. */
async function identityOf(netnsPath: string): Promise<string> {
  const { dev, ino } = await stat(netnsPath)
  return `${dev}:${ino}`
}

function socketSpecs({ dns, metadata, ntp }: Listen): SocketSpec[] {
  return [
    { id: 'dhcp', protocol: 'udp', address: '0.0.0.0', port: 67 },
    ...dns.flatMap((address): SocketSpec[] => [
      { id: `dns-udp ${address}`, protocol: 'udp', address, port: 53 },
      { id: `dns-tcp ${address}`, protocol: 'tcp', address, port: 53 },
    ]),
    ...(ntp === undefined ? [] : [{ id: 'ntp', protocol: 'udp', address: ntp, port: 123 } as const]),
    { id: 'metadata', protocol: 'tcp', address: metadata, port: 80 },
  ]
}

/** The services of one VPC, on the sockets that they get one by one. */
function createServing(
  vpcId: string,
  options: { services: VpcServices; forwarder: Forwarder; clock: Clock; log: Logger },
): { attach(id: string, socket: SocketHandle): void; close(): void } {
  const { services, forwarder, clock, log } = options
  const dns = createDnsServer({ vpcId, services, forwarder, log })
  const endings: (() => void)[] = [() => dns.close()]
  return {
    attach(id, socket) {
      socket.on('error', (error: Error) => log.error('a service socket failed', { vpcId, id, error: error.message }))
      if (id === 'metadata') {
        const listener = socket as net.Server
        endings.push(serveMetadata(listener, (from, request) => services.metadata(vpcId, from, request), log))
      } else if (id === 'dhcp') serveDhcp(socket as dgram.Socket, vpcId, services, log)
      else if (id === 'ntp') serveNtp(socket as dgram.Socket, clock)
      else if (id.startsWith('dns-udp')) dns.serveUdp(socket as dgram.Socket)
      else dns.serveTcp(socket as net.Server)
      endings.push(() => closeSocket(socket))
    },
    close() {
      for (const end of endings) end()
    },
  }
}

function serveDhcp(socket: dgram.Socket, vpcId: string, services: VpcServices, log: Logger): void {
  let inFlight = 0
  socket.on('message', (message) => {
    if (inFlight >= MAX_DHCP_IN_FLIGHT) return
    inFlight++
    answerDhcp(message, (mac) => services.leaseFor(vpcId, mac))
      .then((reply) => {
        if (reply && isOpen(socket)) socket.send(reply.bytes, DHCP_CLIENT_PORT, reply.address, () => {})
      })
      .catch((error: unknown) => log.warn('a DHCP request failed', { vpcId, error: messageOf(error) }))
      .finally(() => inFlight--)
  })
}

function serveNtp(socket: dgram.Socket, clock: Clock): void {
  socket.on('message', (message, from) => {
    const reply = answerNtp(message, clock.now(), () => clock.now())
    if (reply && isOpen(socket)) socket.send(reply, from.port, from.address, () => {})
  })
}
