import type dgram from 'node:dgram'
import type net from 'node:net'
import type { Logger } from '../../core/logger.ts'
import type { VpcServices } from '../driver.ts'
import { answerDns } from './dns.ts'
import { frame, readFrames, type Forwarder } from './forwarder.ts'
import { isOpen } from './sockets.ts'

/** Queries of one VPC under way; a datagram above that is dropped, as a full queue would. */
const MAX_IN_FLIGHT = 512
const TCP_IDLE_TIMEOUT_MS = 10_000
const MAX_TCP_CONNECTIONS = 200
/** Queries that one connection may have under way. */
const MAX_TCP_PIPELINED = 32

/** Answers the names of one VPC on sockets that listen already. */
export interface DnsServer {
  serveUdp(socket: dgram.Socket): void
  serveTcp(listener: net.Server): void
  /** Ends connections; the sockets themselves belong to the caller. */
  close(): void
}

export function createDnsServer(options: {
  vpcId: string
  services: VpcServices
  forwarder: Forwarder
  log: Logger
}): DnsServer {
  const { vpcId, services, forwarder, log } = options
  const connections = new Set<net.Socket>()
  let inFlight = 0

  async function answer(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    if (inFlight >= MAX_IN_FLIGHT) return undefined
    inFlight++
    try {
      return await answerDns(message, {
        resolveName: (name) => services.resolveName(vpcId, name),
        resolveAddress: (address) => services.resolveAddress(vpcId, address),
        forward: (query) => forwarder.ask(query, transport),
        onError: (error) => log.warn('a name could not be looked up', { vpcId, error }),
      })
    } finally {
      inFlight--
    }
  }

  return {
    serveUdp(socket) {
      socket.on('message', (message, from) => {
        void answer(message, 'udp').then((reply) => {
          // The guest may be gone, and the socket closed, by now.
          if (reply && isOpen(socket)) socket.send(reply, from.port, from.address, () => {})
        })
      })
    },
    serveTcp(listener) {
      listener.maxConnections = MAX_TCP_CONNECTIONS
      listener.on('connection', (connection) => {
        connections.add(connection)
        connection.on('close', () => connections.delete(connection))
        serveConnection(connection, (message) => answer(message, 'tcp'))
      })
    },
    close() {
      for (const connection of connections) connection.destroy()
    },
  }
}

function serveConnection(connection: net.Socket, answer: (message: Buffer) => Promise<Buffer | undefined>): void {
  let pending = 0
  connection.on('error', () => connection.destroy())
  connection.setTimeout(TCP_IDLE_TIMEOUT_MS, () => connection.destroy())
  readFrames(connection, (message) => {
    if (++pending > MAX_TCP_PIPELINED) return void connection.destroy()
    void answer(message).then((reply) => {
      pending--
      if (reply && connection.writable) connection.write(frame(reply))
      else connection.destroy()
    })
  })
}
