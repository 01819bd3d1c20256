import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Network } from '../network/driver.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { Volumes } from '../volumes/driver.ts'

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
  const volumes = await options.volumes.list()
  await store.transaction('resync', async (db) => {
    const dueMs = clock.now()
    const instances = await db
      .selectFrom('instances').select(['instance_id', 'vpc_id', 'state']).where('host_id', '=', hostId).execute()
    const living = instances.filter((row) => row.state !== 'terminated')
    // A terminated instance keeps its folder, for the console, until it is purged.
    const terminated = new Set(instances.filter((row) => row.state === 'terminated').map((row) => row.instance_id))
    // Of all hosts: only a file that no row anywhere speaks of is garbage.
    const known = await db.selectFrom('volumes').select(['volume_id', 'host_id', 'ready', 'state']).execute()
    const unsettled = known.filter((row) => row.host_id === hostId && (row.ready === 0 || row.state === 'deleting'))
    const rows = new Set(known.map((row) => row.volume_id))
    const due = {
      instance: new Set([...living.map((row) => row.instance_id), ...machines.filter((id) => !terminated.has(id))]),
      // Existing volumes are looked at only when the row and the file may disagree.
      volume: new Set([...unsettled.map((row) => row.volume_id), ...volumes.filter((id) => !rows.has(id))]),
      vpc: new Set([...living.map((row) => row.vpc_id), ...vpcs]),
      images: new Set(['built']),
    }
    for (const [kind, ids] of Object.entries(due) as [keyof typeof due, Set<string>][]) {
      for (const id of ids) await enqueue(db, { kind, id, hostId }, dueMs)
    }
  })
}
