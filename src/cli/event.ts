import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import { systemRandom } from '../core/random.ts'
import { EVENT_CODES } from '../model/instance-event.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { cancelEvent, createEvent, listEvents, listReports, type EventOrder, type EventView, type ReportView } from './events.ts'
import { findInstance, listInstances } from './instances.ts'
import { readDuration } from '../core/duration.ts'
import { readMoment } from './moment.ts'
import { formatTable, type Terminal } from './terminal.ts'

/** `hearth event create|list|cancel`. */
export function addEvent(program: Command, terminal: Terminal): void {
  const event = newCommand(program, 'event', 'plan maintenance of instances, as EC2 does for hosts that fail', [
    'hearth event create web --code instance-stop --in 10m', 'hearth event list', 'hearth event cancel instance-event-…',
  ])
  addCreate(event, terminal)
  const list = newCommand(event, 'list', 'list what is planned, what was lately, and what owners reported of their instances', [
    'hearth event list', 'hearth event list --json | jq .events',
  ])
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const { events, reports } = await withStore(settingsOf(list), async (store) =>
      ({ events: await listEvents(store), reports: await listReports(store) }))
    terminal.out(list.opts().json ? JSON.stringify({ events, reports }, null, 2) : formatEvents(events, reports))
  })
  const cancel = newCommand(event, 'cancel', 'call an event off that has not begun', ['hearth event cancel instance-event-0123456789abcdef0'])
  withSettings(cancel.argument('<id>', 'the event, as hearth event list shows it')).action(async (id: string) => {
    await withStore(settingsOf(cancel), (store) => cancelEvent(store, systemClock.now(), id))
    terminal.say(`${id} is canceled`)
  })
}

interface CreateOptions {
  code: string
  in?: string
  notBefore?: string
  notAfter?: string
  deadline?: string
  description?: string
  json?: boolean
}

function addCreate(event: Command, terminal: Terminal): void {
  const create = newCommand(event, 'create', 'plan an event; its instance sees it in its metadata, its owner in DescribeInstanceStatus', [
    'hearth event create web --code instance-retirement --in 10m',
    'hearth event create i-0123 --code system-reboot --not-before 2026-01-31T10:00Z --deadline 2026-02-28',
  ])
  create
    .argument('<instance>', 'its id, the beginning of its id, or its Name')
    .requiredOption('--code <code>', EVENT_CODES.join(', '))
    .option('--in <time>', 'how long from now it begins: 90s, 10m, 2h, 7d')
    .option('--not-before <time>', 'when it begins: 2026-01-31T10:00Z')
    .option('--not-after <time>', 'when it is over (default: 2 hours later; none for stop and retirement)')
    .option('--deadline <time>', 'until when its owner may put it off (default: not at all)')
    .option('--description <text>', 'what it is for (default: in EC2\'s words)')
    .option('--json', 'print it as JSON')
  withSettings(create).action(async (wanted: string) => {
    const options = create.opts<CreateOptions>()
    const nowMs = systemClock.now()
    const order = readOrder(options, nowMs)
    const made = await withStore(settingsOf(create), async (store) => {
      const { instanceId } = findInstance(await listInstances(store), wanted)
      return createEvent(store, { random: systemRandom, nowMs }, instanceId, order)
    })
    terminal.out(options.json ? JSON.stringify(made, null, 2) : made.eventId)
  })
}

/** What the options mean. @throws Error where a time makes no sense, or it is not said when it begins, or said twice. */
export function readOrder(options: CreateOptions, nowMs: number): EventOrder {
  const moment = (text: string | undefined) => (text === undefined ? undefined : readMoment(text, nowMs))
  if ((options.in === undefined) === (options.notBefore === undefined)) {
    throw new Error('say when it begins, once: --in 10m, or --not-before 2026-01-31T10:00Z')
  }
  const notBeforeMs = options.in === undefined ? moment(options.notBefore) : nowMs + readDuration(options.in)
  return {
    code: options.code, notBeforeMs: notBeforeMs ?? nowMs, notAfterMs: moment(options.notAfter),
    deadlineMs: moment(options.deadline), description: options.description,
  }
}

/** Events and reports as a person reads them. */
export function formatEvents(events: readonly EventView[], reports: readonly ReportView[]): string {
  const parts = [events.length === 0 ? 'nothing is planned' : formatTable([
    ['EVENT', 'INSTANCE', 'CODE', 'STATE', 'NOT BEFORE', 'NOT AFTER', 'DESCRIPTION'],
    ...events.map((each) => [
      each.eventId, each.instanceId, each.code, each.state, second(each.notBefore), second(each.notAfter), each.description,
    ]),
  ])]
  if (reports.length > 0) {
    parts.push(formatTable([
      ['REPORTED', 'INSTANCE', 'STATUS', 'REASONS', 'FROM', 'TO', 'DESCRIPTION'],
      ...reports.map((each) => [
        second(each.reported), each.instanceId, each.status, each.reasonCodes.join(', '), second(each.start), second(each.end),
        each.description ?? '-',
      ]),
    ]))
  }
  return parts.join('\n\n')
}

/** 2026-01-01 12:34:56Z */
function second(iso: string | null): string {
  return iso === null ? '-' : `${iso.slice(0, 19).replace('T', ' ')}Z`
}
