import type { Db } from '../store/store.ts'

/** What of a zone stands in the way of leaving it out, by ids. */
export interface ZoneContent {
  zone: string
  instances: string[]
  volumes: string[]
  /** Volumes that were deleted and can be brought back. */
  binned: string[]
  dedicatedHosts: string[]
  reservations: string[]
}

/** What a node has in zones other than `zones`: everything that cannot be without its zone. */
export async function contentBeyond(db: Db, nodeId: string, zones: readonly string[]): Promise<ZoneContent[]> {
  const rows = await db.selectFrom('hosts').select('host_id').where('node_id', '=', nodeId).execute()
  const hostIds = [nodeId, ...rows.map((row) => row.host_id)]
  const instances = await db
    .selectFrom('instances').select(['instance_id as id', 'zone']).where('state', '!=', 'terminated').where('zone', 'not in', zones)
    .where('host_id', 'in', hostIds).orderBy('instance_id').execute()
  const volumes = await db
    .selectFrom('volumes').select(['volume_id as id', 'zone', 'binned_ms']).where('zone', 'not in', zones)
    .where('host_id', 'in', hostIds).orderBy('volume_id').execute()
  const dedicated = await db
    .selectFrom('dedicated_hosts').select(['dedicated_host_id as id', 'zone']).where('state', '=', 'available')
    .where('zone', 'not in', zones).where('host_id', 'in', hostIds).orderBy('dedicated_host_id').execute()
  const reservations = await db
    .selectFrom('capacity_reservations').select(['capacity_reservation_id as id', 'zone']).where('state', '=', 'active')
    .where('zone', 'not in', zones).orderBy('capacity_reservation_id').execute()
  const idsIn = (rows: readonly { id: string; zone: string }[], zone: string) =>
    rows.filter((row) => row.zone === zone).map((row) => row.id)
  const found = new Set([...instances, ...volumes, ...dedicated, ...reservations].map((each) => each.zone))
  return [...found].toSorted().map((zone) => ({
    zone,
    instances: idsIn(instances, zone),
    volumes: idsIn(volumes.filter((row) => row.binned_ms === null), zone),
    binned: idsIn(volumes.filter((row) => row.binned_ms !== null), zone),
    dedicatedHosts: idsIn(dedicated, zone),
    reservations: idsIn(reservations, zone),
  }))
}

/** How many instances of a zone are to change over to its first host, since theirs is no more, and whether any is in a placement group. */
export interface HomelessInstances {
  zone: string
  count: number
  isAnyInGroup: boolean
}

/** Instances of hosts of a node that are not among those in use, by zone; of zones that are in use still. */
export async function homelessInstances(
  db: Db, nodeId: string, zones: readonly string[], inUse: readonly string[],
): Promise<HomelessInstances[]> {
  const rows = await db
    .selectFrom('instances').select(['zone', 'placement_group_id']).where('node_id', '=', nodeId).where('state', '!=', 'terminated')
    .where('host_id', '!=', nodeId).where('host_id', 'not in', inUse).execute()
  return zones.flatMap((zone) => {
    const inside = rows.filter((row) => row.zone === zone)
    return inside.length === 0 ? [] : [{ zone, count: inside.length, isAnyInGroup: inside.some((row) => row.placement_group_id !== null) }]
  })
}

/** Hosts of a node that nobody runs any more promise nothing, so that nothing is placed on them before others have taken over from them. */
export async function retireHosts(db: Db, nodeId: string, inUse: readonly string[]): Promise<void> {
  await db
    .updateTable('hosts').set({ vcpus: 0, memory_mib: 0 }).where('node_id', '=', nodeId).where('host_id', '!=', nodeId)
    .where('host_id', 'not in', inUse).execute()
}
