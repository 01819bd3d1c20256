import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Network } from '../network/driver.ts'
import { inPages } from '../store/batch.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'
import { RECYCLE_BIN } from './recycle.ts'

/** Marks made in one transaction; more would keep other callers waiting. */
const ITEMS_AT_ONCE = 250

/**
 * Compares the host with the database from scratch: everything the database knows of this host and
 * everything the drivers see is marked due. What exists without a row is garbage (rows are written
 * before anything exists), and its reconciler removes it. Runs when an agent starts and now and
 * then after.
 */
export async function resync(options: {
  store: Store
  clock: Clock
  hypervisor: Hypervisor
  network: Network
  volumes: Volumes
  hostId: string
}): Promise<void> {
  const { store, clock, hostId } = options
  const machines = await options.hypervisor.list()
  const vpcs = await options.network.list()
  const layers = await options.volumes.list()
  const due: Due = {
    // What exists without a row is garbage, unless it turns up below.
    instance: new Set(machines), volume: new Set(), layer: new Set(layers), vpc: new Set(vpcs), images: new Set(['built']),
    recycle: new Set([RECYCLE_BIN]), event: new Set(await scheduledEvents(store, hostId)),
    zone: new Set(await zonesOf(store, hostId)),
  }
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('instances').select(['instance_id', 'host_id', 'vpc_id', 'state'])
      .where('instance_id', '>', after).orderBy('instance_id').limit(limit).execute(), (row) => row.instance_id)) {
    for (const row of page) {
      // A terminated instance keeps its folder, for the console, until it is purged.
      if (row.state === 'terminated') due.instance.delete(row.instance_id)
      else if (row.host_id === hostId) {
        due.instance.add(row.instance_id)
        if (row.vpc_id !== null) due.vpc.add(row.vpc_id)
      }
    }
  }
  // A VPC may have NAT gateways here and nothing else.
  const gateways = await store.read((db) => db
    .selectFrom('nat_gateways').select('vpc_id').distinct()
    .where('host_id', '=', hostId).where('state', 'in', ['pending', 'available', 'deleting']).execute())
  for (const { vpc_id: vpcId } of gateways) due.vpc.add(vpcId)
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('volumes')
      .select(['volume_id', 'host_id', 'ready', 'state', 'next_layer_id', 'instance_id', 'revision', 'synced_revision'])
      .where('volume_id', '>', after).orderBy('volume_id').limit(limit).execute(), (row) => row.volume_id)) {
    for (const row of page) {
      // Volumes are looked at only when the row and the file may disagree.
      if (row.host_id === hostId && isVolumeUnsettled(row)) due.volume.add(row.volume_id)
      else due.volume.delete(row.volume_id)
    }
  }
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('layers').select(['layer_id', 'host_id', 'state'])
      .where('layer_id', '>', after).orderBy('layer_id').limit(limit).execute(), (row) => row.layer_id)) {
    for (const row of page) {
      // Those that are being made are their volumes' business, or that of the images.
      const isUnsettled = row.host_id === hostId && UNSETTLED_LAYERS.includes(row.state)
      if (isUnsettled) due.layer.add(row.layer_id)
      else due.layer.delete(row.layer_id)
    }
  }
  await enqueueAll({ store, clock, hostId }, due)
}

/** Events of this host's instances that are still to come. */
async function scheduledEvents(store: Store, hostId: string): Promise<string[]> {
  const rows = await store.read((db) => db
    .selectFrom('instance_events').innerJoin('instances', 'instances.instance_id', 'instance_events.instance_id')
    .select('event_id').where('instance_events.state', '=', 'scheduled').where('host_id', '=', hostId).execute())
  return rows.map((row) => row.event_id)
}

/** Zones that something has befallen: the host's own, or all of them for a node. */
async function zonesOf(store: Store, hostId: string): Promise<string[]> {
  const rows = await store.read((db) => db
    .selectFrom('zones').innerJoin('hosts', (join) =>
      join.on((eb) => eb.or([eb('hosts.zone', 'is', null), eb('hosts.zone', '=', eb.ref('zones.zone'))])))
    .select('zones.zone').where('host_id', '=', hostId).orderBy('zones.zone').execute())
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

type Due = Record<'instance' | 'volume' | 'layer' | 'vpc' | 'images' | 'recycle' | 'event' | 'zone', Set<string>>

/** Marks everything due, some at a time. */
async function enqueueAll({ store, clock, hostId }: { store: Store; clock: Clock; hostId: string }, due: Due): Promise<void> {
  const items = (Object.keys(due) as (keyof Due)[]).flatMap((kind) => [...due[kind]].map((id) => ({ kind, id, hostId })))
  const dueMs = clock.now()
  for (let start = 0; start < items.length; start += ITEMS_AT_ONCE) {
    await store.transaction('resync', async (db) => {
      for (const item of items.slice(start, start + ITEMS_AT_ONCE)) await enqueue(db, item, dueMs)
    })
    await new Promise<void>((resolve) => clock.soon(resolve))
  }
}
