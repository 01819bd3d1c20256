import type { HostTable, Database } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { formatMib } from './terminal.ts'

interface Size {
  vcpus: number
  memoryMib: number
}

/** What may be promised to instances, what is, and what could be still. */
export interface CapacityView {
  nominal: Size
  used: Size
  left: Size
}

/** A zone with this node's share of it. */
export interface ZoneView extends CapacityView {
  zone: string
  state: Database['zones']['state']
  hosts: (CapacityView & { hostId: string })[]
}

/** The zones of a node and what they promise. A host that promises nothing and has promised nothing is in use no more. */
export async function readZones(db: Db, nodeId: string): Promise<ZoneView[]> {
  const rows = await db.selectFrom('hosts').selectAll().where('node_id', '=', nodeId).orderBy('zone').orderBy('host_id').execute()
  const states = new Map((await db.selectFrom('zones').select(['zone', 'state']).execute()).map((row) => [row.zone, row.state]))
  const inUse = rows.filter((row) => row.vcpus > 0 || row.vcpus_used > 0)
  const zones = new Set(inUse.flatMap((row) => row.zone ?? []))
  return [...zones].map((zone) => {
    const hosts = inUse.filter((row) => row.zone === zone)
    return {
      zone, state: states.get(zone) ?? 'available', ...sumOf(hosts),
      hosts: hosts.map((row) => ({ hostId: row.host_id, ...sumOf([row]) })),
    }
  })
}

/** All that a node may promise, in its zones or undivided. */
export async function readCapacity(db: Db, nodeId: string): Promise<CapacityView> {
  return sumOf(await db.selectFrom('hosts').selectAll().where('node_id', '=', nodeId).execute())
}

function sumOf(rows: readonly HostTable[]): CapacityView {
  const sum = (each: (row: HostTable) => number) => rows.reduce((total, row) => total + each(row), 0)
  const nominal = { vcpus: sum((row) => row.vcpus), memoryMib: sum((row) => row.memory_mib) }
  const used = { vcpus: sum((row) => row.vcpus_used), memoryMib: sum((row) => row.memory_mib_used) }
  return {
    nominal, used,
    // One that is being emptied has promised more than it may.
    left: {
      vcpus: sum((row) => Math.max(0, row.vcpus - row.vcpus_used)),
      memoryMib: sum((row) => Math.max(0, row.memory_mib - row.memory_mib_used)),
    },
  }
}

/** "4 of 32 vCPUs, 2 GiB of 8 GiB; 28 vCPUs, 6 GiB are left" */
export function capacityText({ nominal, used, left }: CapacityView): string {
  return `${used.vcpus} of ${nominal.vcpus} vCPUs, ${formatMib(used.memoryMib)} of ${formatMib(nominal.memoryMib)}; `
    + `${left.vcpus} vCPUs, ${formatMib(left.memoryMib)} are left`
}

/** The lines of zones under what all of them promise. */
export function zoneLines(zones: readonly ZoneView[]): string[] {
  return zones.map((each) => {
    const state = each.state === 'available' ? '' : `${each.state} (hearth zone heal ${each.zone} brings it back); `
    const hosts = each.hosts.length === 1 ? '' : ` (${each.hosts.length} hosts)`
    return `  ${each.zone}  ${state}${capacityText(each)}${hosts}`
  })
}
