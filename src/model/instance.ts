import type { MachinePlatform } from '../hypervisor/driver.ts'
import type { Db } from '../store/store.ts'
import type { InstanceTable } from '../store/schema.ts'

/** EC2's instance states and their codes (the low byte of what DescribeInstances answers). */
export const STATE_CODES = {
  pending: 0,
  running: 16,
  'shutting-down': 32,
  terminated: 48,
  stopping: 64,
  stopped: 80,
} as const

export type InstanceState = keyof typeof STATE_CODES

/** Every legal move. Handlers, reconcilers and the simulator's invariants all read this table. */
export const TRANSITIONS: Record<InstanceState, readonly InstanceState[]> = {
  pending: ['running', 'shutting-down', 'terminated', 'stopped'],
  running: ['stopping', 'shutting-down'],
  stopping: ['stopped', 'shutting-down'],
  stopped: ['pending', 'shutting-down'],
  'shutting-down': ['terminated'],
  terminated: [],
}

/** States that an instance enters only without a machine: what it was promised is free again. */
const WITHOUT_MACHINE: readonly InstanceState[] = ['stopped', 'terminated']

/** How long a terminated instance stays visible; EC2 says "about an hour". */
export const TERMINATED_RETENTION_MS = 60 * 60 * 1000

export interface StateReason {
  code: string
  message: string
}

/** What of an instance SQL never looks into. */
export interface InstanceDoc {
  /** SMBIOS uuid; starts with "ec2". */
  uuid: string
  /** Base64, as given; null when there is none. */
  userData: string | null
  shutdownBehavior: 'stop' | 'terminate'
  architecture: 'x86_64'
  rootDeviceName: string
  /** Public keys as they were at launch, for the metadata service. */
  publicKey: string | null
  metadataOptions: MetadataOptions
  stateReason: StateReason | null
  stateTransitionReason: string
  /** Hardware pinned at the first start; null before. */
  platform: MachinePlatform | null
  /** What the guest really got, when it is less than its type promises. */
  granted: { vcpus: number; memoryMib: number } | null
  /** The stop in progress was asked for with Force: no time for the guest to shut down. */
  force: boolean
  /** Whether it ever reached `running`: then its disk holds what must not be lost. */
  hasRun: boolean
  /** Consecutive failures to start. */
  startFailures: number
  /** The reboot in progress: when it began, and the process that it ends; null when there is none. */
  reboot: { begunMs: number; pid: number | null } | null
  usageOperationUpdateMs: number
}

export interface MetadataOptions {
  httpTokens: 'optional' | 'required'
  httpPutResponseHopLimit: number
  httpEndpoint: 'enabled' | 'disabled'
  instanceMetadataTags: 'enabled' | 'disabled'
}

/** The doc of an instance row. */
export function instanceDoc(row: { doc: string }): InstanceDoc {
  return JSON.parse(row.doc) as InstanceDoc
}

/** "User initiated (2026-01-01 00:00:00 GMT)", as StateTransitionReason words it. */
export function userInitiated(nowMs: number): string {
  return `User initiated (${new Date(nowMs).toISOString().slice(0, 19).replace('T', ' ')} GMT)`
}

export const STATE_REASONS = {
  userShutdown: { code: 'Client.UserInitiatedShutdown', message: 'Client.UserInitiatedShutdown: User initiated shutdown' },
  guestShutdown: {
    code: 'Client.InstanceInitiatedShutdown',
    message: 'Client.InstanceInitiatedShutdown: Instance initiated shutdown',
  },
  serverError: { code: 'Server.InternalError', message: 'Server.InternalError: Internal error on launch' },
  hostFailure: {
    code: 'Server.InternalError',
    message: 'Server.InternalError: The machine ended unexpectedly',
  },
} as const satisfies Record<string, StateReason>

/**
 * Moves an instance to another state, if that move is legal from the state the row has now.
 * `change` may carry further doc changes. Capacity is released when the new state holds none.
 *
 * @returns the row as it is after, or undefined when the instance was not in `row.state` any more.
 * @throws Error on a move the table of transitions does not have.
 */
export async function moveInstance(
  db: Db,
  row: InstanceTable,
  to: InstanceState,
  nowMs: number,
  change: Partial<InstanceDoc> = {},
): Promise<InstanceTable | undefined> {
  if (!TRANSITIONS[row.state].includes(to)) throw new Error(`${row.instance_id}: no way from ${row.state} to ${to}`)
  // The caller's row may be older than this transaction: the doc is taken as it is now.
  const current = await db
    .selectFrom('instances').selectAll()
    .where('instance_id', '=', row.instance_id).where('state', '=', row.state)
    .executeTakeFirst()
  if (!current) return undefined
  const doc = JSON.stringify({ ...instanceDoc(current), ...change })
  const holdsCapacity = WITHOUT_MACHINE.includes(to) ? 0 : current.holds_capacity
  await db
    .updateTable('instances').set({ state: to, state_ms: nowMs, holds_capacity: holdsCapacity, doc })
    .where('instance_id', '=', row.instance_id)
    .execute()
  if (current.holds_capacity === 1 && holdsCapacity === 0) {
    await db
      .updateTable('hosts')
      .set((eb) => ({
        vcpus_used: eb('vcpus_used', '-', row.vcpus),
        memory_mib_used: eb('memory_mib_used', '-', row.memory_mib),
      }))
      .where('host_id', '=', row.host_id)
      .execute()
  }
  return { ...current, state: to, state_ms: nowMs, holds_capacity: holdsCapacity, doc }
}

/** Rewrites parts of an instance's doc, as it is in this transaction. */
export async function changeInstanceDoc(db: Db, instanceId: string, change: Partial<InstanceDoc>): Promise<void> {
  const current = await db
    .selectFrom('instances').select('doc').where('instance_id', '=', instanceId).executeTakeFirst()
  if (!current) return
  await db
    .updateTable('instances').set({ doc: JSON.stringify({ ...instanceDoc(current), ...change }) })
    .where('instance_id', '=', instanceId)
    .execute()
}
