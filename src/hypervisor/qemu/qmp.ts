import { closeSync, constants, lstatSync, openSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Clock, Timer } from '../../core/clock.ts'

/** An event as QEMU sends it ("SHUTDOWN", "RESET", "STOP"…). */
export interface QmpEvent {
  event: string
  data: Record<string, unknown>
}

interface Pending {
  command: string
  deadline: Timer
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/** What QEMU refused. */
export class QmpError extends Error {
  /** "GenericError", "DeviceNotFound"… */
  readonly errorClass: string

  constructor(message: string, errorClass: string) {
    super(message)
    this.errorClass = errorClass
  }
}

/** No message of the commands used here comes near this; more is a broken or hostile peer. */
const MAX_LINE_BYTES = 16 * 1024 * 1024

/** A client of QEMU's machine protocol: JSON lines, replies matched by id, a deadline on everything. */
export class QmpClient {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #pending = new Map<number, Pending>()
  #buffer = ''
  #lastId = 0
  #greet: () => void = () => {}
  onEvent: (event: QmpEvent) => void = () => {}
  onClose: () => void = () => {}

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#receive(text))
    socket.on('error', () => {})
    socket.on('close', () => this.#closed())
  }

  /**
   * Connects to the socket `name` in `folder` and negotiates.
   *
   * @throws Error when nobody listens, or the greeting does not come within `timeoutMs` (QEMU
   * serves one client per socket; a second one waits without a word).
   */
  static async connect(folder: string, name: string, clock: Clock, timeoutMs: number): Promise<QmpClient> {
    const client = new QmpClient(openSocket(folder, name), clock)
    try {
      await client.#greeted(name, timeoutMs)
      await client.execute('qmp_capabilities', undefined, timeoutMs)
      return client
    } catch (error) {
      client.close()
      throw error
    }
  }

  /**
   * Runs one command.
   *
   * @throws Error when QEMU refuses, the connection closes, or no answer comes within `timeoutMs`.
   */
  execute(command: string, args: Record<string, unknown> | undefined, timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error(`${command}: the connection to QEMU is closed`))
      const id = ++this.#lastId
      const deadline = this.#clock.after(timeoutMs, () => {
        this.#pending.delete(id)
        reject(new Error(`${command}: no answer from QEMU within ${timeoutMs} ms`))
      })
      this.#pending.set(id, { command, deadline, resolve, reject })
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    })
  }

  close(): void {
    this.onEvent = () => {}
    this.onClose = () => {}
    this.#socket.destroy()
  }

  #greeted(name: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        deadline.cancel()
        reject(new Error(`${name}: ${why}`))
      }
      const deadline = this.#clock.after(timeoutMs, () => fail(`no greeting from QEMU within ${timeoutMs} ms`))
      this.#greet = () => {
        deadline.cancel()
        resolve()
      }
      this.#socket.once('error', (error) => fail(error.message))
      this.#socket.once('close', () => fail('closed before the greeting'))
    })
  }

  #receive(text: string): void {
    this.#buffer += text
    if (this.#buffer.length > MAX_LINE_BYTES) return void this.#socket.destroy()
    const lines = this.#buffer.split('\n')
    this.#buffer = lines.pop() ?? ''
    for (const line of lines) {
      if (line.trim() === '') continue
      const message = parse(line)
      if (!message) return void this.#socket.destroy()
      this.#dispatch(message)
    }
  }

  #dispatch(message: Record<string, unknown>): void {
    if ('QMP' in message) return this.#greet()
    if (typeof message.event === 'string') {
      return this.onEvent({ event: message.event, data: (message.data ?? {}) as Record<string, unknown> })
    }
    const pending = this.#pending.get(Number(message.id))
    // A reply that comes after its deadline has nobody waiting for it.
    if (!pending) return
    this.#pending.delete(Number(message.id))
    pending.deadline.cancel()
    const error = message.error as { class?: string; desc?: string } | undefined
    if (error) pending.reject(new QmpError(`${pending.command}: ${error.desc ?? 'refused by QEMU'}`, error.class ?? ''))
    else pending.resolve(message.return)
  }

  #closed(): void {
    for (const pending of this.#pending.values()) {
      pending.deadline.cancel()
      pending.reject(new Error(`${pending.command}: QEMU closed the connection`))
    }
    this.#pending.clear()
    this.onClose()
  }
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const message: unknown = JSON.parse(line)
    return typeof message === 'object' && message !== null ? (message as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/**
 * Connects through a handle on the folder: a Unix socket's path holds 107 bytes, and a home may be
 * deeper than that.
 */
export function openSocket(folder: string, name: string): Socket {
  // The machine's own user can write in the folder: a link there must not lead to another's monitor.
  if (!lstatSync(join(folder, name)).isSocket()) throw new Error(`${name}: not a socket`)
  const handle = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  const socket = connect(`/proc/self/fd/${handle}/${name}`)
  let open = true
  const release = () => {
    if (open) closeSync(handle)
    open = false
  }
  socket.once('connect', release)
  socket.once('close', release)
  return socket
}
