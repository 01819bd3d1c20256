import dgram from 'node:dgram'
import net from 'node:net'
import { readFileSync } from 'node:fs'
import type { Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import { isReply, rawQuestion } from './dns.ts'

const DNS_PORT = 53
/** Of one server, before the next is asked. */
const TIMEOUT_MS = 2_000
/** Queries under way to the outer resolvers; more are answered with a failure. */
const MAX_IN_FLIGHT = 256
const HEADER_BYTES = 12

/** Asks the host's own resolvers on behalf of the guests. */
export interface Forwarder {
  /** The answer to `query`, with its id; undefined when no server answered. */
  ask(query: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined>
  /** Ends what is under way; those queries get no answer. */
  cancelAll(): void
}

/**
 * A forwarder to `servers`, each "address" or "address:port", asked in their order. They are looked
 * up for each query: a host that moves to another network gets other resolvers.
 */
export function createForwarder(options: { clock: Clock; random: Random; servers: () => string[] }): Forwarder {
  const { clock, random, servers } = options
  let underWay = new Underway()
  let inFlight = 0
  return {
    async ask(query, transport) {
      if (inFlight >= MAX_IN_FLIGHT || query.length < HEADER_BYTES) return undefined
      inFlight++
      const mine = underWay
      try {
        // An id of our own, so that who can guess the guest's still cannot answer in the server's place.
        const sent = Buffer.from(query)
        random.bytes(2).copy(sent)
        for (const server of servers().map(parseServer)) {
          if (mine.cancelled) break
          const answer = await (transport === 'udp' ? askUdp : askTcp)(clock, server, sent, mine)
          if (answer) {
            query.copy(answer, 0, 0, 2)
            return answer
          }
        }
        return undefined
      } finally {
        inFlight--
      }
    },
    cancelAll() {
      underWay.cancel()
      underWay = new Underway()
    },
  }
}

/** Queries that can be cancelled together. */
class Underway {
  readonly endings = new Set<() => void>()
  cancelled = false

  cancel(): void {
    this.cancelled = true
    for (const end of this.endings) end()
  }
}

/** The nameservers of /etc/resolv.conf, read as the C library does. */
export function hostResolvers(file = '/etc/resolv.conf'): string[] {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return []
  }
  const addresses = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address]) => address ?? '')
  return addresses.filter((address) => net.isIP(address) !== 0)
}

interface Server {
  address: string
  port: number
}

function parseServer(text: string): Server {
  const [, address, port] = /^(\d+\.\d+\.\d+\.\d+):(\d+)$/.exec(text) ?? []
  return address === undefined ? { address: text, port: DNS_PORT } : { address, port: Number(port) }
}

function askUdp(clock: Clock, server: Server, query: Buffer, underWay: Underway): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(net.isIPv6(server.address) ? 'udp6' : 'udp4')
    let ended = false
    const end = (answer?: Buffer) => {
      if (ended) return
      ended = true
      timer.cancel()
      underWay.endings.delete(onFailure)
      socket.close()
      resolve(answer)
    }
    const onFailure = () => end()
    const timer = clock.after(TIMEOUT_MS, onFailure)
    underWay.endings.add(onFailure)
    socket.on('error', onFailure)
    socket.on('message', (message) => {
      if (isAnswerTo(message, query)) end(message)
    })
    // A connected socket takes datagrams of that server alone, and learns that nobody listens there.
    socket.once('connect', () => {
      if (!ended) socket.send(query)
    })
    socket.connect(server.port, server.address)
  })
}

function askTcp(clock: Clock, server: Server, query: Buffer, underWay: Underway): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: server.address, port: server.port })
    const end = (answer?: Buffer) => {
      timer.cancel()
      underWay.endings.delete(onFailure)
      socket.destroy()
      resolve(answer)
    }
    const onFailure = () => end()
    const timer = clock.after(TIMEOUT_MS, onFailure)
    underWay.endings.add(onFailure)
    socket.on('error', onFailure)
    socket.on('close', onFailure)
    readFrames(socket, (message) => {
      if (isAnswerTo(message, query)) end(message)
    })
    socket.write(frame(query))
  })
}

/** Whether `message` replies to that query: its id and, in any case of letters, its question. */
function isAnswerTo(message: Buffer, query: Buffer): boolean {
  if (message.length < HEADER_BYTES || message.readUInt16BE(0) !== query.readUInt16BE(0)) return false
  if (!isReply(message)) return false
  const [asked, answered] = [query, message].map((each) => rawQuestion(each)?.toString('latin1').toLowerCase())
  // A server that could not read the query leaves the question out.
  return answered === asked || message.readUInt16BE(4) === 0
}

/** A DNS message as TCP carries it, after its length. */
export function frame(message: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}

/** Calls `onMessage` for each whole DNS message that comes over the connection. */
export function readFrames(socket: net.Socket, onMessage: (message: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0)
      onMessage(rest.subarray(2, end))
      rest = rest.subarray(end)
    }
  })
}
