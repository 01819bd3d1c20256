import { sql } from 'kysely'
import { instanceDoc } from '../model/instance.ts'
import { loadMarket } from '../model/spot-market.ts'
import { failedZones } from '../model/zone.ts'
import { unitsOf, WHOLE_PPM } from '../spot/clearing.ts'
import { groupBy } from '../store/batch.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** What spot may have of a zone, and has. Units are those of spot/clearing.ts, `unitsOf`. */
export interface ZoneSupply {
  zone: string
  /** What all hosts of the zone promise together. */
  vcpus: number
  memoryMib: number
  /** What on demand, reservations, dedicated hosts and the buffer leave, at most what `set-supply` allows; 0 while the zone has failed. */
  supplyUnits: number
  /** What spot instances hold, those that have had notice included: their room is free when they have ended. */
  heldUnits: number
  /** Of these, what those hold that have had no notice and are not on their way out. */
  keptUnits: number
}

const hostsOf = prepared((db, region: string) =>
  db
    .selectFrom('hosts').where('region', '=', region).where('zone', 'is not', null).groupBy('zone').orderBy('zone')
    .select((eb) => [
      'zone', eb.fn.sum<number>('vcpus').as('vcpus'), eb.fn.sum<number>('memory_mib').as('memory_mib'),
      eb.fn.sum<number>('vcpus_used').as('vcpus_used'), eb.fn.sum<number>('memory_mib_used').as('memory_mib_used'),
    ]))

/** What is counted on the hosts themselves; the rest is counted there as a dedicated host or a reservation. The index has all of it. */
const heldOnHosts = prepared((db) =>
  db
    .selectFrom('instances').where('lifecycle', '=', sql.lit('spot')).where('holds_capacity', '=', sql.lit(1))
    .where('dedicated_host_id', 'is', null).where('capacity_reservation_id', 'is', null)
    .groupBy(['zone', 'vcpus', 'memory_mib', 'state'])
    .select((eb) => ['zone', 'vcpus', 'memory_mib', 'state', eb.fn.countAll<number>().as('count')]))

/** Those that may have had notice: what their instance says is looked at. */
const mayHaveNotice = prepared((db) =>
  db
    .selectFrom('spot_requests as request').innerJoin('instances', 'instances.instance_id', 'request.instance_id')
    .where('request.status_code', 'in', sql<string>`('marked-for-stop', 'marked-for-termination', 'request-canceled-and-instance-running')`)
    .where('lifecycle', '=', sql.lit('spot')).where('holds_capacity', '=', sql.lit(1)).where('instances.state', 'in', ['pending', 'running'])
    .where('dedicated_host_id', 'is', null).where('capacity_reservation_id', 'is', null)
    .select(['instances.zone', 'vcpus', 'memory_mib', 'instances.doc']))

const capsOf = prepared((db) => db.selectFrom('spot_zones').select(['zone', 'supply_cap_ppm']).where('supply_cap_ppm', 'is not', null))

interface Held {
  zone: string
  vcpus: number
  memory_mib: number
  count: number
}

/** The supplies of a region's zones, by zone, as they are in this transaction. */
export async function loadSpotSupplies(db: Db, region: string): Promise<Map<string, ZoneSupply>> {
  const bufferPpm = (await loadMarket(db, region))?.bufferPpm ?? 0
  const failed = await failedZones(db)
  const caps = new Map((await capsOf(db)).map((row) => [row.zone, row.supply_cap_ppm ?? WHOLE_PPM]))
  // Counts of PostgreSQL come as text.
  const all = (await heldOnHosts(db)).map((row) => ({ ...row, count: Number(row.count) }))
  const held = groupBy(all, (row) => row.zone)
  const noticed = (await mayHaveNotice(db)).filter((row) => instanceDoc(row).spot?.interruption).map((row) => ({ ...row, count: 1 }))
  const leaving = groupBy<string, Held>([...noticed, ...all.filter((row) => isOnItsWayOut(row.state))], (row) => row.zone)
  const supplies = new Map<string, ZoneSupply>()
  for (const row of await hostsOf(db, region)) {
    const zone = row.zone ?? ''
    const total = { vcpus: Number(row.vcpus), memoryMib: Number(row.memory_mib) }
    const used = { vcpus: Number(row.vcpus_used), memoryMib: Number(row.memory_mib_used) }
    const heldHere = held.get(zone) ?? []
    const heldUnits = sumOf(heldHere, total)
    const freePpm = leftForSpot({ total, used, onSpot: sizeOf(heldHere), bufferPpm })
    supplies.set(zone, {
      zone, ...total, heldUnits, keptUnits: heldUnits - sumOf(leaving.get(zone) ?? [], total),
      supplyUnits: failed.includes(zone) ? 0 : Math.min(freePpm, caps.get(zone) ?? WHOLE_PPM),
    })
  }
  return supplies
}

interface Size {
  vcpus: number
  memoryMib: number
}

/**
 * What others and the buffer leave of a zone, parts per million, rounded down: of vCPUs or of memory, whichever is less. As units of
 * instances are the larger of their two parts, rounded up, what has room in that has room in both.
 */
export function leftForSpot({ total, used, onSpot, bufferPpm }: { total: Size; used: Size; onSpot: Size; bufferPpm: number }): number {
  const left = (all: number, taken: number, spot: number) => {
    if (all <= 0) return 0
    const free = all - (taken - spot) - Math.ceil(all * (bufferPpm / WHOLE_PPM))
    return Math.max(0, Math.floor((free / all) * WHOLE_PPM))
  }
  return Math.min(left(total.vcpus, used.vcpus, onSpot.vcpus), left(total.memoryMib, used.memoryMib, onSpot.memoryMib))
}

/** How many more instances of a size the supply of a zone leaves room for. */
export function spotRoom(supply: ZoneSupply | undefined, size: Size): number {
  if (!supply || supply.vcpus <= 0 || supply.memoryMib <= 0) return 0
  return Math.max(0, Math.floor((supply.supplyUnits - supply.heldUnits) / unitsOf(size, supply)))
}

function isOnItsWayOut(state: string): boolean {
  return state === 'stopping' || state === 'shutting-down'
}

function sumOf(held: readonly Held[], total: Size): number {
  if (total.vcpus <= 0 || total.memoryMib <= 0) return 0
  return held.reduce((sum, { vcpus, memory_mib: memoryMib, count }) => sum + unitsOf({ vcpus, memoryMib }, total) * count, 0)
}

function sizeOf(held: readonly Held[]): Size {
  return {
    vcpus: held.reduce((sum, { vcpus, count }) => sum + vcpus * count, 0),
    memoryMib: held.reduce((sum, { memory_mib: memoryMib, count }) => sum + memoryMib * count, 0),
  }
}
