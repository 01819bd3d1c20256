import type { Command } from 'commander'
import { readFileSync } from 'node:fs'
import type { Clock } from '../core/clock.ts'
import { systemClock } from '../core/clock.ts'
import { readDuration } from '../core/duration.ts'
import { messageOf } from '../core/errors.ts'
import { envelopeOf, type Envelope } from '../events/envelope.ts'
import { parseEventPattern, type EventPattern } from '../events/pattern.ts'
import { isoSecond } from '../model/cloud-event.ts'
import { FEED_BEGINNING, feedEnd, feedSince, forgottenUntil, isBefore, readFeed } from '../model/event-feed.ts'
import type { Db, Store } from '../store/store.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { addEventTarget } from './event-target.ts'
import type { Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'

/** Without --since. */
const SHOWN_MS = 60 * 60 * 1000

/** The longest wait for what no wake-up told of. */
const LOOK_MS = 1000

const PAGE = 500

interface Options {
  follow?: boolean
  pattern?: string
  since?: string
  json?: boolean
}

/** `hearth events`, and `hearth events target …`. */
export function addEvents(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'events', 'show what happens in the cloud, as EventBridge would tell of it; or have it told to others', [
    'hearth events --since 24h', 'hearth events --follow',
    `hearth events --follow --json --pattern '{"detail-type":["EC2 Spot Instance Interruption Warning"]}'`,
    `hearth events target add handler --webhook http://127.0.0.1:3000/ --pattern @pattern.json`,
  ])
  command
    .option('--follow', 'go on with what happens, until Ctrl-C')
    .option('--pattern <json>', 'an event pattern of EventBridge, or @ and a file with one')
    .option('--since <time>', 'how far back: 90s, 10m, 2h, 1d (default 1h; with --follow, from now on)')
    .option('--json', 'print each as EventBridge\'s JSON, one a line')
  withSettings(command).action(async () => {
    const options = command.opts<Options>()
    const pattern = readPattern(options.pattern)
    const sinceMs = options.since === undefined ? undefined : systemClock.now() - readDuration(options.since)
    const settings = settingsOf(command)
    const { region } = settingsInForce(settings)
    await withStore(settings, async (store) => {
      const shown: ShownEvents = { pattern, region, json: options.json === true, sinceMs: sinceMs ?? systemClock.now() - SHOWN_MS }
      if (!options.follow) return show(store, terminal, shown)
      return untilInterrupted((signal) => follow({ store, clock: systemClock, terminal, signal }, { ...shown, sinceMs }))
    })
  })
  addEventTarget(command, terminal)
}

/** A pattern as an option gives it. @throws Error in EventBridge's words, or that the file cannot be read. */
function readPattern(given: string | undefined): EventPattern | undefined {
  return given === undefined ? undefined : parseEventPattern(patternText(given))
}

/** The JSON, which may be in a file. */
export function patternText(given: string): string {
  if (!given.startsWith('@')) return given
  const file = given.slice(1)
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new Error(`cannot read the pattern in ${file} (${messageOf(error)})`, { cause: error })
  }
}

/** Which events are shown, and how. */
export interface ShownEvents {
  pattern: EventPattern | undefined
  region: string
  json: boolean
  /** Undefined for those from now on. */
  sinceMs: number | undefined
}

/** Until when events since then are kept no more; null where all of them are. */
export async function missedUntil(db: Db, sinceMs: number | undefined): Promise<number | null> {
  const { atMs } = await forgottenUntil(db)
  return sinceMs !== undefined && atMs >= sinceMs ? atMs : null
}

/** The same for people. */
export function notKept(untilMs: number): string {
  return `events until ${isoSecond(untilMs)} are kept no more: a day of them is, and the last 100,000 at most`
}

/** Shows what is kept of them. */
export async function show(store: Store, terminal: Terminal, shown: ShownEvents): Promise<void> {
  const printer = createPrinter(terminal, shown)
  const missedUntilMs = await store.read((db) => missedUntil(db, shown.sinceMs))
  if (missedUntilMs !== null) terminal.say(notKept(missedUntilMs))
  for (let after = FEED_BEGINNING; ;) {
    const events = await store.read((db) => readFeed(db, { after, limit: PAGE, sinceMs: shown.sinceMs }))
    for (const event of events) printer.print(envelopeOf(event, shown.region))
    const last = events.at(-1)
    if (!last) break
    after = last.position
  }
  if (printer.count === 0) terminal.say('nothing of that has happened; --since 24h shows all that is kept, --follow what comes')
}

/** Shows them as they come, until the signal. Woken by commits, and by a timer for those that wake nobody. */
export async function follow(
  { store, clock, terminal, signal }: { store: Store; clock: Clock; terminal: Terminal; signal: AbortSignal },
  shown: ShownEvents,
): Promise<void> {
  const printer = createPrinter(terminal, shown)
  let wake = () => {}
  store.onCommit(() => wake())
  signal.addEventListener('abort', () => wake(), { once: true })
  const { sinceMs } = shown
  const begin = await store.read(async (db) => ({
    after: sinceMs === undefined ? await feedEnd(db) : await feedSince(db, sinceMs), missedUntilMs: await missedUntil(db, sinceMs),
  }))
  let { after } = begin
  if (begin.missedUntilMs !== null) terminal.say(notKept(begin.missedUntilMs))
  terminal.say('waiting for events; Ctrl-C ends this')
  while (!signal.aborted) {
    const woken = new Promise<void>((resolve) => (wake = resolve))
    const { events, forgotten } = await store.read(async (db) => ({
      events: await readFeed(db, { after, limit: PAGE, sinceMs }), forgotten: await forgottenUntil(db),
    }))
    if (isBefore(after, forgotten)) {
      terminal.say('warning: events were forgotten before they could be shown here; look at what there is now (describe calls), and go on from that')
    }
    for (const event of events) printer.print(envelopeOf(event, shown.region))
    after = events.at(-1)?.position ?? (isBefore(after, forgotten) ? forgotten : after)
    if (events.length === PAGE || signal.aborted) continue
    const timer = clock.after(LOOK_MS, () => wake())
    await woken
    timer.cancel()
  }
}

/** Runs `body` with a signal that Ctrl-C gives, and the end of the terminal. */
async function untilInterrupted(body: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const ending = new AbortController()
  const end = () => ending.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of signals) process.on(name, end)
  process.stdout.once('close', end)
  try {
    await body(ending.signal)
  } finally {
    for (const name of signals) process.off(name, end)
    process.stdout.off('close', end)
  }
}

interface Printer {
  readonly count: number
  print(event: Envelope): void
}

function createPrinter(terminal: Terminal, { pattern, json }: ShownEvents): Printer {
  let count = 0
  return {
    get count() {
      return count
    },
    print(event) {
      if (pattern && !pattern.matches(event)) return
      if (count++ === 0 && !json) terminal.out(formatLine('TIME', 'TYPE', 'RESOURCE', 'DETAIL'))
      terminal.out(json ? JSON.stringify(event) : formatEvent(event))
    },
  }
}

/** Lines come one by one, so that columns are as wide as most need. */
function formatLine(time: string, type: string, resource: string, detail: string): string {
  return `${time.padEnd(20)}  ${type.padEnd(38)}  ${resource.padEnd(22)}  ${detail}`.trimEnd()
}

/** An event as a person reads it. */
function formatEvent(event: Envelope): string {
  const [resource = '-', ...others] = event.resources.map((arn) => arn.split('/').at(-1) ?? arn)
  const resources = others.length === 0 ? resource : `${resource} +${others.length}`
  return formatLine(event.time.replace('T', ' '), event['detail-type'], plain(resources), plain(wordsOf(event)))
}

/** What a terminal would take for a command is shown as a question mark. */
function plain(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}

/** Of the detail what the resource does not say already: "running", "modifyVolume completed", "action=terminate". */
function wordsOf({ detail, resources }: Envelope): string {
  const named = resources.join(' ')
  const values = Object.entries(detail).filter(([name, value]) => {
    const text = String(value)
    return typeof value !== 'object' && text !== '' && !(text.length > 6 && named.includes(text)) && !/^(request-?id|startTime|endTime)$/i.test(name)
  })
  const leading = ['event', 'state', 'State', 'result']
  const first = leading.flatMap((name) => values.filter(([each]) => each === name)).map(([, value]) => String(value))
  const rest = values.filter(([name]) => !leading.includes(name)).map(([name, value]) => `${name}=${String(value)}`)
  return [...first, ...rest].join(' ')
}
