import { prepared } from '../store/prepared.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { emitEvent, instanceArn } from './cloud-event.ts'
import { wakeFleet } from './fleet.ts'
import { wakeEvents } from './instance-event.ts'
import { changeInstanceDoc, instanceDoc, moveInstance, serviceInitiated, STATE_REASONS, type InstanceDoc, type StateReason } from './instance.ts'
import { isReadyToHibernate } from './memory.ts'
import { moveSpotRequest, wakeSpotRequest, type InterruptionBehavior } from './spot-request.ts'

/** Why a spot instance is taken away: the words of a request's status, and that its fleet was made smaller. */
export type InterruptionCause = 'by-price' | 'no-capacity' | 'launch-group-constraint' | 'fleet-excess'

/** What an instance's doc says of its being on spot. */
export interface SpotInstanceDoc {
  behavior: InterruptionBehavior
  /** When it was told that it is likely to be interrupted (metadata: events/recommendations/rebalance). */
  rebalanceMs: number | null
  /** It was told that it will be interrupted: when, and when that comes about. */
  interruption: { action: InterruptionBehavior; cause: InterruptionCause; noticeMs: number; actionMs: number } | null
  /** Instances that its room was promised to: they start when its machine has ended. */
  promisedTo?: string[]
}

/** A notice that an instance has had, and what comes of it. */
export type Interruption = NonNullable<SpotInstanceDoc['interruption']>

const rowOf = prepared((db, instanceId: string) => db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId))
const requestOf = prepared((db, requestId: string) => db.selectFrom('spot_requests').selectAll().where('request_id', '=', requestId))

type SpotInstance = InstanceTable & { spot_request_id: string }

/** The instance as it is in this transaction, where it is on spot and may have a machine that nobody has ended. */
async function living(db: Db, instanceId: string): Promise<{ row: SpotInstance; doc: InstanceDoc; spot: SpotInstanceDoc } | undefined> {
  const [row] = await rowOf(db, instanceId)
  if (!row || row.spot_request_id === null || (row.state !== 'pending' && row.state !== 'running')) return undefined
  const doc = instanceDoc(row)
  return doc.spot && { row: { ...row, spot_request_id: row.spot_request_id }, doc, spot: doc.spot }
}

/**
 * Tells a spot instance that runs, or is about to, that it will be interrupted in `noticeMs`, once: metadata, event, status of
 * its request. What comes then is `carryOutInterruption`, which the reconciler of its request calls.
 *
 * @returns false where it has been told already, or is on its way out.
 */
export async function giveNotice(
  db: Db,
  instance: Pick<InstanceTable, 'instance_id'>,
  { cause, noticeMs, nowMs }: { cause: InterruptionCause; noticeMs: number; nowMs: number },
): Promise<boolean> {
  if (cause !== 'fleet-excess') await recommendRebalance(db, instance, nowMs)
  const found = await living(db, instance.instance_id)
  if (!found || found.spot.interruption !== null) return false
  const { row, spot } = found
  // One that is too much is not kept for later.
  const action = cause === 'fleet-excess' ? 'terminate' : spot.behavior
  const interruption: Interruption = { action, cause, noticeMs: nowMs, actionMs: nowMs + noticeMs }
  await changeInstanceDoc(db, row.instance_id, { spot: { ...spot, interruption } })
  await emitEvent(db, {
    accountId: row.account_id, detailType: 'EC2 Spot Instance Interruption Warning',
    // Unlike every other one, this ARN names the zone, and no account.
    // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    resources: [`arn:aws:ec2:${row.zone}:instance/${row.instance_id}`],
    detail: { 'instance-id': row.instance_id, 'instance-action': interruption.action },
  }, nowMs)
  const [request] = await requestOf(db, row.spot_request_id)
  if (row.fleet_id !== null) await wakeFleet(db, row.fleet_id, nowMs)
  // One that was cancelled while its instance runs on stays so.
  if (request?.state === 'active') await mark(db, request, interruption)
  await wakeSpotRequest(db, row.spot_request_id, interruption.actionMs)
  if (row.fleet_id !== null) await wakeFleet(db, row.fleet_id, nowMs)
  return true
}

const BECAUSE: Record<InterruptionCause, string> = {
  'by-price': 'your Spot request price is lower than required fulfillment price',
  'no-capacity': 'there is no Spot capacity available that matches your request',
  'launch-group-constraint': 'an instance of its launch group was terminated',
  'fleet-excess': 'the target capacity of its fleet was decreased',
}

/** The sentences of AWS are not recorded; these are made after those of instances that were terminated. */
function mark(db: Db, request: SpotRequestTable, { action, cause, noticeMs: nowMs }: Interruption): Promise<unknown> {
  const isEnd = action === 'terminate'
  return moveSpotRequest(db, request, {
    state: 'active', status: isEnd ? 'marked-for-termination' : 'marked-for-stop',
    message: `Your Spot Instance is marked for ${isEnd ? 'termination' : 'stopping'} because ${BECAUSE[cause]}.`,
  }, nowMs)
}

/** Tells a spot instance that runs, or is about to, that it is likely to be interrupted, once for each time that it runs. */
export async function recommendRebalance(db: Db, instance: Pick<InstanceTable, 'instance_id'>, nowMs: number): Promise<boolean> {
  const found = await living(db, instance.instance_id)
  if (!found || found.spot.rebalanceMs !== null || found.spot.interruption !== null) return false
  const { row, spot } = found
  await changeInstanceDoc(db, row.instance_id, { spot: { ...spot, rebalanceMs: nowMs } })
  await emitEvent(db, {
    accountId: row.account_id, detailType: 'EC2 Instance Rebalance Recommendation', resources: [instanceArn(row)],
    detail: { 'instance-id': row.instance_id },
  }, nowMs)
  if (row.fleet_id !== null) await wakeFleet(db, row.fleet_id, nowMs)
  return true
}

/**
 * Interrupts an instance whose notice is over, as its request asked for. One whose guest cannot be hibernated is stopped; one that
 * is still starting, and is to be stopped, runs first: its change of state wakes its request.
 *
 * @returns false while there is something to wait for: the time, or its start. True when nothing is left to do: it is done, or the
 *   instance was ended otherwise, which wins.
 */
export async function carryOutInterruption(db: Db, instance: Pick<InstanceTable, 'instance_id'>, nowMs: number): Promise<boolean> {
  const found = await living(db, instance.instance_id)
  if (!found?.spot.interruption) return true
  const { row, doc, spot: { interruption: { action, actionMs } } } = found
  if (nowMs < actionMs) return false
  if (action !== 'terminate' && row.state === 'pending') return false
  const to = action === 'terminate' ? 'shutting-down' : 'stopping'
  await moveInstance(db, row, to, nowMs, {
    stateReason: action === 'terminate' ? STATE_REASONS.spotTermination : STATE_REASONS.spotShutdown,
    stateTransitionReason: serviceInitiated(nowMs),
    force: false, skipOsShutdown: false, hibernate: action === 'hibernate' && doc.hibernation === true && isReadyToHibernate(doc),
  })
  await enqueue(db, { kind: 'instance', id: row.instance_id, hostId: row.host_id }, nowMs)
  await wakeEvents(db, row, nowMs)
  return true
}

/** How an instance that is ending, or has ended, was interrupted; null where it was not, or ended otherwise before that came. */
export function interruptionOf(row: Pick<InstanceTable, 'state' | 'doc'>): Interruption | null {
  if (row.state === 'pending' || row.state === 'running') return null
  return instanceDoc(row).spot?.interruption ?? null
}

/**
 * Whether it was its interruption that ended or stopped an instance: its user may have been quicker. A machine that fails after its
 * notice counts as interrupted.
 */
export function wasInterrupted({ stateReason, interruption }: { stateReason: StateReason | null; interruption: Interruption | null }): boolean {
  return interruption !== null && (stateReason === null || /^Server\.(SpotInstance|InternalError)/.test(stateReason.code))
}

/**
 * Where an instance goes that something stops which is not its interruption: one of a one-time request cannot be stopped, and ends.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-request.html
 */
export async function stopsAs(db: Db, row: Pick<InstanceTable, 'spot_request_id'>): Promise<'stopping' | 'shutting-down'> {
  const [request] = row.spot_request_id === null ? [] : await requestOf(db, row.spot_request_id)
  return request?.type === 'one-time' ? 'shutting-down' : 'stopping'
}

/** What of the doc changes when a spot instance ends otherwise than by its interruption, or comes back: the notice is no more. */
export function withoutNotice({ spot }: Pick<InstanceDoc, 'spot'>): Partial<InstanceDoc> {
  return spot ? { spot: { ...spot, rebalanceMs: null, interruption: null } } : {}
}
