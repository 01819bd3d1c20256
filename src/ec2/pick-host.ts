import { byFreeMemory } from '../scheduler/place.ts'
import type { Context } from './context.ts'

/** The host of the region with the most room, for what instances may come to; undefined where there is none. */
export async function pickHost({ db, region }: Context): Promise<string | undefined> {
  const hosts = await db.selectFrom('hosts').selectAll().where('region', '=', region).execute()
  const [first] = byFreeMemory(hosts.map((host) => ({
    hostId: host.host_id, vcpus: host.vcpus, memoryMib: host.memory_mib, vcpusUsed: host.vcpus_used, memoryMibUsed: host.memory_mib_used,
  })))
  return first?.hostId
}
