import type {
  DisableSnapshotBlockPublicAccessRequest, DisableSnapshotBlockPublicAccessResult, EnableSnapshotBlockPublicAccessRequest,
  EnableSnapshotBlockPublicAccessResult, GetSnapshotBlockPublicAccessStateRequest, GetSnapshotBlockPublicAccessStateResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { accountSetting, setAccountSetting } from '../model/account-setting.ts'
import { SNAPSHOT_PUBLIC_ACCESS } from '../model/visible.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter } from './parameters.ts'

const BLOCKING = ['block-all-sharing', 'block-new-sharing'] as const

async function stateOf({ db, account }: Context): Promise<(typeof BLOCKING)[number] | 'unblocked'> {
  const value = await accountSetting(db, account, SNAPSHOT_PUBLIC_ACCESS)
  return BLOCKING.find((each) => each === value) ?? 'unblocked'
}

/** GetSnapshotBlockPublicAccessState: whether snapshots of the account may be public. */
export async function getSnapshotBlockPublicAccessState(
  context: Context,
  _input: GetSnapshotBlockPublicAccessStateRequest,
): Promise<GetSnapshotBlockPublicAccessStateResult> {
  return { State: await stateOf(context), ManagedBy: 'account' }
}

/**
 * EnableSnapshotBlockPublicAccess: no snapshot becomes public from now on; by `block-all-sharing` those that are
 * count as private as well, until it is taken back.
 */
export async function enableSnapshotBlockPublicAccess(
  { db, account }: Context,
  input: EnableSnapshotBlockPublicAccessRequest,
): Promise<EnableSnapshotBlockPublicAccessResult> {
  const state = checkEnum('state', input.State, BLOCKING)
  if (state === undefined) throw missingParameter('state')
  await setAccountSetting(db, account, SNAPSHOT_PUBLIC_ACCESS, state)
  return { State: state }
}

/** DisableSnapshotBlockPublicAccess: what was public before is so again. */
export async function disableSnapshotBlockPublicAccess(
  { db, account }: Context,
  _input: DisableSnapshotBlockPublicAccessRequest,
): Promise<DisableSnapshotBlockPublicAccessResult> {
  await setAccountSetting(db, account, SNAPSHOT_PUBLIC_ACCESS, null)
  return { State: 'unblocked' }
}

/** @throws ApiError OperationNotPermitted where the account blocks that its snapshots become public. */
export async function checkMayBePublic(context: Context): Promise<void> {
  if ((await stateOf(context)) === 'unblocked') return
  throw new ApiError(
    'OperationNotPermitted',
    "You can't publicly share this snapshot because block public access for snapshots is enabled for this account.",
  )
}
