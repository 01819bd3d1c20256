import { zoneStates, zoneStatus, type ZoneState } from '../model/zone.ts'
import type { AnySettings } from '../realm.ts'
import type { Db, Store } from '../store/store.ts'
import type { Hop } from '../vpc/reach-walk.ts'
import { hearthCommand } from './command.ts'
import { listInstances } from './instances.ts'

/** "has failed", "is impaired". */
export function troubleOf(state: Exclude<ZoneState, 'available'>): string {
  return state === 'unavailable' ? 'has failed' : 'is impaired'
}

/**
 * What keeps an instance from doing anything, where its zone does.
 *
 * @returns a sentence with how the zone is healed; undefined where the zone is available.
 */
export async function zoneTrouble(
  store: Store,
  settings: Pick<AnySettings, 'home' | 'cloudHome' | 'region'>,
  { instanceId, zone }: { instanceId: string; zone: string },
): Promise<string | undefined> {
  const { state } = await store.read((db) => zoneStatus(db, zone))
  if (state === 'available') return undefined
  return `${instanceId} is in ${zone}, which ${troubleOf(state)}; to heal it: ${hearthCommand(`zone heal ${zone}`, settings)}`
}

/** Why something that is waited for does not come while an instance's zone is not available; undefined where it may. */
export async function whyItWaits(isSo: string, ...of: Parameters<typeof zoneTrouble>): Promise<string | undefined> {
  const trouble = await zoneTrouble(...of)
  return trouble === undefined ? undefined : `${isSo}, and that waits: ${trouble}`
}

/** Zones that are not available, each in a sentence with how it is healed. */
export async function troubledZones(store: Store, settings: Parameters<typeof zoneTrouble>[1]): Promise<string[]> {
  return [...(await store.read(zoneStates)).values()].flatMap(({ zone, state }) => (
    state === 'available' ? [] : `${zone} ${troubleOf(state)}, as before; to heal it: ${hearthCommand(`zone heal ${zone}`, settings)}`))
}

/** How many instances have, or may have, a process: in a zone that has lost its power there is none. */
export async function countProcesses(store: Store): Promise<number> {
  const states = await store.read(zoneStates)
  return (await listInstances(store))
    .filter(({ state, zone }) => state !== 'stopped' && state !== 'terminated' && states.get(zone)?.state !== 'unavailable').length
}

/** @throws Error where the instance's zone is not available. */
export async function requireZone(...of: Parameters<typeof zoneTrouble>): Promise<void> {
  const trouble = await zoneTrouble(...of)
  if (trouble !== undefined) throw new Error(trouble)
}

/** A zone that lets no packet of something in or out. */
export interface ZoneObstacle {
  zone: string
  state: Exclude<ZoneState, 'available'>
  /** Ids of the interfaces and NAT gateways in it that the packet or its answer would pass. */
  of: string[]
}

/** Zones that are not available, of what packets pass and of the interfaces at their ends. */
export async function zoneObstacles(
  db: Db,
  hops: readonly Hop[],
  ends: readonly { interface_id: string; subnet_id: string | null }[],
): Promise<ZoneObstacle[]> {
  const troubled = [...(await zoneStates(db)).values()].filter(({ state }) => state !== 'available')
  if (troubled.length === 0) return []
  const subnets = new Map<string, string | null>(ends.map((end) => [end.interface_id, end.subnet_id]))
  for (const hop of hops) {
    if (hop.kind === 'interface') subnets.set(hop.holder.port.interfaceId, hop.holder.subnetId)
    if (hop.kind === 'nat-gateway') subnets.set(hop.nat.natGatewayId, hop.nat.subnetId)
  }
  const zones = new Map((await db.selectFrom('subnets').select(['subnet_id', 'zone']).execute()).map((row) => [row.subnet_id, row.zone]))
  return troubled.flatMap(({ zone, state }) => {
    const of = [...subnets].filter(([, subnetId]) => subnetId !== null && zones.get(subnetId) === zone).map(([id]) => id)
    return state === 'available' || of.length === 0 ? [] : { zone, state, of }
  })
}

/** The same for people. */
export function explainZone({ zone, state, of }: ZoneObstacle): string {
  return `${zone} ${troubleOf(state)}, so that nothing gets in or out at ${of.join(' and ')}; hearth zone heal ${zone} brings it back`
}
