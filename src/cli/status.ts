import type { Command } from 'commander'
import { existsSync } from 'node:fs'
import { systemClock } from '../core/clock.ts'
import { hostDoc, type RecycleBinUse } from '../model/host.ts'
import { cloudHomeOf, type AnySettings } from '../realm.ts'
import { listBackups } from './backups.ts'
import { capacityText, readCapacity, readZones, zoneLines, type CapacityView, type ZoneView } from './capacity.ts'
import { newCommand, settingsOf, withSettings, withStore } from './command.ts'
import { listInstances, type InstanceView } from './instances.ts'
import { nodeOfHome } from './node-of-home.ts'
import { readSpot, spotLines, type SpotStatus } from './market-status.ts'
import { readRoom, recycleWarnings, roomWarnings, type Room } from './room.ts'
import { formatDuration, formatMib, formatTable, type Terminal } from './terminal.ts'
import { describeSerialConsole, endpointOf, readUpRecord, serialConsoleOf, settingsInForce, type SerialConsoleDoor } from './up-record.ts'

/** What `hearth status --json` prints. */
export interface Status {
  home: string
  isUp: boolean
  endpoint: string | null
  /** Where the SSH server of serial consoles is, while the cloud is up. */
  serialConsole: SerialConsoleDoor | null
  /** Pids of `hearth up` and its children; null while one is down. */
  processes: Record<string, number | null>
  region: string
  /** All regions of the cloud, the home's first. */
  regions: string[]
  /** The machine, and what all of its zones promise. */
  host: (CapacityView & {
    engine: string
    accelerator: string
    acceleratorReason: string
    cpus: number
    memoryMib: number
    /** The most one guest gets. */
    guestLimits: { vcpus: number; memoryMib: number }
  }) | null
  /** What each zone promises, and the hosts that are its shares of the machine. */
  zones: ZoneView[]
  /** What is left on the disk of the home and of the machine's memory. */
  room: Room | null
  /** What of the disk only the recycle bin holds, and may hold; null while it is empty. */
  recycleBin: RecycleBinUse | null
  /** How many terminated instances can be restored. */
  restorable: number
  /** What there is of the spot market; null before it has begun. */
  spot: SpotStatus | null
  /** What will soon be missing. */
  warnings: string[]
  instances: InstanceView[]
  images: { imageId: string; name: string; state: string }[]
}

/** `hearth status`: what runs, on what, and how full it is. */
export function addStatus(program: Command, terminal: Terminal): void {
  const command = newCommand(program, 'status', 'show the cloud, its host, its instances and images', [
    'hearth status', 'hearth status --json | jq .instances',
  ])
  withSettings(command.option('--json', 'print it as JSON')).action(async () => {
    const status = await readStatus(settingsOf(command))
    terminal.out(command.opts().json ? JSON.stringify(status, null, 2) : formatStatus(status, systemClock.now()))
  })
}

/** The state of the home as its database and its supervisor's record tell it. */
function readStatus(settings: AnySettings): Promise<Status> {
  return withStore(settings, async (store) => {
    const up = readUpRecord(cloudHomeOf(settings))
    const cloud = up ? up.record.settings : settings
    const isUp = up?.isRunning === true && up.record.isReady
    const { node, capacity, zones, images, spot } = await store.read(async (db) => {
      const found = await nodeOfHome(db, settings.home)
      return {
        node: found,
        spot: found ? await readSpot(db, found.region) : null,
        capacity: found && await readCapacity(db, found.host_id),
        zones: found ? await readZones(db, found.host_id) : [],
        images: await db
          .selectFrom('images').select(['image_id as imageId', 'name', 'state'])
          .where('binned_ms', 'is', null).orderBy('created_ms', 'desc').execute(),
      }
    })
    const doc = node && hostDoc(node)
    const promised = zones.length > 0 ? zones : capacity && [capacity]
    const recycleBin = doc?.recycleBin ?? null
    const room = existsSync(settings.home) ? readRoom(settings.home) : null
    return {
      home: settings.home,
      isUp,
      endpoint: up && isUp ? endpointOf(up.record.settings) : null,
      serialConsole: (up && isUp && serialConsoleOf(settingsInForce(settings))) || null,
      processes: up?.isRunning ? { up: up.record.supervisor.pid, ...up.record.children } : {},
      region: node?.region ?? settings.region,
      regions: [cloud.region, ...(cloud.moreRegions ?? [])],
      host: doc && capacity ? {
        engine: doc.engine, accelerator: doc.accelerator, acceleratorReason: doc.acceleratorReason,
        cpus: doc.cpus, memoryMib: doc.memoryMib, ...capacity, guestLimits: doc.guestLimits,
      } : null,
      zones,
      room,
      recycleBin,
      spot,
      restorable: (await listBackups(store)).filter((each) => each.obstacle === null).length,
      warnings: [...(room ? roomWarnings(room, settings.home, promised) : []), ...recycleWarnings(recycleBin)].map(({ text }) => text),
      instances: await listInstances(store),
      images,
    }
  })
}

/** The status as a person reads it. */
export function formatStatus(status: Status, nowMs: number): string {
  const parts = [cloudLines(status).join('\n')]
  parts.push(status.instances.length === 0 ? 'no instances' : formatTable([
    ['INSTANCE', 'NAME', 'STATE', 'ZONE', 'TYPE', 'GOT', 'PRIVATE', 'PUBLIC', 'LAUNCHED'],
    ...status.instances.map((each) => instanceRow(each, nowMs)),
  ]))
  const reasons = status.instances.flatMap(({ instanceId, state, reason }) =>
    (reason === null ? [] : [`${instanceId} is ${state}: ${reason}`]))
  if (reasons.length > 0) parts.push(reasons.join('\n'))
  parts.push(status.images.length === 0
    ? 'no images'
    : formatTable([['IMAGE', 'NAME', 'STATE'], ...status.images.map((each) => [each.imageId, each.name, each.state])]))
  return parts.join('\n\n')
}

function cloudLines(status: Status): string[] {
  const { home, isUp, endpoint, serialConsole, processes, region, regions, host, zones, room, recycleBin, restorable, spot, warnings } = status
  const pids = Object.entries(processes).map(([name, pid]) => `${name} ${pid ?? 'down'}`).join(', ')
  const state = isUp ? `up at ${endpoint}` : Object.keys(processes).length > 0 ? 'starting' : 'down'
  const lines = [
    `cloud     ${state}${pids ? ` (${pids})` : ''}`, `home      ${home}, region ${region}`,
    ...(regions.length > 1 ? [`regions   ${regions.join(', ')}; --region shows another one`] : []),
    ...(serialConsole ? [`serial    ${describeSerialConsole(serialConsole)}`] : []),
  ]
  if (!host) return lines
  const engine = host.engine === 'sim' ? 'sim' : `${host.engine}, ${host.accelerator}`
  return [
    ...lines,
    `engine    ${engine}: ${host.acceleratorReason}`,
    `host      ${host.cpus} CPUs, ${formatMib(host.memoryMib)}; one guest gets at most ${host.guestLimits.vcpus} vCPUs, `
      + formatMib(host.guestLimits.memoryMib),
    `promised  ${capacityText(host)}`,
    ...zoneLines(zones),
    ...(room ? [`room      ${formatMib(room.disk.freeMib)} of ${formatMib(room.disk.totalMib)} of disk free, `
      + `${formatMib(room.memory.availableMib)} of ${formatMib(room.memory.totalMib)} of memory available`] : []),
    ...(spot ? spotLines(spot) : []),
    ...(recycleBin ? [`recycled  ${formatMib(recycleBin.heldMib)} of at most ${formatMib(recycleBin.budgetMib)} in the recycle bin`] : []),
    ...(restorable > 0 ? [`undo      ${restorable} terminated instance${restorable === 1 ? '' : 's'} can be brought back: hearth restore`] : []),
    ...warnings.map((warning) => `warning   ${warning}`),
  ]
}

function instanceRow(each: InstanceView, nowMs: number): string[] {
  const granted = each.granted ? `${each.granted.vcpus} vCPU, ${formatMib(each.granted.memoryMib)}` : 'all of it'
  return [
    each.instanceId, each.name ?? '-', stateText(each), each.zone, each.type, each.state === 'running' ? granted : '-', each.privateIp ?? '-', each.publicIp ?? '-', `${formatDuration(nowMs - each.launchMs)} ago`,
  ]
}

function stateText({ state, pausedBecause, isHibernated }: InstanceView): string {
  if (pausedBecause) return `${state} (paused: disk full)`
  return isHibernated ? `${state} (hibernated)` : state
}
