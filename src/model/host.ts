import { prepared } from '../store/prepared.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { adopt } from './adopt.ts'

/** What an agent says of the host it runs on. */
export interface HostRegistration {
  hostId: string
  /** The computer that it is, or is a share of. */
  nodeId: string
  /** Null for the computer itself. */
  zone: string | null
  /** All hosts of the node, in order; the first of a zone takes over what hosts of it had that are not among them. */
  hosts: readonly { hostId: string; zone: string }[]
  region: string
  /** Nominal capacity, overcommit included. */
  vcpus: number
  memoryMib: number
  doc: HostDoc
}

/** What people are shown of a host. */
export interface HostDoc {
  engine: 'qemu' | 'sim'
  accelerator: string
  /** Why that accelerator. */
  acceleratorReason: string
  cpus: number
  memoryMib: number
  /** What guests can boot there; of earlier versions, those of x86_64 only. */
  architectures?: string[]
  /** The most one guest gets. */
  guestLimits: { vcpus: number; memoryMib: number }
  /** How full the recycle bin is; absent while it is empty. */
  recycleBin?: RecycleBinUse
  /** In which run of the host its last agent was; another one has begun without machines and without a network. */
  bootId?: string
}

/** What of the disk only the recycle bin holds, and may hold. */
export interface RecycleBinUse {
  heldMib: number
  budgetMib: number
}

/** The doc of a host row. */
export function hostDoc(row: { doc: string }): HostDoc {
  return JSON.parse(row.doc) as HostDoc
}

/** Thrown to an agent whose host another agent has taken over; it must end. */
export class HostLostError extends Error {}

/**
 * Writes the host's row with the next epoch, which fences every earlier agent of it. Where a node was restarted since its
 * last agent, no port is in force any more, and whoever needs one waits for it. What belongs to hosts that are no more goes
 * over to those that are.
 */
export function registerHost(store: Store, host: HostRegistration, nowMs: number): Promise<number> {
  return store.transaction('host.register', async (db) => {
    const row = await db.selectFrom('hosts').select(['epoch', 'doc']).where('host_id', '=', host.hostId).executeTakeFirst()
    const lastBootId = row && hostDoc(row).bootId
    // Agents of earlier versions did not say in which run they were.
    if (host.zone === null && lastBootId !== undefined && lastBootId !== host.doc.bootId) await losePorts(db, host.hostId, nowMs)
    const epoch = (row?.epoch ?? 0) + 1
    const values = {
      epoch, node_id: host.nodeId, zone: host.zone, region: host.region, vcpus: host.vcpus, memory_mib: host.memoryMib, heartbeat_ms: nowMs,
      doc: JSON.stringify(host.doc),
    }
    if (row) await db.updateTable('hosts').set(values).where('host_id', '=', host.hostId).execute()
    else await db.insertInto('hosts').values({ host_id: host.hostId, vcpus_used: 0, memory_mib_used: 0, zone_revision: 0, ...values }).execute()
    await adopt(db, host, nowMs)
    return epoch
  })
}

async function losePorts(db: Db, hostId: string, nowMs: number): Promise<void> {
  const lost = await db
    .updateTable('interfaces').set((eb) => ({ ready: 0, revision: eb('revision', '+', 1) }))
    .where('host_id', '=', hostId).where('wanted', '=', 1).returning('vpc_id').execute()
  for (const vpcId of new Set(lost.map((each) => each.vpc_id))) await enqueue(db, { kind: 'vpc', id: vpcId, hostId }, nowMs)
}

/** A store whose transactions fail with HostLostError once the host has a newer epoch. */
export function fenced(store: Store, hostId: string, epoch: number): Store {
  return {
    transaction: (name, body) =>
      store.transaction(name, async (db) => {
        await checkEpoch(db, hostId, epoch)
        return body(db)
      }),
    read: (body) => store.read(body),
    onCommit: (listener) => store.onCommit(listener),
    close: () => store.close(),
  }
}

const epochOf = prepared((db, hostId: string) => db.selectFrom('hosts').select('epoch').where('host_id', '=', hostId))

async function checkEpoch(db: Db, hostId: string, epoch: number): Promise<void> {
  const [row] = await epochOf(db, hostId)
  if (row?.epoch !== epoch) throw new HostLostError(`another agent has taken over ${hostId}; this one ends`)
}
