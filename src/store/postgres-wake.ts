import type { Client } from 'pg'
import type { Clock, Timer } from '../core/clock.ts'
import { pg } from './pg.ts'
import { clientConfig } from './postgres-dialect.ts'

/** Of one schema: clouds, and regions of one, may share a database. Names are cut off at 63 bytes, for all alike. */
function channelOf(schema: string | null): string {
  return `"hearth_commit${schema === null ? '' : ` ${schema.replaceAll('"', '""')}`}"`
}

/** Pauses before the connection is made again. */
const PAUSE_MS = { first: 100, most: 5_000 }

/** A connection on which a wake-up takes longer is given up and made again. */
const QUERY_TIMEOUT_MS = 10_000

/**
 * Tells the other processes that work was marked due, and hears it from them, over a connection
 * of its own. A hint only: one that is lost with the connection costs its reader the time to its
 * next look. Not sent within the transaction, because PostgreSQL lets one commit with NOTIFY pass at a time.
 */
export class PostgresWake {
  readonly #url: string
  readonly #channel: string
  readonly #clock: Clock
  readonly #heard: () => void
  #client: Client | undefined
  #ready: Promise<void> | undefined
  #timer: Timer | undefined
  #sending: Promise<void> | undefined
  #sendAgain = false
  #failures = 0
  #isClosed = false

  /** `heard` is called when another process has committed, or may have while there was no connection. */
  constructor({ url, schema, clock, heard }: { url: string; schema: string | null; clock: Clock; heard: () => void }) {
    this.#url = url
    this.#channel = channelOf(schema)
    this.#clock = clock
    this.#heard = heard
  }

  /** Connects, unless it has; resolves when it hears, or when a first try has failed. */
  open(): Promise<void> {
    this.#ready ??= this.#connect()
    return this.#ready
  }

  /** Sends a wake-up soon; many at once become one or two. */
  send(): void {
    if (this.#sending) {
      this.#sendAgain = true
      return
    }
    this.#sending = this.#send().finally(() => {
      this.#sending = undefined
      if (!this.#sendAgain) return
      this.#sendAgain = false
      this.send()
    })
  }

  /** What was sent is on its way when this resolves. */
  async close(): Promise<void> {
    while (this.#sending) await this.#sending
    this.#isClosed = true
    this.#timer?.cancel()
    await this.#ready
    await this.#client?.end()
  }

  async #send(): Promise<void> {
    await this.open()
    // When there is no connection, or it breaks now, the others look by themselves.
    const client = this.#client
    await client?.query(`notify ${this.#channel}`).catch(() => client.end())
  }

  async #connect(): Promise<void> {
    const client = new pg.Client({ ...clientConfig({ url: this.#url }), query_timeout: QUERY_TIMEOUT_MS })
    let isOver = false
    const over = () => {
      if (isOver) return
      isOver = true
      if (this.#client === client) this.#client = undefined
      client.end().catch(() => {})
      this.#connectLater()
    }
    client.on('error', over)
    client.on('end', over)
    client.on('notification', ({ processId }) => {
      if (processId !== processIdOf(client)) this.#heard()
    })
    try {
      await client.connect()
      // Nothing is lost with a wake-up, so nobody waits for a disk because of one.
      await client.query(`set synchronous_commit = off; listen ${this.#channel}`)
    } catch {
      over()
      return
    }
    if (isOver) return
    this.#client = client
    this.#failures = 0
    // Nobody knows what was committed before it could hear.
    this.#heard()
  }

  #connectLater(): void {
    if (this.#isClosed) return
    const pauseMs = Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** Math.min(this.#failures, 10))
    this.#failures += 1
    this.#timer = this.#clock.after(pauseMs, () => void (this.#ready = this.#connect()))
  }
}

/** The server's process behind the connection, which says who sent a notification; not in pg's types. */
function processIdOf(client: Client): number | null {
  return (client as unknown as { processID: number | null }).processID
}
