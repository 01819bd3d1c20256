import type { Command } from 'commander'
import { systemClock, type Clock } from '../core/clock.ts'
import { readDuration } from '../core/duration.ts'
import { PRICE_HISTORY_MS } from '../model/spot-market.ts'
import { cloudHomeOf, type AnySettings } from '../realm.ts'
import type { Store } from '../store/store.ts'
import { hearthCommand, newCommand, settingsOf, settingsOfZone, withSettings, withStore } from './command.ts'
import { formatMarket } from './market-format.ts'
import { interruptInstance, setFrozen, setPrice, setSupply, type MarketOrders, type OrderResult } from './market-orders.ts'
import { readMarket, type MarketView } from './market-view.ts'
import type { Terminal } from './terminal.ts'
import { lookOf } from './terminal-look.ts'
import { readUpRecord, settingsInForce } from './up-record.ts'

/** `hearth market`. */
export function addMarket(program: Command, terminal: Terminal): void {
  const market = newCommand(program, 'market', 'show the spot market, or drive it: prices, supply, interruptions', [
    'hearth market m5.large --since 7d', 'hearth market set-price m5.large b 0.05', 'hearth market interrupt web --in 30s',
  ])
  addShow(market, terminal)
  addOrders(market, terminal)
}

interface ShowOptions {
  zone?: string
  since: string
  follow?: boolean
  json?: boolean
}

function addShow(market: Command, terminal: Terminal): void {
  const show = market.command('show', { isDefault: true }).description('show prices, a chart of them, supplies and bids')
    .optionsGroup('Options:').helpOption('-h, --help', 'show this')
    .addHelpText('after', '\nExamples:\n  hearth market\n  hearth market m5.large c5.large --zone b --since 7d\n  hearth market --json | jq .prices')
  show
    .argument('[types...]', 'instance types (default: those in use or asked for, and a few common ones); the first one is drawn')
    .option('--zone <zone>', 'one zone alone: its name, or its letter')
    .option('--since <time>', 'how far back the chart goes: 6h, 7d, at most 90d', '24h')
    .option('--follow', 'show it again whenever it has changed, until interrupted')
    .option('--json', 'print it as JSON; with --follow an object a line')
  withSettings(show).action(async (types: string[]) => {
    const options = show.opts<ShowOptions>()
    const settings = options.zone === undefined ? settingsOf(show) : settingsOfZone(show, options.zone)
    const sinceMs = readSince(options.since)
    const { region } = settingsInForce(settings)
    await withStore(settings, async (store) => {
      const read = () => {
        const nowMs = systemClock.now()
        return store.read((db) => readMarket(db, region, { types, zone: options.zone, sinceMs: nowMs - sinceMs }, nowMs))
      }
      if (options.follow) await follow({ clock: systemClock, terminal, read, isJson: options.json === true })
      else terminal.out(options.json ? JSON.stringify(await read(), null, 2) : formatMarket(await read(), lookOf(process.stdout, process.env)))
    })
  })
}

function readSince(text: string): number {
  const ms = readDuration(text)
  if (ms < 1000 || ms > PRICE_HISTORY_MS) throw new Error(`prices are known for 90 days; --since can be from 1s to 90d, not ${text}`)
  return ms
}

const FOLLOW_MS = 1000
/** Home, and away with all that is there. */
const CLEAR = '\u001B[H\u001B[J'

interface Following {
  clock: Clock
  terminal: Terminal
  read: () => Promise<MarketView>
  isJson: boolean
}

/** Shows the market again whenever it has changed; on a terminal in the same place. */
async function follow({ clock, terminal, read, isJson }: Following): Promise<void> {
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())
  let last: string | undefined
  while (!ending.signal.aborted) {
    const view = await read()
    const news = newsOf(view)
    if (news !== last) {
      const look = lookOf(process.stdout, process.env)
      if (isJson) terminal.out(JSON.stringify(view))
      else terminal.out(`${look.isTerminal ? CLEAR : last === undefined ? '' : '\n'}${formatMarket(view, look)}`)
    }
    last = news
    await clock.sleep(FOLLOW_MS, ending.signal).catch(() => {})
  }
}

/** What of it is worth showing again: all but the time that has passed. */
function newsOf(view: MarketView): string {
  return JSON.stringify({
    ...view, asOf: null, since: null, prices: view.prices.map(({ type, zone, priceMicroUsd, isPinned }) => [type, zone, priceMicroUsd, isPinned]),
  })
}

/** What every order has in common: where it goes, what it prints. */
function addOrders(market: Command, terminal: Terminal): void {
  const finish = (command: Command, settings: AnySettings, result: OrderResult) => {
    if (command.opts().json) terminal.out(JSON.stringify(result, null, 2))
    else terminal.say(describeOrder(result, settings))
  }
  const order = (settings: AnySettings, body: (orders: MarketOrders) => Promise<OrderResult>) => {
    const { region, zones } = settingsInForce(settings)
    return withStore(settings, (store: Store) => body({ store, region, zones, nowMs: systemClock.now() }))
  }
  const add = (usage: string, description: string, example: string) =>
    newCommand(market, usage, description, [example]).option('--json', 'print what it did as JSON')

  const price = add('set-price', 'set what a type costs in a zone on spot, or have it follow the market again', 'hearth market set-price m5.large us-east-1b 0.05')
  withSettings(price.argument('<type>', 'instance type').argument('<zone>', 'its name, or its letter').argument('<usd>', 'US dollars per hour, at most the price on demand; or auto'))
    .action(async (type: string, zone: string, usd: string) => {
      const settings = settingsOfZone(price, zone)
      finish(price, settings, await order(settings, (orders) => setPrice(orders, [type, zone, usd])))
    })
  const supply = add('set-supply', 'set how much of a zone spot instances may have, or let them have what is free', 'hearth market set-supply b 25')
  withSettings(supply.argument('<zone>', 'its name, or its letter').argument('<percent>', 'per cent of what the zone promises; or auto'))
    .action(async (zone: string, percent: string) => {
      const settings = settingsOfZone(supply, zone)
      finish(supply, settings, await order(settings, (orders) => setSupply(orders, [zone, percent])))
    })
  const interrupt = add('interrupt', 'give a spot instance notice now, as if its room were needed', 'hearth market interrupt web --in 30s')
    .option('--in <time>', 'from the notice to its end: 0s to 1h (default: the notice of this cloud, hearth up --notice)')
  withSettings(interrupt.argument('<instance>', 'its id, the beginning of its id, or its Name')).action(async (wanted: string) => {
    const settings = settingsOf(interrupt)
    const inMs = readNotice(interrupt.opts<{ in?: string }>().in)
    finish(interrupt, settings, await order(settings, (orders) => interruptInstance(orders, wanted, inMs)))
  })
  for (const isFrozen of [true, false]) {
    const name = isFrozen ? 'freeze' : 'unfreeze'
    const command = add(name, isFrozen ? 'have prices stand still, so that nobody has to go because of them' : 'have prices go on from where they stood', `hearth market ${name}`)
    withSettings(command).action(async () => {
      const settings = settingsOf(command)
      finish(command, settings, await order(settings, (orders) => setFrozen(orders, isFrozen)))
    })
  }
}

/** @throws Error for what is no length of time, and for more than an hour. */
function readNotice(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = readDuration(text)
  if (ms > 3_600_000) throw new Error(`--in must be from 0s to 1h, not ${text}`)
  return ms
}

/** What was done, and what follows, as a sentence for people. */
function describeOrder({ done, hasChanged, noticed }: OrderResult, settings: AnySettings): string {
  const up = readUpRecord(cloudHomeOf(settings))
  const isUp = up?.isRunning === true && up.record.isReady
  const ids = noticed ?? []
  const isOwn = ids.length === 1 && done.startsWith(ids[0] ?? '')
  const many = `${ids.length} instance${ids.length === 1 ? '' : 's'} will get notice: ${ids.join(', ')}`
  const follows = noticed === null || isOwn ? '' : `; ${ids.length === 0 ? 'no instance has to go' : many}`
  const when = isUp || !hasChanged ? '' : ` (the market sees it with the next ${hearthCommand('up', { home: cloudHomeOf(settings) })})`
  return `${done}${follows}${when}`
}
