import { createServer, type Server, type Socket } from 'node:net'
import ssh2 from 'ssh2'
import type { AuthContext, Connection, ServerChannel, Session } from 'ssh2'
import type { Clock, Timer } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Store } from '../store/store.ts'
import { instanceOf, isWelcome } from './authenticate.ts'
import { join } from './session.ts'

/** The most connections at a time, those that have not said who they are included. */
const MAX_CONNECTIONS = 64
/** How long somebody may take to come in and to ask for a shell. */
const LOGIN_GRACE_MS = 15_000
/** How often somebody may try to. */
const MAX_ATTEMPTS = 12
/** How long a client may take to close its end of a session that is over. */
const GOODBYE_MS = 5000
/** The smallest packets that a client may ask for; OpenSSH wants 32 KiB. */
const MIN_PACKET_BYTES = 1024
/** How long a console may be silent in both directions. */
const IDLE_MS = 60 * 60_000

export interface SerialConsoleOptions {
  store: Store
  clock: Clock
  log: Logger
  hypervisor: Hypervisor
  /** Of whose hosts' machines. */
  nodeId: string
  /** In OpenSSH's form. */
  hostKey: string
  loginGraceMs?: number
}

/** An SSH server that knows nothing but the serial consoles of this node's machines. */
export interface SerialConsole {
  /** @returns the port. @throws Error when it cannot be had. */
  listen(port: number, host: string): Promise<number>
  /** Ends every session. */
  close(): Promise<void>
}

export function createSerialConsole(options: SerialConsoleOptions): SerialConsole {
  return new SerialConsoleServer(options)
}

interface Seat {
  socket: Socket
  /** Ends a connection that does not sit at a console in time. */
  grace: Timer
}

/** Whose console, and what goes with the connection. */
interface Place extends Seat {
  instanceId: string
  /** Aborts when the client is gone. */
  left: AbortSignal
}

class SerialConsoleServer implements SerialConsole {
  readonly #options: SerialConsoleOptions
  readonly #ssh: ssh2.Server
  /** Of our own, since one who connects and says nothing is none of the SSH server's. */
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** By the client's address and port. */
  readonly #seats = new Map<string, Seat>()

  constructor(options: SerialConsoleOptions) {
    this.#options = options
    // What compresses throws when it is used after its client has gone.
    const algorithms = { compress: ['none' as const] }
    this.#ssh = new ssh2.Server({ hostKeys: [options.hostKey], ident: 'hearth', algorithms }, (client, { ip, port }) => {
      const seat = this.#seats.get(`${ip} ${port}`)
      if (seat) this.#serve(client, seat)
      else client.end()
    })
    this.#ssh.on('error', (error: unknown) => this.#note('the SSH server', error))
    this.#server = createServer((socket) => this.#accept(socket))
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  listen(port: number, host: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject)
        this.#server.on('error', (error) => this.#note('listening', error))
        const address = this.#server.address()
        resolve(typeof address === 'object' && address ? address.port : port)
      })
    })
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.setNoDelay(true)
    const grace = this.#options.clock.after(this.#options.loginGraceMs ?? LOGIN_GRACE_MS, () => socket.destroy())
    const client = `${socket.remoteAddress} ${socket.remotePort}`
    this.#seats.set(client, { socket, grace })
    socket.once('close', () => {
      grace.cancel()
      this.#seats.delete(client)
      this.#sockets.delete(socket)
    })
    this.#ssh.injectSocket(socket)
  }

  /** One connection: who it is, then one console. */
  #serve(client: Connection, seat: Seat): void {
    let instanceId: string | undefined
    let attempts = 0
    let hasSession = false
    const left = new AbortController()
    client.once('close', () => left.abort())
    // Whatever a client sends that is not SSH ends up here, and its connection with it.
    client.on('error', (error: unknown) => this.#note('a client', error))
    client.on('authentication', (attempt) => {
      attempts += 1
      if (attempts > MAX_ATTEMPTS) return void client.end()
      void this.#isWelcome(attempt).then((isGood) => {
        if (!isGood) return attempt.reject(['publickey'])
        if (attempt.method === 'publickey' && attempt.signature) instanceId ??= instanceOf(attempt.username)
        return attempt.accept()
      }).catch((error: unknown) => {
        // The client is gone by now, or has asked out of turn.
        this.#note('an answer to an attempt', error)
        seat.socket.destroy()
      })
    })
    client.on('session', (accept, reject) => {
      if (instanceId === undefined || hasSession) return void reject()
      hasSession = true
      const place: Place = { ...seat, instanceId, left: left.signal }
      const session = accept()
      // Not declared, and checked by nobody else: with packets of no size the library would send for ever.
      const { outgoing } = Reflect.get(session, '_chanInfo') as { outgoing: { packetSize: number } }
      if (outgoing.packetSize < MIN_PACKET_BYTES) return void seat.socket.destroy()
      this.#offer(session, (channel) => this.#sit(channel, place).finally(() => client.end()))
    })
  }

  #isWelcome(attempt: AuthContext): Promise<boolean> {
    return isWelcome(this.#options, attempt).catch((error: unknown) => {
      this.#note('an attempt to come in', error)
      return false
    })
  }

  /** A shell, once; nothing else. */
  #offer(session: Session, sit: (channel: ServerChannel) => Promise<void>): void {
    let hasShell = false
    session.on('error', (error: unknown) => this.#note('a session', error))
    session.on('pty', (accept) => accept?.())
    session.on('window-change', (accept) => accept?.())
    session.on('shell', (accept, reject) => {
      if (hasShell) return void reject()
      hasShell = true
      const channel = accept()
      channel.on('error', (error: unknown) => this.#note('a channel', error))
      sit(channel).catch((error: unknown) => this.#note('a serial console', error))
    })
  }

  async #sit(channel: ServerChannel, { instanceId, socket, grace, left }: Place): Promise<void> {
    const { hypervisor, clock, log } = this.#options
    const say = (text: string) => channel.stderr.write(`${text}\r\n`)
    const serial = await hypervisor.openSerial(instanceId)
    if (serial === 'absent') say(`${instanceId} does not run.`)
    else if (serial === 'busy') say('The instance currently has 1 active serial console session. Only 1 session is supported at a time.')
    else {
      grace.cancel()
      log.info('a serial console session begins', { instanceId })
      say(`serial console of ${instanceId}; Enter and ~. leave it`)
      const why = await join(channel, serial, { clock, idleMs: IDLE_MS, left, unsentBytes: () => socket.writableLength })
      log.info('a serial console session has ended', { instanceId, why })
      say(`\r\n${why}`)
    }
    await this.#leave(channel, typeof serial === 'string' ? 1 : 0, left)
  }

  /** A client that is cut off before it has closed its end takes its session for failed. */
  #leave(channel: ServerChannel, status: number, left: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(GOODBYE_MS, resolve)
      const isOver = () => {
        timer.cancel()
        resolve()
      }
      channel.once('close', isOver)
      left.addEventListener('abort', isOver, { once: true })
      channel.exit(status)
      channel.end()
      if (left.aborted) isOver()
    })
  }

  #note(what: string, error: unknown): void {
    this.#options.log.info('serial console', { what, error: messageOf(error) })
  }
}
