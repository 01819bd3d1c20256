import type { Command } from 'commander'
import { systemClock } from '../core/clock.ts'
import type { ZoneState } from '../model/zone.ts'
import { newCommand, settingsOf, settingsOfZone, withSettings, withStore } from './command.ts'
import { cloudHomeOf } from '../realm.ts'
import { formatDuration, formatMib, formatTable, type Terminal } from './terminal.ts'
import { readUpRecord, settingsInForce } from './up-record.ts'
import { changeZone, describeChange, listZones, type ZoneView } from './zones.ts'

const CHANGES: { name: string; to: ZoneState; description: string; example: string }[] = [
  { name: 'fail', to: 'unavailable', example: 'hearth zone fail b', description: 'cut the power and the network of a zone: its machines end' },
  {
    name: 'impair', to: 'impaired', example: 'hearth zone impair us-east-1b',
    description: 'have the guests of a zone stand still, and cut its network',
  },
  {
    name: 'heal', to: 'available', example: 'hearth zone heal b',
    description: 'give a zone back what it has lost: frozen guests go on, those that lost power are started again',
  },
]

/** `hearth zone list|fail|impair|heal`. */
export function addZone(program: Command, terminal: Terminal): void {
  const zone = newCommand(program, 'zone', 'list the Availability Zones, or have one fail, as a whole and on purpose', [
    'hearth zone list', 'hearth zone fail us-east-1b', 'hearth zone heal b',
  ])
  const list = zone.command('list', { isDefault: true }).description('list the zones, what they can promise and what is in them')
    .optionsGroup('Options:').helpOption('-h, --help', 'show this')
    .addHelpText('after', '\nExamples:\n  hearth zone list\n  hearth zone list --json | jq .zones')
  withSettings(list.option('--json', 'print it as JSON')).action(async () => {
    const settings = settingsOf(list)
    const zones = await withStore(settings, (store) => listZones(store, settingsInForce(settings)))
    terminal.out(list.opts().json ? JSON.stringify({ zones }, null, 2) : formatZones(zones, systemClock.now()))
  })
  for (const change of CHANGES) addChange(zone, terminal, change)
}

function addChange(zone: Command, terminal: Terminal, { name, to, description, example }: (typeof CHANGES)[number]): void {
  const command = newCommand(zone, name, description, [example, `${example} --no-wait`])
  command
    .argument('<zone>', 'its name, its id, or its letter')
    .option('--no-wait', to === 'available' ? 'return before instances are back' : 'return before that is so')
    .option('--json', 'print what the zone is then as JSON')
  withSettings(command).action(async (wanted: string) => {
    const settings = settingsOfZone(command, wanted)
    const isUp = () => {
      const up = readUpRecord(cloudHomeOf(settings))
      return up?.isRunning === true && up.record.isReady
    }
    const order = { to, isUp, wait: command.opts().wait !== false }
    const changed = await withStore(settings, (store) =>
      changeZone({ store, clock: systemClock, terminal, region: settingsInForce(settings) }, wanted, order))
    if (command.opts().json) terminal.out(JSON.stringify(changed.after, null, 2))
    else terminal.say(describeChange(changed, order))
  })
}

/** The zones as a person reads them. */
export function formatZones(zones: readonly ZoneView[], nowMs: number): string {
  return formatTable([
    ['ZONE', 'ID', 'STATE', 'SINCE', 'HOSTS', 'VCPUS', 'MEMORY', 'RUNNING', 'STOPPED'],
    ...zones.map(({ zone, zoneId, state, since, isInForce, hosts, instances }) => {
      const sum = (of: (host: ZoneView['hosts'][number]) => number) => hosts.reduce((total, host) => total + of(host), 0)
      return [
        zone, zoneId, isInForce ? state : `${state} (soon)`, since === null ? '-' : `${formatDuration(nowMs - Date.parse(since))} ago`,
        String(hosts.length), `${sum((host) => host.vcpusUsed)} of ${sum((host) => host.vcpus)}`,
        `${formatMib(sum((host) => host.memoryMibUsed))} of ${formatMib(sum((host) => host.memoryMib))}`,
        `${instances.running.length}${instances.comingBack.length > 0 ? ` (${instances.comingBack.length} to come)` : ''}`,
        String(instances.stopped.length),
      ]
    }),
  ])
}
