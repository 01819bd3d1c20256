import { prepared } from '../store/prepared.ts'
import type { ZoneTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { wakeMarketOfRoom } from './spot-market.ts'

/** Zones of a region by their letters, in order: us-east-1a, us-east-1b, us-east-1c. */
export function zonesOf({ region, zones }: { region: string; zones: readonly string[] }): string[] {
  return zones.map((letter) => region + letter)
}

/** What to do about a zone that has failed, for whoever gets an error because of that. */
export function howToHeal(zones: readonly string[]): string {
  const orders = zones.map((zone) => `"hearth zone heal ${zone}"`).join(' and ')
  return zones.length === 1 ? `${zones[0]} has failed; ${orders} brings it back.` : `${zones.join(' and ')} have failed; ${orders} bring them back.`
}

/** Short forms that AWS uses of the words in a region's name. */
const DIRECTIONS: Record<string, string> = {
  north: 'n', south: 's', east: 'e', west: 'w', central: 'c',
  northeast: 'ne', northwest: 'nw', southeast: 'se', southwest: 'sw',
}

/** A zone's id: use1-az1 for us-east-1a. In AWS the letters are shuffled per account; here they are not. */
export function zoneIdOf(zone: string): string {
  const match = /^([a-z]{2})-(gov-)?([a-z]+)-(\d)([a-z])$/.exec(zone)
  if (!match) return `${zone}-az`
  const [, area = '', gov, direction = '', number = '', letter = 'a'] = match
  return `${area}${gov === undefined ? '' : 'g'}${DIRECTIONS[direction] ?? direction}${number}-az${letter.charCodeAt(0) - 96}`
}

export type ZoneState = ZoneTable['state']

/** What somebody has done to a zone. */
export interface ZoneStatus {
  zone: string
  state: ZoneState
  /** How often its state has changed. */
  revision: number
  /** How often it has lost its power, and in which revision last. */
  powerCuts: number
  cutRevision: number
  /** Since when it is in that state; 0 for one that was never in another. */
  sinceMs: number
  /** The first moment of its last failure: that of the impairment, where it was impaired and has failed altogether then. */
  outageSinceMs: number
  /** What DescribeAvailabilityZones says of it; null while it is available. */
  message: string | null
}

/** What of a zone's row SQL never looks into. */
interface ZoneDoc {
  cutRevision: number
  /** Rows of earlier versions do not have it. */
  outageSinceMs?: number
  message: string | null
}

/** Every legal change. What has no power cannot be frozen. */
export const ZONE_MOVES: Record<ZoneState, readonly ZoneState[]> = {
  available: ['impaired', 'unavailable'],
  impaired: ['unavailable', 'available'],
  unavailable: ['available'],
}

/** Work that comes before everything else that a host has to do. */
const BEFORE_ALL_MS = 0

const everyZone = prepared((db) => db.selectFrom('zones').selectAll())

/** The zones that ever were in another state than `available`, by name. */
export async function zoneStates(db: Db): Promise<Map<string, ZoneStatus>> {
  return new Map((await everyZone(db)).map((row) => [row.zone, statusOf(row)]))
}

/** The zones that are not available, by name. */
export async function failedZones(db: Db): Promise<string[]> {
  return [...(await zoneStates(db)).values()].filter(({ state }) => state !== 'available').map(({ zone }) => zone)
}

const oneZone = prepared((db, zone: string) => db.selectFrom('zones').selectAll().where('zone', '=', zone))

/** The state of one zone, of whatever name. */
export async function zoneStatus(db: Db, zone: string): Promise<ZoneStatus> {
  const [row] = await oneZone(db, zone)
  return row ? statusOf(row) : { zone, state: 'available', revision: 0, powerCuts: 0, cutRevision: 0, sinceMs: 0, outageSinceMs: 0, message: null }
}

function statusOf({ zone, state, revision, power_cuts: powerCuts, since_ms: sinceMs, doc }: ZoneTable): ZoneStatus {
  const { cutRevision, outageSinceMs = sinceMs, message } = JSON.parse(doc) as ZoneDoc
  return { zone, state, revision, powerCuts, cutRevision, sinceMs, outageSinceMs, message }
}

/** What a node has in force when it has all changes of zones in force that these know of; it only grows. */
export function sumOfRevisions(zones: Iterable<Pick<ZoneStatus, 'revision'>>): number {
  return [...zones].reduce((sum, { revision }) => sum + revision, 0)
}

/**
 * Which run of a host it is: machines of another one have ended with it, for the computer was started anew, or the zone has
 * lost its power.
 */
export function hostBootIdOf(nodeBootId: string, powerCuts: number): string {
  return powerCuts === 0 ? nodeBootId : `${nodeBootId}/${powerCuts}`
}

/** What the agent of a host has to know of its zone. */
export interface HostZone {
  state: ZoneState
  sinceMs: number
  /** Power cuts that are in force on this host: what is started before the last one is will end with it. */
  powerCuts: number
  /** The zone is available, and nothing is left to be put in force here. */
  isSettled: boolean
}

const zoneOfHost = prepared((db, hostId: string) =>
  db.selectFrom('hosts').innerJoin('zones', 'zones.zone', 'hosts.zone')
    .select(['zones.zone', 'state', 'revision', 'power_cuts', 'since_ms', 'zones.doc', 'zone_revision']).where('host_id', '=', hostId))

/** The zone of a host; a node has none, and nothing ever befalls that. */
export async function hostZone(db: Db, hostId: string): Promise<HostZone> {
  const [row] = await zoneOfHost(db, hostId)
  if (!row) return { state: 'available', sinceMs: 0, powerCuts: 0, isSettled: true }
  const { state, sinceMs, powerCuts, cutRevision, revision } = statusOf(row)
  return {
    state, sinceMs, powerCuts: row.zone_revision < cutRevision ? powerCuts - 1 : powerCuts,
    isSettled: state === 'available' && row.zone_revision >= revision,
  }
}

/**
 * Changes a zone's state, and has the agents of its hosts and of the nodes put that in force. The state that it is in
 * already changes nothing.
 *
 * @throws Error for a change that `ZONE_MOVES` does not have.
 */
export async function moveZone(
  { db, nowMs }: { db: Db; nowMs: number },
  zone: string,
  to: ZoneState,
): Promise<{ status: ZoneStatus; hasChanged: boolean }> {
  const before = await zoneStatus(db, zone)
  if (before.state === to) return { status: before, hasChanged: false }
  if (!ZONE_MOVES[before.state].includes(to)) {
    throw new Error(`${zone} is ${before.state}: its machines have lost their power and cannot be frozen; heal it first: hearth zone heal ${zone}`)
  }
  const revision = before.revision + 1
  const isCut = to === 'unavailable'
  const doc: ZoneDoc = {
    cutRevision: isCut ? revision : before.cutRevision, outageSinceMs: before.state === 'available' ? nowMs : before.outageSinceMs,
    message: messageOf(zone, to, nowMs),
  }
  const row: ZoneTable = {
    zone, state: to, revision, power_cuts: before.powerCuts + (isCut ? 1 : 0), since_ms: nowMs, doc: JSON.stringify(doc),
  }
  await db.insertInto('zones').values(row)
    .onConflict((conflict) => conflict.column('zone').doUpdateSet(row)).execute()
  await wakeHosts(db, zone)
  // Its room is taken from spot, or given back.
  await wakeMarketOfRoom(db, nowMs)
  return { status: statusOf(row), hasChanged: true }
}

/** The hosts of the zone, and every node: any may carry network of the zone. */
async function wakeHosts(db: Db, zone: string): Promise<void> {
  const hosts = await db
    .selectFrom('hosts').select('host_id').where((eb) => eb.or([eb('zone', '=', zone), eb('zone', 'is', null)]))
    .orderBy('host_id').execute()
  for (const { host_id: hostId } of hosts) await enqueue(db, { kind: 'zone', id: zone, hostId }, BEFORE_ALL_MS)
}

function messageOf(zone: string, state: ZoneState, nowMs: number): string | null {
  const since = new Date(nowMs).toISOString()
  switch (state) {
    case 'available':
      return null
    case 'impaired':
      return `Since ${since} instances in ${zone} stand still, and its network is cut.`
    case 'unavailable':
      return `Since ${since} instances in ${zone} have no power, and its network is cut.`
  }
}
