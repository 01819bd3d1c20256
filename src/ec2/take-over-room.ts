import { sql } from 'kysely'
import { giveCapacityBack } from '../model/capacity.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { giveNotice } from '../model/spot-interruption.ts'
import { loadMarket, NOTICE_MS, wakeMarketOfRoom } from '../model/spot-market.ts'
import type { HostCapacity } from '../scheduler/place.ts'
import type { SpotTenant } from '../scheduler/preempt.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'

/** A spot instance that is told to go, and has a machine still, in room that is counted as free, or as somebody else's. */
export type LeavingInstance = Pick<InstanceTable, 'instance_id' | 'host_id' | 'account_id' | 'tenancy' | 'vcpus' | 'memory_mib'>

const leavingNow = prepared((db) =>
  db
    .selectFrom('instances').select(['instance_id', 'host_id', 'account_id', 'tenancy', 'vcpus', 'memory_mib'])
    // As the index says it: values that are bound would keep it from being used.
    .where(sql<boolean>`lifecycle = 'spot' and holds_capacity = 0 and state <> 'stopped' and state <> 'terminated'`)
    .orderBy('instance_id'))

/** All instances whose room was taken over, and whose machines run, or may. */
export function loadLeaving({ db }: Pick<Context, 'db'>): Promise<LeavingInstance[]> {
  return leavingNow(db)
}

/** The hosts with what their leaving instances take, as long as that is. */
export function withLeaving(hosts: readonly HostCapacity[], leaving: readonly LeavingInstance[]): HostCapacity[] {
  return hosts.map((host) => {
    const { vcpus, memoryMib } = sizeOf(leaving.filter((each) => each.host_id === host.hostId))
    return { ...host, vcpusUsed: host.vcpusUsed + vcpus, memoryMibUsed: host.memoryMibUsed + memoryMib }
  })
}

function sizeOf(rows: readonly Pick<InstanceTable, 'vcpus' | 'memory_mib'>[]): { vcpus: number; memoryMib: number } {
  return {
    vcpus: rows.reduce((sum, each) => sum + each.vcpus, 0), memoryMib: rows.reduce((sum, each) => sum + each.memory_mib, 0),
  }
}

const holdersIn = prepared((db, zone: string) =>
  db
    .selectFrom('instances').innerJoin('spot_requests', 'spot_requests.request_id', 'instances.spot_request_id')
    .select([
      'instances.instance_id', 'host_id', 'vcpus', 'memory_mib', 'instances.state', 'instances.doc', 'request_id', 'bid_ppm', 'instances.instance_type',
      'spot_requests.created_ms',
    ])
    .where(sql<boolean>`lifecycle = 'spot'`).where('instances.zone', '=', zone).where('holds_capacity', '=', 1)
    .where('capacity_reservation_id', 'is', null).where('dedicated_host_id', 'is', null).orderBy('instances.instance_id'))

/** The spot instances of some zones that hold room. */
export async function loadSpotTenants({ db }: Pick<Context, 'db'>, zones: readonly string[]): Promise<SpotTenant[]> {
  const rows = []
  for (const zone of zones) rows.push(...await holdersIn(db, zone))
  return rows.map((row) => ({
    instanceId: row.instance_id, hostId: row.host_id, vcpus: row.vcpus, memoryMib: row.memory_mib,
    isGoing: row.state === 'stopping' || row.state === 'shutting-down' || instanceDoc(row).spot?.interruption != null,
    // How much it takes of the zone decides nothing here.
    bid: { id: row.request_id, instanceType: row.instance_type, bidPpm: row.bid_ppm, units: 0, isIncumbent: true, arrivedMs: row.created_ms },
  }))
}

/**
 * Takes the room of spot instances away at once: they hold it no more, and those that go not yet are told to. Who gets it has to
 * wait for their machines.
 *
 * @returns them, as `loadLeaving` would.
 */
export async function takeOver({ db, region, nowMs }: Context, victims: readonly SpotTenant[]): Promise<LeavingInstance[]> {
  const noticeMs = (await loadMarket(db, region))?.noticeMs ?? NOTICE_MS
  const left: LeavingInstance[] = []
  for (const { instanceId } of victims) {
    const row = await db
      .updateTable('instances').set({ holds_capacity: 0 }).where('instance_id', '=', instanceId).where('holds_capacity', '=', 1)
      .returningAll().executeTakeFirstOrThrow()
    await giveCapacityBack(db, row)
    await giveNotice(db, row, { cause: 'no-capacity', noticeMs, nowMs })
    left.push(row)
  }
  await wakeMarketOfRoom(db, nowMs)
  return left
}

const hostOf = prepared((db, hostId: string) =>
  db.selectFrom('hosts').select(['vcpus', 'memory_mib', 'vcpus_used', 'memory_mib_used']).where('host_id', '=', hostId))

/**
 * For whom an instance has to wait that has just taken room on a host: for everybody who is leaving it, unless all of it would fit
 * together. So what runs there is never more than the host has: whoever came later than they were told to go waits, and those that
 * they leave with had room beside them.
 *
 * @returns ids of instances; none where it may start at once.
 */
export async function waitsForOn(db: Db, hostId: string, leaving: readonly LeavingInstance[]): Promise<string[]> {
  const there = leaving.filter((each) => each.host_id === hostId)
  if (there.length === 0) return []
  const [host] = await hostOf(db, hostId)
  const { vcpus, memoryMib } = sizeOf(there)
  const hasRoom = host && host.vcpus_used + vcpus <= host.vcpus && host.memory_mib_used + memoryMib <= host.memory_mib
  return hasRoom ? [] : there.map((each) => each.instance_id)
}

/** Writes down with those who leave that an instance waits for them. */
export async function promiseRoom(db: Db, waitsFor: readonly string[], instanceId: string): Promise<void> {
  for (const id of waitsFor) {
    const row = await db.selectFrom('instances').select('doc').where('instance_id', '=', id).executeTakeFirstOrThrow()
    const { spot } = instanceDoc(row)
    if (!spot) throw new Error(`${id} leaves, and is not on spot`)
    await changeInstanceDoc(db, id, { spot: { ...spot, promisedTo: [...spot.promisedTo ?? [], instanceId] } })
  }
}
