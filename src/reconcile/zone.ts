import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { inParallel } from '../core/parallel.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import { changeInstanceDoc } from '../model/instance.ts'
import { sumOfRevisions, zoneStates, zoneStatus, type ZoneStatus } from '../model/zone.ts'
import { inPages } from '../store/batch.ts'
import type { Db, Store } from '../store/store.ts'
import type { Gate } from './gate.ts'
import { again, DONE, isFatal, type Outcome, type Reconciler } from './loop.ts'

const MACHINES_AT_ONCE = 16
const VPCS_AT_ONCE = 4

/** How soon machines are looked at again after something was still being done with some of them. */
const IN_WORK_MS = 250

export interface ZoneReconcilerOptions {
  store: Store
  clock: Clock
  log: Logger
  hypervisor: Pick<Hypervisor, 'ensureStopped' | 'ensureFrozen' | 'ensureThawed'>
  hostId: string
  isNode: boolean
  gate: Gate
  /** How many instances are being worked on: any of that may start a machine. */
  instancesInWork: () => number
  /** Brings the network of a VPC in force. */
  vpc: Reconciler
  /** Marks due everything that the host has. */
  resync: () => Promise<void>
}

/**
 * Puts the state of zones in force, and says so in `hosts.zone_revision`. A host whose zone has failed does nothing else until
 * that is healed; a node cuts, and joins again, what it carries of a zone's network.
 */
export function createZoneReconciler(options: ZoneReconcilerOptions): Reconciler {
  const known = new Map<string, number>()
  return { reconcile: (zone) => (options.isNode ? onNode(options, known) : onHost(options, zone)) }
}

async function onHost(options: ZoneReconcilerOptions, name: string): Promise<Outcome> {
  const { store, gate, log, hostId } = options
  const { zone, inForce } = await store.read(async (db) =>
    ({ zone: await zoneStatus(db, name), inForce: await revisionInForce(db, hostId) }))
  const isNew = inForce < zone.revision
  const isDark = zone.state === 'unavailable' || inForce < zone.cutRevision
  if (zone.state !== 'available' || isDark) gate.close()
  // What was started by a run of before the gate closed is found by the look after it.
  const isQuiet = !gate.isClosed || options.instancesInWork() === 0
  const ids = await instancesOf(options)
  // Runs that wait for a machine that is frozen are not waited for: it goes on at once. What is frozen without need, as after
  // a host was taken over, goes on with the next resync.
  if (isDark) await tryAll(ids, MACHINES_AT_ONCE, (id) => options.hypervisor.ensureStopped(id))
  else if (zone.state === 'impaired') await tryAll(ids, MACHINES_AT_ONCE, (id) => options.hypervisor.ensureFrozen(id))
  else await thaw(options, ids)
  if (!isNew) {
    if (zone.state === 'available' && gate.isClosed) gate.open(zone.sinceMs)
    return DONE
  }
  if (!isQuiet) return again(IN_WORK_MS)
  if (inForce < zone.cutRevision) await noteLost(options, zone.outageSinceMs)
  if (zone.state === 'available') await options.resync()
  if (!(await putInForce(options, zone))) return again(0)
  if (zone.state === 'available') gate.open(zone.sinceMs)
  log.warn('the state of the zone is in force', { zone: name, state: zone.state, revision: zone.revision })
  return DONE
}

/** Tries every one, also after failures, and throws the first of these when nothing is under way any more. */
async function tryAll<Item>(items: readonly Item[], limit: number, run: (item: Item) => Promise<void>): Promise<void> {
  const failures: unknown[] = []
  await inParallel(items, limit, async (item) => {
    try {
      await run(item)
    } catch (error) {
      if (isFatal(error)) throw error
      failures.push(error)
    }
  })
  if (failures.length > 0) throw failures[0]
}

async function revisionInForce(db: Db, hostId: string): Promise<number> {
  const row = await db.selectFrom('hosts').select('zone_revision').where('host_id', '=', hostId).executeTakeFirstOrThrow()
  return row.zone_revision
}

/** Whatever may have a machine; in pages, as there may be many. */
async function instancesOf({ store, clock, hostId }: ZoneReconcilerOptions): Promise<string[]> {
  const ids: string[] = []
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('instances').select('instance_id').where('host_id', '=', hostId).where('state', '<>', 'terminated')
      .where('instance_id', '>', after).orderBy('instance_id').limit(limit).execute(), (row) => row.instance_id)) {
    for (const row of page) ids.push(row.instance_id)
  }
  return ids
}

/** One that cannot go on is no reason for the others to wait: it hangs, which the status checks find. */
async function thaw({ hypervisor, log }: ZoneReconcilerOptions, ids: readonly string[]): Promise<void> {
  await inParallel(ids, MACHINES_AT_ONCE, async (id) => {
    try {
      await hypervisor.ensureThawed(id)
    } catch (error) {
      if (isFatal(error)) throw error
      log.warn('a machine that was frozen does not go on', { id, error: messageOf(error) })
    }
  })
}

/** Machines that have ended with the power fail their checks until they are started again, also when the zone is healed before. */
async function noteLost({ store, clock, hostId }: ZoneReconcilerOptions, sinceMs: number): Promise<void> {
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('instances').select('instance_id').where('host_id', '=', hostId).where('state', '=', 'running')
      .where('instance_id', '>', after).orderBy('instance_id').limit(limit).execute(), (row) => row.instance_id)) {
    if (page.length === 0) return
    await store.transaction('zone.machines-lost', async (db) => {
      for (const { instance_id: id } of page) {
        await changeInstanceDoc(db, id, { checks: { systemSinceMs: sinceMs, instanceSinceMs: sinceMs }, contactMs: null })
      }
    })
  }
}

/** @returns false when the zone has changed meanwhile. */
async function putInForce({ store, hostId }: ZoneReconcilerOptions, zone: ZoneStatus): Promise<boolean> {
  return store.transaction('zone.in-force', async (db) => {
    if ((await zoneStatus(db, zone.zone)).revision !== zone.revision) return false
    await db.updateTable('hosts').set({ zone_revision: zone.revision }).where('host_id', '=', hostId).execute()
    return true
  })
}

/** `known`: which changes of zones all VPCs of this node have seen since its agent began. */
async function onNode(options: ZoneReconcilerOptions, known: Map<string, number>): Promise<Outcome> {
  const { store, vpc, hostId } = options
  const zones = [...(await store.read(zoneStates)).values()]
  const changed = zones.filter(({ zone, revision }) => known.get(zone) !== revision)
  const vpcIds = new Set(await store.read((db) => vpcsIn(db, hostId, changed.map(({ zone }) => zone))))
  await tryAll([...vpcIds], VPCS_AT_ONCE, async (vpcId) => {
    const { observed } = await vpc.reconcile(vpcId)
    if (observed) await store.transaction(observed.name, observed.write)
  })
  for (const { zone, revision } of changed) known.set(zone, revision)
  const sum = sumOfRevisions(zones)
  await store.transaction('zone.in-force', (db) => db
    .updateTable('hosts').set({ zone_revision: sum }).where('host_id', '=', hostId).where('zone_revision', '<', sum).execute())
  return DONE
}

/** VPCs with anything of these zones on the node: interfaces, those of NAT gateways among them. */
async function vpcsIn(db: Db, nodeId: string, zones: readonly string[]): Promise<string[]> {
  if (zones.length === 0) return []
  const rows = await db
    .selectFrom('interfaces').select('vpc_id').distinct().where('host_id', '=', nodeId).where('zone', 'in', zones)
    .orderBy('vpc_id').execute()
  return rows.map((row) => row.vpc_id)
}
