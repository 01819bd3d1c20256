import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'
import type { Qemu } from './devices.ts'
import { openSocket } from './qmp.ts'

/** How long an agent may take to say that it is there. */
const REACH_TIMEOUT_MS = 1500
/** Freezing writes out first what the guest's file systems hold. */
const FREEZE_TIMEOUT_MS = 5000
const THAW_TIMEOUT_MS = 10_000
/** No answer used here comes near this; more is a broken or hostile guest. */
const MAX_ANSWER_BYTES = 65_536

/**
 * Does `act` while the guest's file systems are frozen, where its agent can be reached and freezes them;
 * otherwise just so. Lets them go on in any case, also those that an earlier call left frozen.
 *
 * @returns whether they were frozen all the time.
 * @throws Error also when the guest does not say that they go on: it has to be asked again.
 */
export async function whileQuiesced(qemu: Qemu, clock: Clock, act: () => Promise<void>): Promise<boolean> {
  const agent = await reach(qemu, clock)
  if (!agent) {
    await act()
    return false
  }
  try {
    let isQuiesced: boolean
    try {
      isQuiesced = await agent.freeze().catch(() => false)
      await act()
    } finally {
      await agent.thaw()
    }
    return isQuiesced
  } finally {
    agent.close()
  }
}

/**
 * Lets file systems go on that an earlier call left frozen.
 *
 * @returns whether there were any.
 */
export async function ensureThawed(qemu: Qemu, clock: Clock): Promise<boolean> {
  const agent = await reach(qemu, clock)
  try {
    return (await agent?.thaw()) ?? false
  } finally {
    agent?.close()
  }
}

async function reach(qemu: Qemu, clock: Clock): Promise<GuestAgent | undefined> {
  return (await hasAgent(qemu)) ? GuestAgent.reach(qemu.folder, clock) : undefined
}

/** Whether something in the guest has the agents' channel open. */
async function hasAgent({ execute }: Qemu): Promise<boolean> {
  const channels = (await execute('query-chardev')) as { label: string; 'frontend-open': boolean }[]
  return channels.some((channel) => channel.label === 'qga' && channel['frontend-open'])
}

/** The guest's own agent (qemu-guest-agent): lines of JSON, one question at a time. A guest may answer anything. */
class GuestAgent {
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
      await agent.#synchronise()
      return agent
    } catch {
      agent.close()
      return undefined
    }
  }

  /** Whether there are frozen file systems now. */
  async freeze(): Promise<boolean> {
    if ((await this.#ask('guest-fsfreeze-status', undefined, REACH_TIMEOUT_MS)) === 'frozen') return true
    return Number(await this.#ask('guest-fsfreeze-freeze', undefined, FREEZE_TIMEOUT_MS)) > 0
  }

  /**
   * A freeze that was not answered in time may be going on: the agent takes one question after the other.
   *
   * @returns whether there were frozen file systems.
   */
  async thaw(): Promise<boolean> {
    await this.#synchronise(THAW_TIMEOUT_MS)
    if ((await this.#ask('guest-fsfreeze-status', undefined, REACH_TIMEOUT_MS)) === 'thawed') return false
    await this.#ask('guest-fsfreeze-thaw', undefined, THAW_TIMEOUT_MS)
    return true
  }

  close(): void {
    this.#socket.destroy()
  }

  /**
   * Throws away what an earlier client left half said, on both sides: the delimiter makes an agent forget
   * what it has of a line. It complains of the delimiter too, before it answers.
   */
  async #synchronise(timeoutMs = REACH_TIMEOUT_MS): Promise<void> {
    const id = this.#clock.now()
    this.#socket.write('\xff', 'latin1')
    await this.#ask('guest-sync-delimited', { id }, timeoutMs, (answer) => answer.return === id)
  }

  /** Takes the first answer that `isIt`, within `timeoutMs`. */
  #ask(
    command: string,
    args: Record<string, unknown> | undefined,
    timeoutMs: number,
    isIt: (answer: Record<string, unknown>) => boolean = () => true,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void) => {
        deadline.cancel()
        this.#answer = this.#closed = () => {}
        settle()
      }
      const fail = (why: string) => end(() => reject(new Error(`the guest's agent: ${command}: ${why}`)))
      const deadline = this.#clock.after(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`))
      this.#closed = () => fail('the connection closed')
      this.#answer = (answer) => {
        if (!isIt(answer)) return
        if ('error' in answer) fail(JSON.stringify(answer.error))
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
