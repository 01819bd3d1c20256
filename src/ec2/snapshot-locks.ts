import type {
  DescribeLockedSnapshotsRequest, DescribeLockedSnapshotsResult, LockedSnapshotsInfo, LockSnapshotRequest, LockSnapshotResult,
  UnlockSnapshotRequest, UnlockSnapshotResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { snapshotDoc, type SnapshotDoc } from '../model/snapshot.ts'
import { lockOf, type LockView, type SnapshotLock, viewLock } from '../model/snapshot-lock.ts'
import { inBatches } from '../store/batch.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate } from './pagination.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'
import { requireOwnSnapshot } from './snapshot-rows.ts'

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LockSnapshot.html */
const MAX_DURATION_DAYS = 36_500
const MAX_COOL_OFF_HOURS = 72
const DAY_MS = 24 * 60 * 60 * 1000

/**
 * LockSnapshot: it cannot be deleted until the lock expires. A `governance` lock can be undone and changed; one of
 * `compliance` only in its cooling-off period, after which it can be made longer and nothing else.
 *
 * @throws ApiError OperationNotPermitted for a change that the lock forbids.
 */
export async function lockSnapshot(context: Context, input: LockSnapshotRequest): Promise<LockSnapshotResult> {
  const wanted = requestedLock(context, input)
  const row = await requireOwnSnapshot(context, input.SnapshotId)
  const completedMs = row.state === 'pending' ? undefined : (snapshotDoc(row).completedMs ?? 0)
  const present = lockOf(row, context.nowMs)
  const lock = present && present.state !== 'expired' ? changedLock(present, wanted, completedMs, context.nowMs) : wanted
  await changeDoc(context, row, { lock })
  return lockToWire(row, viewLock(lock, completedMs, context.nowMs))
}

/** @throws ApiError for modes, durations, dates and cooling-off periods that make no lock. */
function requestedLock({ nowMs }: Context, input: LockSnapshotRequest): SnapshotLock {
  const mode = checkEnum('lockMode', input.LockMode, ['governance', 'compliance'])
  if (mode === undefined) throw missingParameter('lockMode')
  const { LockDuration: days, ExpirationDate: expiration, CoolOffPeriod: hours } = input
  if ((days === undefined) === (expiration === undefined)) {
    throw new ApiError('InvalidParameterCombination', 'Exactly one of LockDuration and ExpirationDate must be given.')
  }
  if (days !== undefined && (days < 1 || days > MAX_DURATION_DAYS)) {
    throw invalidValue('lockDuration', days, `It must be between 1 and ${MAX_DURATION_DAYS} days.`)
  }
  if (expiration !== undefined && expiration.getTime() < nowMs + DAY_MS) {
    throw invalidValue('expirationDate', expiration.toISOString(), 'It must be at least a day ahead.')
  }
  if (hours !== undefined && mode === 'governance') {
    throw new ApiError('InvalidParameterCombination', 'CoolOffPeriod is for the compliance mode only.')
  }
  if (hours !== undefined && (hours < 1 || hours > MAX_COOL_OFF_HOURS)) {
    throw invalidValue('coolOffPeriod', hours, `It must be between 1 and ${MAX_COOL_OFF_HOURS} hours.`)
  }
  return {
    mode, createdMs: nowMs,
    ...(days === undefined ? {} : { durationDays: days }),
    ...(expiration === undefined ? {} : { expirationMs: expiration.getTime() }),
    ...(hours === undefined ? {} : { coolOffHours: hours, coolOffFromMs: nowMs }),
  }
}

/** The lock after a change of one that is in force: it goes on from when it was made. */
function changedLock(
  present: LockView,
  wanted: SnapshotLock,
  completedMs: number | undefined,
  nowMs: number,
): SnapshotLock {
  const lock: SnapshotLock = { ...wanted, createdMs: present.lock.createdMs }
  if (present.state === 'compliance-cooloff' && lock.mode === 'compliance' && lock.coolOffHours === undefined) {
    const { coolOffHours, coolOffFromMs } = present.lock
    return { ...lock, ...(coolOffHours === undefined ? {} : { coolOffHours, coolOffFromMs: coolOffFromMs ?? lock.createdMs }) }
  }
  if (present.state !== 'compliance') return lock
  if (lock.mode !== 'compliance') throw notPermitted('The mode of a lock in compliance mode can\'t be changed.')
  if (lock.coolOffHours !== undefined) throw notPermitted('The cooling-off period of this lock is over.')
  const [before, after] = [present.expiresMs, viewLock(lock, completedMs, nowMs).expiresMs]
  // While a snapshot is pending, nobody knows when a duration ends: only like can be compared with like.
  const isShorter = before === undefined || after === undefined
    ? (lock.durationDays ?? 0) < (present.lock.durationDays ?? Infinity)
    : after < before
  if (isShorter) throw notPermitted('A lock in compliance mode can only be made longer.')
  return lock
}

function notPermitted(message: string): ApiError {
  return new ApiError('OperationNotPermitted', message)
}

/**
 * UnlockSnapshot: it may be deleted again.
 *
 * @throws ApiError OperationNotPermitted in compliance mode after its cooling-off period;
 * InvalidParameterValue for one that is not locked.
 */
export async function unlockSnapshot(context: Context, input: UnlockSnapshotRequest): Promise<UnlockSnapshotResult> {
  const row = await requireOwnSnapshot(context, input.SnapshotId)
  const present = lockOf(row, context.nowMs)
  if (!present || present.state === 'expired') {
    throw new ApiError('InvalidParameterValue', `The snapshot '${row.snapshot_id}' is not locked.`)
  }
  if (present.state === 'compliance') {
    throw notPermitted(`The snapshot '${row.snapshot_id}' is locked in compliance mode and can't be unlocked.`)
  }
  await changeDoc(context, row, { lock: undefined })
  return { SnapshotId: row.snapshot_id }
}

/** DescribeLockedSnapshots: the account's snapshots with a lock, in force or expired; those that have none are left out. */
export async function describeLockedSnapshots(
  context: Context,
  input: DescribeLockedSnapshotsRequest,
): Promise<DescribeLockedSnapshotsResult> {
  const matches = compileFilters(input.Filters, FIELDS)
  const locked = (await selectRows(context, input.SnapshotIds ?? [])).flatMap((row) => {
    const view = lockOf(row, context.nowMs)
    return view ? { ...lockToWire(row, view), OwnerId: row.account_id } : []
  })
  const { page, nextToken } = paginate(locked.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeLockedSnapshots',
    keyOf: (each) => each.SnapshotId ?? '',
  })
  return { Snapshots: page, NextToken: nextToken }
}

async function selectRows({ db, account }: Context, ids: readonly string[]): Promise<SnapshotTable[]> {
  const query = db.selectFrom('snapshots').selectAll().where('account_id', '=', account).where('binned_ms', 'is', null)
  if (ids.length === 0) return query.execute()
  checkIds(RESOURCE_KINDS.snapshot, ids)
  const rows = await inBatches(ids, (batch) => query.where('snapshot_id', 'in', batch).execute())
  requireAll(RESOURCE_KINDS.snapshot, ids, new Set(rows.map((row) => row.snapshot_id)))
  return rows
}

const FIELDS: FilterFields<LockedSnapshotsInfo> = { 'lock-state': (each) => each.LockState }

async function changeDoc({ db }: Context, row: SnapshotTable, change: { lock: SnapshotLock | undefined }): Promise<void> {
  const { lock: _former, ...rest } = snapshotDoc(row)
  const doc: SnapshotDoc = change.lock ? { ...rest, lock: change.lock } : rest
  await db.updateTable('snapshots').set({ doc: JSON.stringify(doc) }).where('snapshot_id', '=', row.snapshot_id).execute()
}

function lockToWire(row: SnapshotTable, { lock, state, startMs, expiresMs, coolOffEndsMs }: LockView): LockSnapshotResult {
  const date = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms))
  const days = expiresMs === undefined || startMs === undefined ? undefined : Math.ceil((expiresMs - startMs) / DAY_MS)
  return {
    SnapshotId: row.snapshot_id,
    LockState: state,
    LockDuration: lock.durationDays ?? days,
    CoolOffPeriod: lock.coolOffHours,
    CoolOffPeriodExpiresOn: date(coolOffEndsMs),
    LockCreatedOn: date(lock.createdMs),
    LockDurationStartTime: date(startMs),
    LockExpiresOn: date(expiresMs),
  }
}
