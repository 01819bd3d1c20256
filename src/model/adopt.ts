import type { InstanceTable, WorkKind, WorkTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { changeInstanceDoc, instanceDoc } from './instance.ts'
import { instanceOfEvent } from './instance-event.ts'
import { instanceOfPushedKey } from './pushed-key.ts'
import { screenshotOrder } from './screenshot.ts'
import { hostBootIdOf, hostZone, zoneStatus } from './zone.ts'

/** Who takes over: a host, or a node. */
interface Heir {
  hostId: string
  nodeId: string
  zone: string | null
  /** `bootId`: in which run of the node. */
  doc: { bootId?: string }
  /** All hosts of the node, in order. */
  hosts: readonly { hostId: string; zone: string }[]
}

/**
 * Has what no agent works on any more go over to one that does, in the transaction that registers it. The first host of a
 * zone takes over from hosts of the zone that are no more, and, of what is in its zone, from the node, which had all of it in
 * earlier versions. A node takes over what is regional from the hosts of zones that are no more. What has gone over is
 * not found again, so any number of times is once.
 */
export async function adopt(db: Db, heir: Heir, nowMs: number): Promise<void> {
  const others = await db
    .selectFrom('hosts').select(['host_id', 'zone']).where('node_id', '=', heir.nodeId).where('host_id', '<>', heir.hostId)
    .orderBy('host_id').execute()
  const gone = others.filter((row) => row.zone !== null && !heir.hosts.some(({ hostId }) => hostId === row.host_id))
  const { zone } = heir
  if (zone === null) {
    const zones = new Set(heir.hosts.map((host) => host.zone))
    for (const row of gone.filter((each) => !zones.has(each.zone ?? ''))) await takeRest(db, row.host_id, heir, nowMs)
    return
  }
  if (heir.hosts.find((host) => host.zone === zone)?.hostId !== heir.hostId) return
  await takeFromNode(db, { ...heir, zone }, nowMs)
  for (const row of gone.filter((each) => each.zone === zone)) await takeAll(db, row.host_id, { ...heir, zone }, nowMs)
}

/** Kinds of work that hosts do, and the node did while it was the only host. */
const HOST_KINDS = [
  'instance', 'volume', 'layer', 'console', 'screenshot', 'event', 'interrupt', 'pushed-key',
] as const satisfies readonly WorkKind[]

async function takeFromNode(db: Db, { hostId, nodeId, zone }: Heir & { zone: string }, nowMs: number): Promise<void> {
  const instances = await db
    // An API of an earlier version that still ran after the migration named no node.
    .updateTable('instances').set({ host_id: hostId, node_id: nodeId }).where('host_id', '=', nodeId).where('zone', '=', zone)
    .returning(['vcpus', 'memory_mib', 'holds_capacity', 'dedicated_host_id', 'capacity_reservation_id']).execute()
  const volumes = await db
    .updateTable('volumes').set({ host_id: hostId }).where('host_id', '=', nodeId).where('zone', '=', zone).returning('volume_id').execute()
  if (instances.length + volumes.length === 0) return
  // What volumes write into; what is sealed stays with the node, since any zone may go on from it.
  for (const column of ['layer_id', 'next_layer_id'] as const) {
    await db
      .updateTable('layers').set({ host_id: hostId }).where('host_id', '=', nodeId)
      .where('layer_id', 'in', (eb) => eb.selectFrom('volumes').select(column).where('host_id', '=', hostId).where(column, 'is not', null))
      .execute()
  }
  const holding = instances.filter((row) =>
    row.holds_capacity === 1 && row.dedicated_host_id === null && row.capacity_reservation_id === null)
  const sum = (of: (row: (typeof holding)[number]) => number) => holding.reduce((total, row) => total + of(row), 0)
  await moveRoom(db, nodeId, hostId, { vcpus: sum((row) => row.vcpus), memoryMib: sum((row) => row.memory_mib) })
  const work = await db.selectFrom('work').selectAll().where('host_id', '=', nodeId).where('kind', 'in', HOST_KINDS).execute()
  for (const row of work) {
    if ((await ownerOf(db, row)) !== hostId) continue
    if (row.kind === 'instance') await arrived(db, row.id, nodeId)
    await moveWork(db, row, hostId, nowMs)
  }
}

/** Everything of a host that is no more; an agent of it that lives still is fenced. */
async function takeAll(db: Db, formerId: string, heir: Heir & { zone: string }, nowMs: number): Promise<void> {
  const { hostId } = heir
  const former = await fence(db, formerId)
  await moveRoom(db, formerId, hostId, { vcpus: former.vcpus_used, memoryMib: former.memory_mib_used })
  const taken = await db
    .updateTable('instances').set({ host_id: hostId }).where('host_id', '=', formerId).returning(['instance_id', 'doc']).execute()
  // Those that were about to come from the heir itself are back.
  for (const row of taken) await arrived(db, row.instance_id, hostId)
  await takeRuns(db, taken, heir)
  await db.updateTable('volumes').set({ host_id: hostId }).where('host_id', '=', formerId).execute()
  await takeRegional(db, formerId, { hostId }, nowMs)
  await forgetHost(db, formerId)
}

/**
 * An heir that has yet to put the zone's last loss of power in force ends all machines that it has then. Those that the former
 * host had started again after it are lost like its own, and are to come back like them.
 */
async function takeRuns(
  db: Db,
  taken: readonly Pick<InstanceTable, 'instance_id' | 'doc'>[],
  { hostId, zone, doc: { bootId } }: Heir & { zone: string },
): Promise<void> {
  const [{ powerCuts }, inForce] = [await zoneStatus(db, zone), await hostZone(db, hostId)]
  if (bootId === undefined || inForce.powerCuts === powerCuts) return
  for (const row of taken) {
    if (instanceDoc(row).hostBootId !== hostBootIdOf(bootId, powerCuts)) continue
    await changeInstanceDoc(db, row.instance_id, { hostBootId: hostBootIdOf(bootId, inForce.powerCuts) })
  }
}

/** Of the host of a zone that is no more, what is left when nothing is in use there; the rest stays as it is. */
async function takeRest(db: Db, formerId: string, heir: Heir, nowMs: number): Promise<void> {
  await fence(db, formerId)
  await db.updateTable('instances').set({ host_id: heir.hostId }).where('host_id', '=', formerId).where('state', '=', 'terminated').execute()
  for (const table of ['instances', 'volumes'] as const) {
    if (await isNamedIn(db, table, formerId)) return
  }
  await takeRegional(db, formerId, heir, nowMs)
  await forgetHost(db, formerId)
}

/** An agent that lives still ends at its next step. */
function fence(db: Db, hostId: string): Promise<{ vcpus_used: number; memory_mib_used: number }> {
  return db
    .updateTable('hosts').set((eb) => ({ epoch: eb('epoch', '+', 1) })).where('host_id', '=', hostId)
    .returning(['vcpus_used', 'memory_mib_used']).executeTakeFirstOrThrow()
}

/** What hosts have beside instances and volumes: layers, parts that accounts have taken for themselves, and what is due. */
async function takeRegional(db: Db, formerId: string, { hostId }: Pick<Heir, 'hostId'>, nowMs: number): Promise<void> {
  await db.updateTable('layers').set({ host_id: hostId }).where('host_id', '=', formerId).execute()
  await db.updateTable('dedicated_hosts').set({ host_id: hostId }).where('host_id', '=', formerId).execute()
  const reserved = await db.selectFrom('capacity_reservation_hosts').selectAll().where('host_id', '=', formerId).execute()
  for (const row of reserved) {
    await db
      .insertInto('capacity_reservation_hosts').values({ ...row, host_id: hostId })
      .onConflict((conflict) => conflict.columns(['capacity_reservation_id', 'host_id']).doUpdateSet((eb) => ({
        reserved: eb('capacity_reservation_hosts.reserved', '+', eb.ref('excluded.reserved')),
        used: eb('capacity_reservation_hosts.used', '+', eb.ref('excluded.used')),
      })))
      .execute()
  }
  await db.deleteFrom('capacity_reservation_hosts').where('host_id', '=', formerId).execute()
  for (const row of await db.selectFrom('work').selectAll().where('host_id', '=', formerId).execute()) {
    const ownerId = (await ownerOf(db, row)) ?? hostId
    if (row.kind === 'instance') await arrived(db, row.id, formerId)
    await moveWork(db, row, ownerId, nowMs)
  }
}

/** One that was started on another host waits no longer for the one that it left. */
async function arrived(db: Db, instanceId: string, formerId: string): Promise<void> {
  const row = await db.selectFrom('instances').select('doc').where('instance_id', '=', instanceId).executeTakeFirst()
  if (row && instanceDoc(row).movedFrom === formerId) await changeInstanceDoc(db, instanceId, { movedFrom: null })
}

async function moveRoom(db: Db, fromId: string, toId: string, { vcpus, memoryMib }: { vcpus: number; memoryMib: number }): Promise<void> {
  await db
    .updateTable('hosts')
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '-', vcpus), memory_mib_used: eb('memory_mib_used', '-', memoryMib) }))
    .where('host_id', '=', fromId).execute()
  await db
    .updateTable('hosts')
    .set((eb) => ({ vcpus_used: eb('vcpus_used', '+', vcpus), memory_mib_used: eb('memory_mib_used', '+', memoryMib) }))
    .where('host_id', '=', toId).execute()
}

async function moveWork(db: Db, row: WorkTable, hostId: string, nowMs: number): Promise<void> {
  await enqueue(db, { kind: row.kind, id: row.id, hostId }, Math.max(row.due_ms, nowMs))
  await db.deleteFrom('work').where('host_id', '=', row.host_id).where('kind', '=', row.kind).where('id', '=', row.id).execute()
}

/** Whose work it is by now; undefined where its subject is gone. */
async function ownerOf(db: Db, { kind, id }: WorkTable): Promise<string | undefined> {
  const ofInstance = (instanceId: string) =>
    db.selectFrom('instances').select('host_id').where('instance_id', '=', instanceId).executeTakeFirst()
  switch (kind) {
    case 'volume':
      return (await db.selectFrom('volumes').select('host_id').where('volume_id', '=', id).executeTakeFirst())?.host_id
    case 'layer':
      return (await db.selectFrom('layers').select('host_id').where('layer_id', '=', id).executeTakeFirst())?.host_id
    default:
      return (await ofInstance(await instanceOf(db, kind, id)))?.host_id
  }
}

async function instanceOf(db: Db, kind: WorkKind, id: string): Promise<string> {
  if (kind === 'event') return (await instanceOfEvent(db, id)) ?? ''
  if (kind === 'pushed-key') return (await instanceOfPushedKey(db, id)) ?? ''
  // A screenshot's is the instance's id and what to do before.
  return kind === 'screenshot' ? screenshotOrder(id).instanceId : id
}

/** Deletes the row of a host that holds nothing any more. */
async function forgetHost(db: Db, hostId: string): Promise<void> {
  for (const table of ['instances', 'volumes', 'layers', 'dedicated_hosts', 'capacity_reservation_hosts', 'work'] as const) {
    if (await isNamedIn(db, table, hostId)) return
  }
  await db.deleteFrom('hosts').where('host_id', '=', hostId).execute()
}

type NamingHosts = 'instances' | 'volumes' | 'layers' | 'dedicated_hosts' | 'capacity_reservation_hosts' | 'work'

async function isNamedIn(db: Db, table: NamingHosts, hostId: string): Promise<boolean> {
  return (await db.selectFrom(table).select('host_id').where('host_id', '=', hostId).limit(1).execute()).length > 0
}
