import { prepared } from '../store/prepared.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { hostDoc } from './host.ts'
import { instanceDoc } from './instance.ts'
import { hostBootIdOf, zoneStates, type ZoneStatus } from './zone.ts'

/** What a zone's failure is for what is on one host of it. */
export interface Outage {
  zone: Pick<ZoneStatus, 'zone' | 'state'>
  /** The first moment of the failure: that of the impairment, where an impaired zone has failed altogether. */
  sinceMs: number
  /** Whether the zone is available and the host has that in force: until then guests stand still, or have no power. */
  isOver: boolean
  /** The run that machines of the host are in unless they have ended with an earlier one; undefined where that is not known. */
  runId: string | undefined
}

type Outages = (of: { zone: string; host_id: string }) => Outage | undefined

const hostsInZones = prepared((db) =>
  db.selectFrom('hosts').innerJoin('zones', 'zones.zone', 'hosts.zone').select(['host_id', 'zone_revision', 'hosts.doc']))

/** The failures of all zones: to be asked for each thing. Undefined for what is in a zone that nothing has ever befallen. */
export async function loadOutages(db: Db): Promise<Outages> {
  const zones = await zoneStates(db)
  if (zones.size === 0) return () => undefined
  const hosts = new Map((await hostsInZones(db)).map((host) => [host.host_id, host]))
  return ({ zone: name, host_id: hostId }) => {
    const zone = zones.get(name)
    if (!zone) return undefined
    const host = hosts.get(hostId)
    const nodeBootId = host && hostDoc(host).bootId
    return {
      zone, sinceMs: zone.outageSinceMs,
      isOver: zone.state === 'available' && (host === undefined || host.zone_revision >= zone.revision),
      runId: nodeBootId === undefined ? undefined : hostBootIdOf(nodeBootId, zone.powerCuts),
    }
  }
}

/**
 * Since when the machine of a running instance has been lost with the power of its zone, and not been started again; null for
 * any other. Its status checks say so from the moment that the loss is in force.
 */
export function lostSinceMs(row: Pick<InstanceTable, 'state' | 'doc'>, outage: Outage | undefined): number | null {
  const { hostBootId, checks } = instanceDoc(row)
  const isOfEarlierRun = outage?.runId !== undefined && hostBootId !== undefined && hostBootId !== outage.runId
  return row.state === 'running' && isOfEarlierRun ? checks?.systemSinceMs ?? null : null
}
