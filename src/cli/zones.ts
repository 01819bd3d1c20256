import { waitFor, type Clock } from '../core/clock.ts'
import { hostDoc } from '../model/host.ts'
import { instanceDoc } from '../model/instance.ts'
import {
  hostBootIdOf, moveZone, sumOfRevisions, zoneIdOf, zonesOf, zoneStates, zoneStatus, type ZoneState, type ZoneStatus,
} from '../model/zone.ts'
import type { HostTable, InstanceTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { withProgress, type Terminal } from './terminal.ts'

/** A zone as people are shown it; times as ISO 8601. */
export interface ZoneView {
  zone: string
  zoneId: string
  state: ZoneState
  /** How often that has changed. */
  revision: number
  /** Null for one that was never in another state. */
  since: string | null
  /** Whether every host, and the network, does by now what that state says. */
  isInForce: boolean
  hosts: { hostId: string; vcpus: number; vcpusUsed: number; memoryMib: number; memoryMibUsed: number }[]
  /**
   * Ids by state. What is on its way to another state is among `comingBack`, and so are those that are running and whose machine
   * has still to be started again; these are `lost` as well.
   */
  instances: { running: string[]; comingBack: string[]; lost: string[]; stopped: string[] }
}

/** Machines freeze, or end, at once; but what was being done with one has to end, such as a save of a large memory. */
const IN_FORCE_TIMEOUT_MS = 15 * 60_000
/** Emulated guests take minutes. */
const BACK_TIMEOUT_MS = 15 * 60_000
const LOOK_MS = 200

type Region = Parameters<typeof zonesOf>[0]

/** The zones of the cloud, with what is in them. */
export function listZones(store: Store, region: Region): Promise<ZoneView[]> {
  return store.read(async (db) => {
    const names = await zoneNames(db, region)
    const states = await zoneStates(db)
    const hosts = await db.selectFrom('hosts').selectAll().orderBy('host_id').execute()
    const instances = await db.selectFrom('instances').selectAll().where('state', '<>', 'terminated').orderBy('created_ms').execute()
    const sum = sumOfRevisions(states.values())
    return Promise.all(names.map(async (zone) => viewOf(states.get(zone) ?? await zoneStatus(db, zone), { hosts, instances, sum })))
  })
}

/** Zones that hosts are in, that something was done to, or that the settings name. */
async function zoneNames(db: Db, region: Region): Promise<string[]> {
  const hosts = await db.selectFrom('hosts').select('zone').distinct().where('zone', 'is not', null).execute()
  const states = await zoneStates(db)
  const names = new Set([...hosts.flatMap(({ zone }) => zone ?? []), ...states.keys(), ...(hosts.length === 0 ? zonesOf(region) : [])])
  return [...names].toSorted()
}

function viewOf(
  status: ZoneStatus,
  { hosts, instances, sum }: { hosts: readonly HostTable[]; instances: readonly InstanceTable[]; sum: number },
): ZoneView {
  const own = hosts.filter((host) => host.zone === status.zone)
  const nodes = hosts.filter((host) => host.zone === null)
  const inside = instances.filter((row) => row.zone === status.zone)
  const idsOf = (is: (row: InstanceTable) => boolean) => inside.filter(is).map((row) => row.instance_id)
  const lost = new Set(idsOf((row) => row.state === 'running' && isLost(row, own, status)))
  const isComing = (row: InstanceTable) => isOnItsWay(row) || lost.has(row.instance_id)
  return {
    zone: status.zone, zoneId: zoneIdOf(status.zone), state: status.state, revision: status.revision,
    since: status.revision === 0 ? null : new Date(status.sinceMs).toISOString(),
    // A node tells of all zones together, which says nothing of one that nothing was ever done to.
    isInForce: own.every((host) => host.zone_revision >= status.revision) && (status.revision === 0 || nodes.every((node) => node.zone_revision >= sum)),
    hosts: own.map((host) => ({
      hostId: host.host_id, vcpus: host.vcpus, vcpusUsed: host.vcpus_used, memoryMib: host.memory_mib, memoryMibUsed: host.memory_mib_used,
    })),
    instances: {
      running: idsOf((row) => row.state === 'running' && !isComing(row)), comingBack: idsOf(isComing), lost: [...lost],
      stopped: idsOf((row) => row.state === 'stopped'),
    },
  }
}

function isOnItsWay({ state }: InstanceTable): boolean {
  return state === 'pending' || state === 'stopping' || state === 'shutting-down'
}

/** Whether its machine has ended with the power of its zone, and was not started again yet. */
function isLost(row: InstanceTable, hosts: readonly HostTable[], { powerCuts }: ZoneStatus): boolean {
  const nodeBootId = hosts.filter((host) => host.host_id === row.host_id).map((host) => hostDoc(host).bootId)[0]
  const { hostBootId } = instanceDoc(row)
  return nodeBootId !== undefined && hostBootId !== undefined && hostBootId !== hostBootIdOf(nodeBootId, powerCuts)
}

/** The zone that is meant: by its name, or its letter alone. @throws Error that names those that there are. */
export function findZone(zones: readonly ZoneView[], wanted: string): ZoneView {
  const found = zones.find(({ zone }) => zone === wanted || zone.slice(-1) === wanted)
  if (found) return found
  throw new Error(`there is no zone "${wanted}" here; there are: ${zones.map(({ zone }) => zone).join(', ')}`)
}

export interface ZoneChange {
  to: ZoneState
  /** Whether agents run that will put it in force. */
  isUp: () => boolean
  /** Whether to wait until they have; after a heal, until instances are back. */
  wait: boolean
}

/**
 * Fails, impairs or heals a zone, and waits until that is so; after a heal, until what was in the zone before is back.
 *
 * @returns what the zone is then, and whether the call has changed anything.
 * @throws Error for a zone that there is not, a change that cannot be, what does not come about in time, and a zone that
 *   somebody else changes meanwhile.
 */
export async function changeZone(
  { store, clock, terminal, region }: { store: Store; clock: Clock; terminal: Terminal; region: Region },
  wanted: string,
  { to, isUp, wait }: ZoneChange,
): Promise<{ before: ZoneView; after: ZoneView; hasChanged: boolean }> {
  const wasUp = isUp()
  const before = findZone(await listZones(store, region), wanted)
  const { zone } = before
  const { status: { revision }, hasChanged } = await store.transaction(`zone.${to}`, (db) => moveZone({ db, nowMs: clock.now() }, zone, to))
  const look = async () => {
    if (wasUp && wait && !isUp()) throw new Error(`hearth up has ended meanwhile; ${zone} will be ${to} with the next`)
    const view = findZone(await listZones(store, region), zone)
    if (wait && view.revision !== revision) throw new Error(`${zone} was changed meanwhile by somebody else, and is ${view.state} now`)
    return view
  }
  if (wasUp && wait) {
    await withProgress(clock, terminal, `${zone} becomes ${to}`, () =>
      waitFor(clock, `the agents of ${zone}; hearth status tells whether they run`, IN_FORCE_TIMEOUT_MS,
        async () => (await look()).isInForce, LOOK_MS))
    if (to === 'available') {
      const { lost } = (await look()).instances
      await untilBack({ clock, terminal }, zone, { ids: hasChanged ? [...new Set([...before.instances.comingBack, ...lost])] : lost, look })
    }
  }
  return { before, after: await look(), hasChanged }
}

/** One that was back once is back: what is done with it then is another matter. */
async function untilBack(
  { clock, terminal }: { clock: Clock; terminal: Terminal },
  zone: string,
  { ids, look }: { ids: readonly string[]; look: () => Promise<ZoneView> },
): Promise<void> {
  let left = ids
  if (left.length === 0) return
  const what = () => `${left.length} instance${left.length === 1 ? '' : 's'} of ${zone}`
  await withProgress(clock, terminal, `${what()} coming back`, () =>
    waitFor(clock, `${what()} to come back; hearth status tells what they do`, BACK_TIMEOUT_MS, async () => {
      const { comingBack } = (await look()).instances
      left = left.filter((id) => comingBack.includes(id))
      return left.length === 0
    }, LOOK_MS))
}

/** What has become of the instances, as a sentence for people. */
export function describeChange(
  { before, after, hasChanged }: { before: ZoneView; after: ZoneView; hasChanged: boolean },
  { to, isUp, wait }: ZoneChange,
): string {
  const { zone, instances: { running, comingBack, stopped } } = after
  if (!hasChanged && !(isUp() && wait)) return `${zone} is ${to} already`
  if (!isUp()) return `${zone} will be ${to} with the next hearth up`
  const count = (ids: readonly string[], what: string) => (ids.length === 0 ? [] : [`${ids.length} ${what}`])
  const upBefore = before.instances.running
  const parts = {
    unavailable: () => count(before.state === 'unavailable' ? [...running, ...comingBack] : upBefore, 'lost power'),
    impaired: () => count(upBefore, 'frozen'),
    available: () => [
      ...count(running, 'running'), ...count(comingBack, 'coming back'),
      ...count(stopped.filter((id) => !before.instances.stopped.includes(id)), 'stopped'),
    ],
  }[to]()
  const state = after.isInForce ? `is ${to}` : `becomes ${to}`
  return `${zone} ${state}; instances: ${parts.length === 0 ? 'none' : parts.join(', ')}`
}
