import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { readDuration } from '../core/duration.ts'
import { systemRandom } from '../core/random.ts'
import { systemDelivery } from '../events/system-delivery.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { createTarget, deleteTarget, resendDead, testTarget, viewTargets, type TargetView } from './event-targets.ts'
import { notKept, patternText } from './feed.ts'
import { formatTable, type Terminal } from './terminal.ts'
import { settingsInForce } from './up-record.ts'

/** `hearth events target add|list|remove|test|resend`. */
export function addEventTarget(events: Command, terminal: Terminal): void {
  const target = newCommand(events, 'target', 'have events delivered to a webhook, or written to a file', [
    'hearth events target add handler --webhook http://127.0.0.1:3000/events', 'hearth events target list', 'hearth events target test handler',
  ])
  addAdd(target, terminal)
  const list = newCommand(target, 'list', 'list where events go, what fails there and what was given up', [
    'hearth events target list', "hearth events target list --json | jq '.targets[].deadLetters'",
  ])
  withSettings(list.option('--json', 'print it as JSON, with the events that were given up')).action(async () => {
    const targets = await withStore(settingsOf(list), viewTargets)
    terminal.out(list.opts().json ? JSON.stringify({ targets }, null, 2) : formatTargets(targets))
  })
  const remove = newCommand(target, 'remove', 'deliver nothing there any more; what waited for it is dropped', ['hearth events target remove handler'])
  withSettings(remove.argument('<name>', 'as hearth events target list shows it')).action(async (name: string) => {
    await withStore(settingsOf(remove), (store) => deleteTarget(store, systemClock.now(), name))
    terminal.say(`${name} is removed`)
  })
  const test = newCommand(target, 'test', 'send a target a "Hearth Test Event" now, whatever its pattern, and say how it took it', [
    'hearth events target test handler',
  ])
  withSettings(test.argument('<name>', 'as hearth events target list shows it')).action(async (name: string) => {
    const settings = settingsOf(test)
    const ambient = { delivery: systemDelivery, nowMs: systemClock.now(), region: settingsInForce(settings).region }
    terminal.say(await withStore(settings, (store) => testTarget(store, ambient, name)))
  })
  const resend = newCommand(target, 'resend', 'send a target once more what was given up, of which the last 100 are kept', ['hearth events target resend handler'])
  withSettings(resend.argument('<name>', 'as hearth events target list shows it')).action(async (name: string) => {
    const count = await withStore(settingsOf(resend), (store) => resendDead(store, systemDelivery, name))
    terminal.say(count === 0 ? `nothing is kept that ${name} was not given` : `${name} has taken ${count} event${count === 1 ? '' : 's'} that had been given up`)
  })
}

interface AddOptions {
  webhook?: string
  file?: string
  pattern?: string
  since: string
  json?: boolean
}

function addAdd(target: Command, terminal: Terminal): void {
  const add = newCommand(target, 'add', 'add a webhook, which is posted each event as JSON, or a file, which gets a line for each', [
    `hearth events target add spot --webhook http://127.0.0.1:3000/ --pattern '{"detail-type":[{"prefix":"EC2 Spot"}]}'`,
    'hearth events target add log --file /var/log/hearth-events.jsonl --since 1h',
  ])
  add
    .argument('<name>', 'what to call it')
    .option('--webhook <url>', 'http:// or https:// URL that events are posted to')
    .option('--file <path>', 'file that lines are added to; its folder must be there')
    .option('--pattern <json>', 'an event pattern of EventBridge, or @ and a file with one (default: every event)')
    .option('--since <time>', 'how far back it begins: now, or 10m, 2h, 1d', 'now')
    .option('--json', 'print its name and secret as JSON')
  withSettings(add).action(async (name: string) => {
    const { webhook, file, pattern, since, json } = add.opts<AddOptions>()
    const nowMs = systemClock.now()
    const order = {
      name, webhook, file, pattern: pattern === undefined ? undefined : patternText(pattern),
      sinceMs: since === 'now' ? undefined : nowMs - readDuration(since),
    }
    const { secret, missedUntilMs } = await withStore(settingsOf(add), (store) => createTarget(store, { random: systemRandom, nowMs }, order))
    if (json) return terminal.out(JSON.stringify({ name, secret }, null, 2))
    terminal.say(`${name} is added`)
    if (missedUntilMs !== null) terminal.say(notKept(missedUntilMs))
    if (secret === null) return
    terminal.say('its calls are signed (X-Hearth-Signature-256) with this secret, which is shown this once:')
    terminal.out(secret)
  })
}

/** The targets as a person reads them. */
function formatTargets(targets: readonly TargetView[]): string {
  if (targets.length === 0) return 'events go nowhere; hearth events target add --help says how they could'
  return formatTable([
    ['NAME', 'TO', 'PATTERN', 'DELIVERED', 'GIVEN UP', 'MISSED', 'STATE'],
    ...targets.map((each) => [
      each.name, each.endpoint, each.pattern === null ? 'all' : JSON.stringify(each.pattern), String(each.delivered), String(each.dead),
      each.gaps === 0 ? '-' : `${each.gaps} times`,
      each.failure === null ? 'ok' : `failing since ${each.failure.since.slice(0, 19)}Z, ${each.failure.attempts} attempts: ${each.failure.error}`,
    ]),
  ])
}
