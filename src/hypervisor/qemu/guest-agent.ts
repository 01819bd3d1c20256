import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import type { Execute, Qemu } from './devices.ts'
import { openSocket } from './qmp.ts'

/** How long an agent may take to say that it is there, and for an answer that it need not work for. */
const REACH_TIMEOUT_MS = 1500
/** No answer used here comes near this; more is a broken or hostile guest. */
const MAX_ANSWER_BYTES = 65_536

/** As much as a sentence for people needs. */
const MAX_REFUSAL_LENGTH = 500

/** What the guest's agent refused. */
export class GuestAgentError extends Error {
  /** "GenericError", "CommandNotFound"…; a guest may say anything. */
  readonly errorClass: string

  constructor(message: string, errorClass: string) {
    super(message)
    this.errorClass = errorClass
  }
}

/** Whether the guest's agent refused since it does not have that command, or not any more. */
export function isUnknownCommand(error: unknown): boolean {
  return error instanceof GuestAgentError && error.errorClass === 'CommandNotFound'
}

/**
 * Does something with the agent in the guest. One client at a time: the others wait for it.
 *
 * @returns undefined, with nothing done, where none answers in time.
 */
export async function withGuestAgent<T>(qemu: Qemu, clock: Clock, use: (agent: GuestAgent) => Promise<T>): Promise<T | undefined> {
  const agent = (await hasGuestAgent(qemu.execute)) ? await GuestAgent.reach(qemu.folder, clock) : undefined
  try {
    return agent && (await use(agent))
  } finally {
    agent?.close()
  }
}

/** Whether something in the guest has the agents' channel open. */
export async function hasGuestAgent(execute: Execute): Promise<boolean> {
  const channels = (await execute('query-chardev')) as { label: string; 'frontend-open': boolean }[]
  return channels.some((channel) => channel.label === 'qga' && channel['frontend-open'])
}

/** The guest's own agent (qemu-guest-agent): lines of JSON, one question at a time. A guest may answer anything. */
export class GuestAgent {
  readonly #socket: Socket
  readonly #clock: Clock
  #buffer = ''
  #answer: (answer: Record<string, unknown>) => void = () => {}
  #closed: () => void = () => {}

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('close', () => this.#closed())
    socket.on('data', (text: string) => this.#receive(text))
  }

  /** Undefined when none answers in time. */
  static async reach(folder: string, clock: Clock): Promise<GuestAgent | undefined> {
    const agent = new GuestAgent(openSocket(folder, 'qga.sock'), clock)
    try {
      await agent.synchronise()
      return agent
    } catch {
      agent.close()
      return undefined
    }
  }

  /**
   * Has the agent do something, and waits for its answer.
   *
   * @throws GuestAgentError when it refuses, Error when no answer comes in time.
   */
  ask(command: string, args?: Record<string, unknown>, timeoutMs = REACH_TIMEOUT_MS): Promise<unknown> {
    return this.#ask(command, args, timeoutMs, () => true)
  }

  close(): void {
    this.#socket.destroy()
  }

  /**
   * Throws away what an earlier client left half said, on both sides: the delimiter makes an agent forget
   * what it has of a line. It complains of the delimiter too, before it answers.
   */
  async synchronise(timeoutMs = REACH_TIMEOUT_MS): Promise<void> {
    const id = this.#clock.now()
    this.#socket.write('\xff', 'latin1')
    await this.#ask('guest-sync-delimited', { id }, timeoutMs, (answer) => answer.return === id)
  }

  /** Takes the first answer that `isIt`, within `timeoutMs`. */
  #ask(
    command: string,
    args: Record<string, unknown> | undefined,
    timeoutMs: number,
    isIt: (answer: Record<string, unknown>) => boolean,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        deadline.cancel()
        this.#answer = this.#closed = () => {}
        settle()
      }
      const sentence = (why: string) => `the guest's agent: ${command}: ${why}`
      const fail = (why: string) => end(() => reject(new Error(sentence(why))))
      const deadline = this.#clock.after(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`))
      this.#closed = () => fail('the connection closed')
      this.#answer = (answer) => {
        if (!isIt(answer)) return
        if ('error' in answer) end(() => reject(refusal(answer.error, sentence)))
        else end(() => resolve(answer.return))
      }
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    })
  }

  #receive(text: string): void {
    this.#buffer += text
    if (this.#buffer.length > MAX_ANSWER_BYTES) return void this.#socket.destroy()
    const lines = this.#buffer.split('\n')
    this.#buffer = lines.pop() ?? ''
    // What comes before its delimiter belongs to an answer that nobody waits for.
    for (const line of lines) {
      const answer = parse(line.slice(line.lastIndexOf('\xff') + 1))
      if (answer) this.#answer(answer)
    }
  }
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const answer: unknown = JSON.parse(line)
    return typeof answer === 'object' && answer !== null ? (answer as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** What an agent says of an error is a class and a description; this one may be the guest's own invention. */
function refusal(error: unknown, sentence: (why: string) => string): GuestAgentError {
  const { class: errorClass, desc } = typeof error === 'object' && error !== null ? (error as Record<string, unknown>) : {}
  const why = (typeof desc === 'string' ? desc : JSON.stringify(error)).slice(0, MAX_REFUSAL_LENGTH)
  return new GuestAgentError(sentence(why), typeof errorClass === 'string' ? errorClass : 'GenericError')
}
