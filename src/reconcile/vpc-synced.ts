import { keepsMemory } from '../model/memory.ts'
import { releaseSlot } from '../model/slot.ts'
import { prepared } from '../store/prepared.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { enqueueEquipped } from './equipped.ts'
import { DONE, recording, type Outcome } from './loop.ts'

/** What a run has put in force. */
export interface Synced {
  vpcId: string
  /** As they were read. */
  interfaces: readonly InterfaceTable[]
  groups: readonly { group_id: string; revision: number }[]
}

interface Options {
  hostId: string
  nowMs: () => number
}

/** One that is being detached, or waits for a running guest to get it, stays what it is. */
const portInForce = prepared((db, interfaceId: string, revision: number, status: 'pending' | 'in-use') =>
  db.updateTable('interfaces').set((eb) => ({
    ready: 1, synced_revision: eb.ref('revision'),
    status: eb.case().when('status', '=', 'pending').then(status).else(eb.ref('status')).end(),
  }))
    .where('interface_id', '=', interfaceId).where('revision', '=', revision).returning('interface_id'))

const groupInForce = prepared((db, groupId: string, revision: number) =>
  db.updateTable('security_groups').set({ synced_revision: revision })
    .where('group_id', '=', groupId).where('revision', '=', revision))

/**
 * What is in force now, to be written down: ports that came up, interfaces whose port is gone, NAT
 * gateways that work. What changed again meanwhile stays due.
 */
export function synced(options: Options, done: Synced): Outcome {
  if (done.interfaces.length === 0 && done.groups.length === 0) return DONE
  return recording('vpc.synced', async (db) => {
    for (const each of done.interfaces) await recordInterface(db, options, each)
    for (const each of done.groups) await groupInForce(db, each.group_id, each.revision)
    if (done.interfaces.length > 0) await enqueuePeers(db, options, done.vpcId)
  })
}

async function recordInterface(db: Db, { hostId, nowMs }: Options, each: InterfaceTable): Promise<void> {
  if (each.status === 'removing') await forget(db, { hostId, nowMs }, each)
  else if (each.wanted === 1) {
    const status = await isForRunningGuest(db, each) ? 'pending' : 'in-use'
    const updated = await portInForce(db, each.interface_id, each.revision, status)
    if (updated.length === 0 || each.ready === 1) return
    if (each.instance_id !== null) await enqueueEquipped(db, each.instance_id, nowMs())
    if (each.requester_id !== null) {
      await db.updateTable('nat_gateways').set({ state: 'available' })
        .where('nat_gateway_id', '=', each.requester_id).where('state', '=', 'pending').execute()
    }
  } else await recordWithoutPort(db, hostId, each)
}

/**
 * Whether it is plugged into a machine that runs, which the instance's reconciler does and writes down; also before
 * that is hibernated, whose guest would miss it when it goes on.
 */
async function isForRunningGuest(db: Db, each: InterfaceTable): Promise<boolean> {
  if (each.instance_id === null || each.device_index === 0 || each.status !== 'pending') return false
  const instance = await db
    .selectFrom('instances').select(['state', 'doc']).where('instance_id', '=', each.instance_id).executeTakeFirst()
  return instance !== undefined && (instance.state === 'running' || (instance.state === 'stopping' && keepsMemory(instance)))
}

/** An interface of a stopped instance keeps its place on the host; one that was detached has none. */
async function recordWithoutPort(db: Db, hostId: string, each: InterfaceTable): Promise<void> {
  const isDetached = each.status === 'available'
  const { numUpdatedRows } = await db
    .updateTable('interfaces')
    .set({ synced_revision: each.revision, ...(isDetached ? { host_id: null, slot: null } : {}) })
    .where('interface_id', '=', each.interface_id).where('revision', '=', each.revision).executeTakeFirst()
  if (isDetached && numUpdatedRows > 0n) await releaseSlot(db, hostId, 'machine', each.interface_id)
}

/** The port of an interface that was deleted is gone, and the row goes with it, unless it was taken back meanwhile. */
async function forget(db: Db, { hostId, nowMs }: Options, each: InterfaceTable): Promise<void> {
  const id = each.interface_id
  const now = await db
    .selectFrom('interfaces').select('interface_id')
    .where('interface_id', '=', id).where('revision', '=', each.revision).executeTakeFirst()
  if (!now) return
  await db.updateTable('nat_gateways').set({ state: 'deleted', deleted_ms: nowMs(), interface_id: null })
    .where('interface_id', '=', id).execute()
  await db.deleteFrom('tags').where('resource_id', '=', id).execute()
  await db.deleteFrom('interface_addresses').where('interface_id', '=', id).execute()
  await db.deleteFrom('interfaces').where('interface_id', '=', id).execute()
  // The slot of a primary interface is its instance's, and not this one's to give back.
  await releaseSlot(db, hostId, 'machine', id)
}

/** VPCs whose rules name a group of this one know the addresses of its members. */
async function enqueuePeers(db: Db, { hostId, nowMs }: Options, vpcId: string): Promise<void> {
  for (const { vpc_id: peerId } of await peersOf(db, vpcId)) await enqueue(db, { kind: 'vpc', id: peerId, hostId }, nowMs())
}

const peersOf = prepared((db, vpcId: string) =>
  db.selectFrom('security_groups as peer')
    .innerJoin('security_group_rules', 'security_group_rules.peer_group_id', 'peer.group_id')
    .innerJoin('security_groups as own', 'own.group_id', 'security_group_rules.group_id')
    .select('own.vpc_id').distinct()
    .where('peer.vpc_id', '=', vpcId).whereRef('own.vpc_id', '<>', 'peer.vpc_id'))
