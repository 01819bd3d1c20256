import type { Store } from '../store/store.ts'
import { formatMib } from './terminal.ts'

/** What people try first: a t3.micro. */
const SMALL = { type: 't3.micro', vcpus: 2, memoryMib: 1024 }

/** What to say of zones none of whose hosts could have even a small instance: the computer is divided among too many. */
export async function narrowZones(store: Store): Promise<string[]> {
  const hosts = await store.read((db) => db
    .selectFrom('hosts').select(['zone', 'vcpus', 'memory_mib']).where('zone', 'is not', null).orderBy('zone').execute())
  // Those that are left out promise nothing, and are no zones of this cloud.
  const promising = hosts.filter((host) => host.vcpus > 0 || host.memory_mib > 0)
  const zones = [...new Set(promising.flatMap(({ zone }) => zone ?? []))]
  const narrow = zones.filter((zone) => promising.every((host) =>
    host.zone !== zone || host.vcpus < SMALL.vcpus || host.memory_mib < SMALL.memoryMib))
  if (narrow.length === 0) return []
  const most = promising.reduce((largest, { zone, memory_mib: mib }) => (zone === narrow[0] ? Math.max(largest, mib) : largest), 0)
  return [`no host of ${narrow.join(', ')} has room for a ${SMALL.type} (${SMALL.vcpus} vCPUs, 1 GiB; in ${narrow[0]} the largest promises `
    + `${formatMib(most)}): have fewer zones, hosts or regions, or raise --overcommit-vcpus and --overcommit-memory`]
}
