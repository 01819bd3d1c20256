import type { MachinePlatform } from '../hypervisor/driver.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { bootModeInForce, type Architecture, type BootMode } from './image.ts'
import type { FleetMemberDoc } from './fleet-spec.ts'
import type { InterruptRequest } from './interrupt.ts'
import { giveCapacityBack } from './capacity.ts'
import { instanceMoved } from './instance-moved.ts'
import { ANYWHERE, type PlacementWish } from './placement.ts'
import type { SpotInstanceDoc } from './spot-interruption.ts'
import { wakeInstance } from './wake-instance.ts'

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
  // Only by `hearth restore`: for callers of the API it is final until then.
  terminated: ['stopped'],
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
  architecture: Architecture
  /** As its image said; absent for instances of older versions, whose images all boot by the BIOS. */
  bootMode?: BootMode | null
  /** Whether its image said that it has the driver of EC2's faster network; absent for `true`. */
  enaSupport?: boolean
  /** Whom SSH lets in, as its image said; the image may go before the instance. */
  sshUser?: string | null
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
  /** The stop in progress was asked for with Force: little time for the guest to shut down, none to be hibernated. */
  force: boolean
  /** The stop in progress was asked for with SkipOsShutdown: the guest is not asked to shut down. */
  skipOsShutdown?: boolean
  /** Whether it ever reached `running`: then its disk holds what must not be lost. */
  hasRun: boolean
  /** Consecutive failures to start. */
  startFailures: number
  /** The reboot in progress: when it began, and the process that it ends; null when there is none. */
  reboot: { begunMs: number; pid: number | null } | null
  usageOperationUpdateMs: number
  /** When the guest first asked for its address or answered, the newest start counting; null when it never has. */
  contactMs: number | null
  /** Since when the guest stands still because the host's disk is full; null while it does not. */
  outOfSpaceSinceMs: number | null
  /** The guest may have frozen its file systems for a snapshot, and may have to be let go on. */
  freezing?: boolean
  /** Set up at launch to be hibernated. */
  hibernation?: boolean
  /** The stop in progress keeps what is in the guest's memory. */
  hibernate?: boolean
  /** What was in the guest's memory when it was hibernated, until the guest goes on; null, or absent, for none. */
  memory?: SavedMemory | null
  /** How often its disks were given to a machine that writes to them; saved memory goes with one of these times. */
  generation?: number
  /** Which run of the host its machine was last seen to be started in. */
  hostBootId?: string
  /** When its machine was last started without saved memory. */
  startedMs?: number
  /** Its machine is being replaced by a new one in the same place; null, or absent, while it is not. */
  recovery?: RecoveryInProgress | null
  /** When its machine was replaced because it hung, as far as that still counts. */
  recoveredMs?: number[]
  /** What the status checks found when they last failed; null, or absent, while all is well. */
  checks?: FailedChecks | null
  /** Termination was forbidden at some time: what it has is kept for a while when it is terminated all the same. */
  wasProtected?: boolean
  /** What its owner said of its health, the newest last; absent for nothing. */
  statusReports?: StatusReport[]
  /** The last diagnostic interrupt that was asked for. */
  interrupt?: InterruptRequest
  /** The host that it was on before, whose agent may be at work on it still; null, or absent, once that has handed it over. */
  movedFrom?: string | null
  /** What it asks for of its place; absent for nothing. */
  placement?: PlacementWish
  /** Of a spot instance. */
  spot?: SpotInstanceDoc
  /** Of one that a fleet launched. */
  fleet?: FleetMemberDoc
  /** `hearth down` stopped it, and nobody has started it since. */
  stoppedByDown?: true
  /** Interrupted instances whose room it has: it starts when none of them has a machine any more. */
  waitsFor?: string[]
  options: InstanceOptions
}

/** One call of ReportInstanceStatus. */
export interface StatusReport {
  reportedMs: number
  status: 'ok' | 'impaired'
  reasonCodes: string[]
  startMs: number | null
  endMs: number | null
  description: string | null
}

/** The memory of a hibernated guest. Its file, and what is bound to it, is the hypervisor's; see model/memory.ts. */
export interface SavedMemory {
  memoryId: string
  /**
   * `saving`: asked for, and its key is written down; `saved`: whole, the machine has ended; `consumed`: a
   * machine has loaded it and its guest may go on at any moment, so that it must never be loaded again; `given-up`:
   * nobody wants it any more, and its file is to be deleted.
   */
  state: 'saving' | 'saved' | 'consumed' | 'given-up'
  /** Generation of the disks that it goes with. */
  generation: number
  /** Volumes that the machine had. */
  volumeIds: readonly string[]
  /** The key under which its own key is wrapped. */
  kmsKeyId: string
  wrappedKey: string
}

/** Since when the checks of DescribeInstanceStatus fail; null for one that passes. */
export interface FailedChecks {
  /** QEMU does not answer. */
  systemSinceMs: number | null
  /** The guest does not answer. */
  instanceSinceMs: number | null
}

/** Why a machine is replaced, and the process that is to end; null where it has ended with its host. */
export interface RecoveryInProgress {
  cause: 'restart' | 'hang'
  pid: number | null
}

/** What RunInstances, ModifyInstanceAttribute and their kin set, and the machine does not depend on. */
export interface InstanceOptions {
  monitoring: 'disabled' | 'enabled'
  /** Protection against TerminateInstances, and against StopInstances and TerminateInstances. */
  disableApiTermination: boolean
  disableApiStop: boolean
  /** As asked for; null means the default of the type. */
  cpuCredits: CpuCredits | null
  ebsOptimized: boolean
  sriovNetSupport: 'simple' | null
  autoRecovery: 'default' | 'disabled'
  /** Whether a reboot may be done in place of a planned one. */
  rebootMigration: 'default' | 'disabled'
  /** As it was before there was `placement` in the doc, which says it for newer instances. */
  capacityReservationPreference: 'open' | 'none'
  /** As asked for; null means the default of the type. */
  cpu: { coreCount: number; threadsPerCore: number } | null
}

export type CpuCredits = 'standard' | 'unlimited'

/** EC2's defaults of all options. */
export const DEFAULT_INSTANCE_OPTIONS: InstanceOptions = {
  monitoring: 'disabled', disableApiTermination: false, disableApiStop: false, cpuCredits: null, ebsOptimized: false,
  sriovNetSupport: null, autoRecovery: 'default', rebootMigration: 'default', capacityReservationPreference: 'open', cpu: null,
}

export interface MetadataOptions {
  httpTokens: 'optional' | 'required'
  httpPutResponseHopLimit: number
  httpEndpoint: 'enabled' | 'disabled'
  instanceMetadataTags: 'enabled' | 'disabled'
}

/** The doc of an instance row; what rows of older versions lack has its default. */
export function instanceDoc(row: { doc: string }): InstanceDoc {
  const doc = JSON.parse(row.doc) as InstanceDoc & Partial<Pick<InstanceDoc, 'contactMs' | 'outOfSpaceSinceMs' | 'options'>>
  return {
    ...doc, contactMs: doc.contactMs ?? null, outOfSpaceSinceMs: doc.outOfSpaceSinceMs ?? null,
    options: { ...DEFAULT_INSTANCE_OPTIONS, ...doc.options },
  }
}

/** What it asks for of its place; of earlier versions, which knew no reservations, some said that they wanted none. */
export function placementWish({ placement, options }: Pick<InstanceDoc, 'placement' | 'options'>): PlacementWish {
  if (placement) return placement
  const { capacityReservationPreference: preference } = options
  return preference === 'open' ? ANYWHERE : { ...ANYWHERE, reservation: { preference, targetId: null } }
}

/** When its guest last began to boot, or to go on: by a launch, a start, a reboot or a recovery. */
export function lastStartMs(row: Pick<InstanceTable, 'launch_ms'>, doc: Pick<InstanceDoc, 'startedMs'>): number {
  return Math.max(row.launch_ms, doc.startedMs ?? 0)
}

/** Whether its guest was heard of since then. */
export function hasContact(row: Pick<InstanceTable, 'launch_ms'>, doc: Pick<InstanceDoc, 'contactMs'>): boolean {
  return doc.contactMs !== null && doc.contactMs >= row.launch_ms
}

/** What the instance's machine boots by. */
export function currentBootMode(doc: Pick<InstanceDoc, 'architecture' | 'bootMode'>): 'legacy-bios' | 'uefi' {
  return bootModeInForce(doc.architecture, doc.bootMode)
}

/**
 * The credit option that a burstable instance has: what was asked for, else the default of its
 * family (T2 standard, later ones unlimited); null for types without CPU credits.
 */
export function cpuCreditsOf(row: { instance_type: string; doc: string }): CpuCredits | null {
  if (!isBurstable(row.instance_type)) return null
  return instanceDoc(row).options.cpuCredits ?? (row.instance_type.startsWith('t2.') ? 'standard' : 'unlimited')
}

/** Whether a type has CPU credits: T2, T3, T3a, T4g. */
export function isBurstable(instanceType: string): boolean {
  return /^t(2|3|3a|4g)\./.test(instanceType)
}

/** "User initiated (2026-01-01 00:00:00 GMT)", as StateTransitionReason words it. */
export function userInitiated(nowMs: number): string {
  return `User initiated (${new Date(nowMs).toISOString().slice(0, 19).replace('T', ' ')} GMT)`
}

/** "Service initiated (2026-01-01 00:00:00 GMT)": nobody asked for it but the cloud itself. */
export function serviceInitiated(nowMs: number): string {
  return userInitiated(nowMs).replace('User', 'Service')
}

export const STATE_REASONS = {
  userShutdown: { code: 'Client.UserInitiatedShutdown', message: 'Client.UserInitiatedShutdown: User initiated shutdown' },
  userHibernate: { code: 'Client.UserInitiatedHibernate', message: 'Client.UserInitiatedHibernate: User initiated hibernate' },
  guestShutdown: {
    code: 'Client.InstanceInitiatedShutdown',
    message: 'Client.InstanceInitiatedShutdown: Instance initiated shutdown',
  },
  scheduledStop: { code: 'Server.ScheduledStop', message: 'Server.ScheduledStop: Stopped due to scheduled retirement' },
  serverError: { code: 'Server.InternalError', message: 'Server.InternalError: Internal error on launch' },
  /** A spot instance was interrupted. */
  spotTermination: { code: 'Server.SpotInstanceTermination', message: 'Server.SpotInstanceTermination: Spot instance termination' },
  spotShutdown: { code: 'Server.SpotInstanceShutdown', message: 'Server.SpotInstanceShutdown: Spot instance shutdown' },
  /** EC2's own, of a launch whose volume cannot be made. */
  volumeFailure: { code: 'Client.InternalError', message: 'Client.InternalError: Client error on launch' },
  hostFailure: {
    code: 'Server.InternalError',
    message: 'Server.InternalError: The machine ended unexpectedly',
  },
  /** Its host was restarted under it, and it is not to be recovered. */
  hostRestart: {
    code: 'Server.InternalError',
    message: 'Server.InternalError: The host of the instance was restarted',
  },
} as const satisfies Record<string, StateReason>

/** Of an instance that was to be hibernated and was stopped instead, and of one that stays so because it cannot go on. */
export const notHibernated = (why: string): StateReason => serverError(`The instance was stopped without hibernation: ${why}`)
export const notResumed = (instanceId: string, why: string): StateReason => serverError(
  `The instance is still hibernated, its memory could not be loaded: ${why}. ` +
    `"hearth start ${instanceId} --cold" gives its memory up and boots it`)

function serverError(message: string): StateReason {
  return { code: 'Server.InternalError', message: `Server.InternalError: ${message}` }
}

const inState = prepared((db, instanceId: string, state: InstanceState) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).where('state', '=', state))
const docOf = prepared((db, instanceId: string) =>
  db.selectFrom('instances').select('doc').where('instance_id', '=', instanceId))
const setDoc = prepared((db, doc: string, instanceId: string) =>
  db.updateTable('instances').set({ doc }).where('instance_id', '=', instanceId))
const setState = prepared((db, state: InstanceState, nowMs: number, holdsCapacity: number, doc: string, instanceId: string) =>
  db.updateTable('instances').set({ state, state_ms: nowMs, holds_capacity: holdsCapacity, doc }).where('instance_id', '=', instanceId))

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
  const [current] = await inState(db, row.instance_id, row.state)
  if (!current) return undefined
  const hasNoMachine = WITHOUT_MACHINE.includes(to)
  const before = instanceDoc(current)
  const doc = JSON.stringify({ ...before, ...change, ...(hasNoMachine ? withoutPromises({ ...before, ...change }) : {}) })
  const holdsCapacity = hasNoMachine ? 0 : current.holds_capacity
  if (hasNoMachine) await letIn(db, row.instance_id, before.spot?.promisedTo ?? [], nowMs)
  await setState(db, to, nowMs, holdsCapacity, doc, row.instance_id)
  const after = { ...current, state: to, state_ms: nowMs, holds_capacity: holdsCapacity, doc }
  await instanceMoved(db, current, after, nowMs)
  if (current.holds_capacity === 0 || holdsCapacity === 1) return after
  await giveCapacityBack(db, current)
  return { ...after, ...await leaveRoom(db, current) }
}

/** One without a machine waits for nobody, and nobody waits for it. */
function withoutPromises({ spot }: Pick<InstanceDoc, 'spot'>): Partial<InstanceDoc> {
  return { waitsFor: undefined, ...(spot ? { spot: { ...spot, promisedTo: undefined } } : {}) }
}

/** An interrupted instance has left its room: those that waited for it, and for nobody else, may start there. */
async function letIn(db: Db, leftId: string, waiting: readonly string[], nowMs: number): Promise<void> {
  for (const id of waiting) {
    const [row] = await docOf(db, id)
    const left = row && instanceDoc(row).waitsFor?.filter((each) => each !== leftId)
    // It may have ended meanwhile.
    if (!left) continue
    await changeInstanceDoc(db, id, { waitsFor: left })
    if (left.length === 0) await wakeInstance(db, id, nowMs)
  }
}

/** An instance without a machine is in nobody's room; what it asked for is in its doc. */
async function leaveRoom(db: Db, row: InstanceTable) {
  const nowhere = { dedicated_host_id: null, capacity_reservation_id: null }
  if (row.dedicated_host_id === null && row.capacity_reservation_id === null) return nowhere
  await db.updateTable('instances').set(nowhere).where('instance_id', '=', row.instance_id).execute()
  return nowhere
}

/** Rewrites parts of an instance's doc, as it is in this transaction. */
export async function changeInstanceDoc(db: Db, instanceId: string, change: Partial<InstanceDoc>): Promise<void> {
  const [current] = await docOf(db, instanceId)
  if (current) await setDoc(db, JSON.stringify({ ...instanceDoc(current), ...change }), instanceId)
}

/** Rewrites some of an instance's options, as they are in this transaction. */
export async function changeInstanceOptions(
  db: Db,
  instanceId: string,
  change: Partial<InstanceOptions>,
): Promise<void> {
  const current = await db
    .selectFrom('instances').select('doc').where('instance_id', '=', instanceId).executeTakeFirst()
  if (current) await changeInstanceDoc(db, instanceId, { options: { ...instanceDoc(current).options, ...change } })
}
