import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Network } from '../network/driver.ts'
import { inPages } from '../store/batch.ts'
import { prepared } from '../store/prepared.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import type { Self } from './hand-over.ts'
import { RECYCLE_BIN } from './recycle.ts'

/** Marks made in one transaction; more would keep other callers waiting. */
const ITEMS_AT_ONCE = 250

export interface ResyncOptions extends Self {
  store: Store
  clock: Clock
  hypervisor: Pick<Hypervisor, 'list'>
  network: Pick<Network, 'list'>
  volumes: Pick<Volumes, 'list'>
}

/**
 * Compares a host with the database from scratch: what the database knows of it, and where it and the world may disagree,
 * is marked due. All hosts of a node see the same folders and processes, so the node alone looks for what exists without a
 * row, of any host: that is garbage (rows are written before anything exists, and deleted after it), and its reconciler
 * removes it. Runs when an agent starts and now and then after.
 *
 * @returns the host's instances that are not terminated.
 */
export async function resync(options: ResyncOptions): Promise<ReadonlySet<string>> {
  const { store, hostId, isNode } = options
  const due: Due = {
    instance: new Set(), volume: new Set(), layer: new Set(), vpc: new Set(), images: new Set(), recycle: new Set(),
    event: new Set(await scheduledEvents(store, hostId)), reservation: new Set(), zone: new Set(await zonesOf(store, hostId)),
  }
  if (isNode) {
    // Listed before rows are read: whatever is listed and is not garbage has a row by then.
    due.instance = new Set(await options.hypervisor.list())
    due.vpc = new Set(await options.network.list())
    due.layer = new Set(await options.volumes.list())
    due.images.add('built')
    due.recycle.add(RECYCLE_BIN)
    due.reservation = new Set(await endingReservations(store, hostId))
    await addVpcs(options, due)
  }
  const living = await addInstances(options, due)
  await addVolumes(options, due)
  await addLayers(options, due)
  await enqueueAll(options, due)
  return living
}

/**
 * While the zone of a host has failed: only that is looked at, as nothing else is done until it is healed. The heal has
 * everything compared.
 */
export async function resyncZones(options: Pick<ResyncOptions, 'store' | 'clock' | 'hostId'>): Promise<void> {
  await enqueueAll(options, { zone: new Set(await zonesOf(options.store, options.hostId)) })
}

/** VPCs with NAT gateways, which may have nothing else. */
async function addVpcs({ store, hostId }: ResyncOptions, due: Due): Promise<void> {
  const gateways = await store.read((db) => db
    .selectFrom('nat_gateways').select('vpc_id').distinct()
    .where('host_id', '=', hostId).where('state', 'in', ['pending', 'available', 'deleting']).execute())
  for (const { vpc_id: vpcId } of gateways) due.vpc.add(vpcId)
}

async function addInstances({ store, clock, hostId, isNode }: ResyncOptions, due: Due): Promise<Set<string>> {
  const living = new Set<string>()
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('instances').select(['instance_id', 'host_id', 'node_id', 'vpc_id', 'state'])
      .$if(!isNode, (query) => query.where('host_id', '=', hostId))
      .where('instance_id', '>', after).orderBy('instance_id').limit(limit).execute(), (row) => row.instance_id)) {
    for (const row of page) {
      // Another host's is that host's, and a terminated instance keeps its folder, for the console, until it is purged.
      due.instance.delete(row.instance_id)
      if (row.state === 'terminated') continue
      if (isNode && row.node_id === hostId && row.vpc_id !== null) due.vpc.add(row.vpc_id)
      if (row.host_id !== hostId) continue
      due.instance.add(row.instance_id)
      living.add(row.instance_id)
    }
  }
  return living
}

const volumesOf = prepared((db, hostId: string, after: string, limit: number) =>
  db.selectFrom('volumes')
    .select(['volume_id', 'ready', 'state', 'next_layer_id', 'instance_id', 'revision', 'synced_revision'])
    .where('host_id', '=', hostId).where('volume_id', '>', after).orderBy('volume_id').limit(limit))

async function addVolumes({ store, clock, hostId }: ResyncOptions, due: Due): Promise<void> {
  const pages = inPages({ store, clock }, (db, after, limit) => volumesOf(db, hostId, after, limit), (row) => row.volume_id)
  for await (const page of pages) {
    // Volumes are looked at only when the row and the file may disagree.
    for (const row of page) if (isVolumeUnsettled(row)) due.volume.add(row.volume_id)
  }
}

async function addLayers({ store, clock, hostId, isNode }: ResyncOptions, due: Due): Promise<void> {
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('layers').select(['layer_id', 'host_id', 'state'])
      .$if(!isNode, (query) => query.where('host_id', '=', hostId))
      .where('layer_id', '>', after).orderBy('layer_id').limit(limit).execute(), (row) => row.layer_id)) {
    for (const row of page) {
      // Those that are being made are their volumes' business, or that of the images.
      if (row.host_id === hostId && UNSETTLED_LAYERS.includes(row.state)) due.layer.add(row.layer_id)
      else due.layer.delete(row.layer_id)
    }
  }
}

const scheduledOf = prepared((db, hostId: string) =>
  db.selectFrom('instance_events').innerJoin('instances', 'instances.instance_id', 'instance_events.instance_id')
    .select('event_id').where('instance_events.state', '=', 'scheduled').where('host_id', '=', hostId))

/** Events of this host's instances that are still to come. */
async function scheduledEvents(store: Store, hostId: string): Promise<string[]> {
  const rows = await store.read((db) => scheduledOf(db, hostId))
  return rows.map((row) => row.event_id)
}

/** Capacity reservations with an end that have room on this node: whoever writes their end down first does it for all. */
async function endingReservations(store: Store, hostId: string): Promise<string[]> {
  const rows = await store.read((db) => db
    .selectFrom('capacity_reservations as reservations')
    .innerJoin('capacity_reservation_hosts as slots', 'slots.capacity_reservation_id', 'reservations.capacity_reservation_id')
    .innerJoin('hosts', 'hosts.host_id', 'slots.host_id')
    .select('reservations.capacity_reservation_id as id').distinct()
    .where('state', '=', 'active').where('end_ms', 'is not', null).where('node_id', '=', hostId).execute())
  return rows.map((row) => row.id)
}

const befallenZones = prepared((db, hostId: string) =>
  db.selectFrom('zones').innerJoin('hosts', (join) =>
    join.on((eb) => eb.or([eb('hosts.zone', 'is', null), eb('hosts.zone', '=', eb.ref('zones.zone'))])))
    .select('zones.zone').where('host_id', '=', hostId).orderBy('zones.zone'))

/** Zones that something has befallen: the host's own, or all of them for a node. */
async function zonesOf(store: Store, hostId: string): Promise<string[]> {
  const rows = await store.read((db) => befallenZones(db, hostId))
  return rows.map((row) => row.zone)
}

const UNSETTLED_LAYERS: readonly LayerTable['state'][] = ['filling', 'sealing', 'deleting']

/** Instances are looked at in any case, and with them what is to be done in their machines. */
function isVolumeUnsettled(
  row: Pick<VolumeTable, 'ready' | 'state' | 'next_layer_id' | 'instance_id' | 'revision' | 'synced_revision'>,
): boolean {
  if (row.state === 'error') return false
  if (row.ready === 0 || row.state === 'deleting' || row.next_layer_id !== null) return true
  return row.instance_id === null && row.revision !== row.synced_revision
}

type Due = Record<'instance' | 'volume' | 'layer' | 'vpc' | 'images' | 'recycle' | 'event' | 'reservation' | 'zone', Set<string>>

/** Marks everything due, some at a time. */
async function enqueueAll({ store, clock, hostId }: { store: Store; clock: Clock; hostId: string }, due: Partial<Due>): Promise<void> {
  const items = (Object.keys(due) as (keyof Due)[]).flatMap((kind) => [...(due[kind] ?? [])].map((id) => ({ kind, id, hostId })))
  const dueMs = clock.now()
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) {
    await store.transaction('resync', async (db) => {
      for (const item of items.slice(start, start + ITEMS_AT_ONCE)) await enqueue(db, item, dueMs)
    })
    await new Promise<void>((resolve) => clock.soon(resolve))
  }
}
