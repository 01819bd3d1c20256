import type {
  CreateVolumePermission, DescribeSnapshotAttributeRequest, DescribeSnapshotAttributeResult, ModifySnapshotAttributeRequest,
  ResetSnapshotAttributeRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { emitSnapshotShared } from '../model/ebs-events.ts'
import { EBS_ALIAS, keysOf } from '../model/kms-key.ts'
import { snapshotDoc } from '../model/snapshot.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'
import { checkMayBePublic } from './snapshot-public-access.ts'
import { requireOwnSnapshot } from './snapshot-rows.ts'
import { accountId } from './snapshots.ts'

const ATTRIBUTES = ['createVolumePermission', 'productCodes'] as const

/** Changes of one call: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html */
const MAX_CHANGES = 500

/** DescribeSnapshotAttribute, for its owner: who may make volumes of it, or its product codes, which nothing here has. */
export async function describeSnapshotAttribute(
  context: Context,
  input: DescribeSnapshotAttributeRequest,
): Promise<DescribeSnapshotAttributeResult> {
  const attribute = checkEnum('attribute', input.Attribute, ATTRIBUTES)
  if (attribute === undefined) throw missingParameter('attribute')
  const row = await requireOwnSnapshot(context, input.SnapshotId)
  if (attribute === 'productCodes') return { SnapshotId: row.snapshot_id, ProductCodes: [] }
  const permissions = await context.db
    .selectFrom('snapshot_permissions').select('account_id as UserId').where('snapshot_id', '=', row.snapshot_id)
    .orderBy('account_id').execute()
  const everybody: CreateVolumePermission[] = row.is_public === 1 ? [{ Group: 'all' }] : []
  return { SnapshotId: row.snapshot_id, CreateVolumePermissions: [...everybody, ...permissions] }
}

/** What a call changes of who may make volumes of a snapshot. */
interface PermissionChange {
  adds: boolean
  accounts: string[]
  /** Whether it is about the group of all accounts. */
  everybody: boolean
}

/**
 * ModifySnapshotAttribute: lets accounts, or all of them, make volumes of a snapshot, or no longer. What an account has
 * made of it stays theirs.
 *
 * @throws ApiError OperationNotPermitted for encrypted ones: those are never public, and under the account's
 * aws/ebs key nobody else's; and for public ones where the account blocks that.
 */
export async function modifySnapshotAttribute(
  context: Context,
  input: ModifySnapshotAttributeRequest,
): Promise<Record<string, never>> {
  if (checkEnum('attribute', input.Attribute, ATTRIBUTES) === 'productCodes') {
    throw invalidValue('attribute', input.Attribute, 'Only createVolumePermission can be modified.')
  }
  const change = requestedChange(input)
  const row = await requireOwnSnapshot(context, input.SnapshotId)
  if (change.adds) await checkMayShare(context, row, change)
  await applyChange(context, row, change)
  return {}
}

/** The change, in either of the forms that a call may have. */
function requestedChange(input: ModifySnapshotAttributeRequest): PermissionChange {
  const { Add: added = [], Remove: removed = [] } = input.CreateVolumePermission ?? {}
  const [users, groups] = [input.UserIds ?? [], input.GroupNames ?? []]
  const type = checkEnum('operationType', input.OperationType, ['add', 'remove'])
  const isListed = users.length + groups.length > 0
  if ([added.length > 0, removed.length > 0, isListed].filter(Boolean).length > 1) {
    throw new ApiError('InvalidParameterCombination', 'Permissions can be added or removed in one call, not both.')
  }
  if (isListed && type === undefined) throw missingParameter('operationType')
  const permissions: CreateVolumePermission[] = isListed
    ? [...users.map((UserId) => ({ UserId })), ...groups.map((Group) => ({ Group: Group as 'all' }))]
    : [...added, ...removed]
  if (permissions.length === 0) throw missingParameter('createVolumePermission')
  if (permissions.length > MAX_CHANGES) {
    throw new ApiError('InvalidParameterValue', `At most ${MAX_CHANGES} permissions can be modified in one call.`)
  }
  for (const { UserId, Group } of permissions) {
    if (!UserId === !Group) {
      throw new ApiError('InvalidParameterCombination', 'A permission must have one of UserId and Group.')
    }
    checkEnum('group', Group, ['all'])
  }
  return {
    adds: isListed ? type === 'add' : added.length > 0,
    accounts: [...new Set(permissions.flatMap(({ UserId }) => (UserId ? accountId(UserId) : [])))],
    everybody: permissions.some(({ Group }) => Boolean(Group)),
  }
}

async function checkMayShare(context: Context, row: SnapshotTable, { everybody }: PermissionChange): Promise<void> {
  if (everybody && row.encrypted === 1) {
    throw new ApiError('OperationNotPermitted', 'Encrypted snapshots cannot be made public.')
  }
  if (everybody) await checkMayBePublic(context)
  if (row.encrypted === 0) return
  const key = (await keysOf(context.db, context.account)).find(({ keyId }) => keyId === snapshotDoc(row).kmsKeyId)
  if (key?.alias === EBS_ALIAS) {
    throw new ApiError('OperationNotPermitted', 'Encrypted snapshots with EBS default key cannot be shared')
  }
}

async function applyChange({ db, nowMs }: Context, row: SnapshotTable, change: PermissionChange): Promise<void> {
  const { snapshot_id: id } = row
  if (change.everybody) {
    await db.updateTable('snapshots').set({ is_public: change.adds ? 1 : 0 }).where('snapshot_id', '=', id).execute()
  }
  if (change.accounts.length === 0) return
  if (change.adds) {
    await tellOfSharing({ db, nowMs }, row, change.accounts)
    const rows = change.accounts.map((account) => ({ snapshot_id: id, account_id: account }))
    await db.insertInto('snapshot_permissions').values(rows).onConflict((conflict) => conflict.doNothing()).execute()
    return
  }
  await db
    .deleteFrom('snapshot_permissions').where('snapshot_id', '=', id).where('account_id', 'in', change.accounts).execute()
}

/** Accounts that could not use a private snapshot before. */
async function tellOfSharing({ db, nowMs }: Pick<Context, 'db' | 'nowMs'>, row: SnapshotTable, accounts: readonly string[]): Promise<void> {
  if (row.is_public === 1) return
  const permissions = await db.selectFrom('snapshot_permissions').select('account_id').where('snapshot_id', '=', row.snapshot_id).execute()
  const before = new Set([row.account_id, ...permissions.map((each) => each.account_id)])
  for (const account of accounts) if (!before.has(account)) await emitSnapshotShared(db, row, account, nowMs)
}

/** ResetSnapshotAttribute: only its owner may make volumes of it again. */
export async function resetSnapshotAttribute(
  context: Context,
  input: ResetSnapshotAttributeRequest,
): Promise<Record<string, never>> {
  const attribute = checkEnum('attribute', input.Attribute, ATTRIBUTES)
  if (attribute === undefined) throw missingParameter('attribute')
  if (attribute === 'productCodes') throw invalidValue('attribute', attribute, 'Only createVolumePermission can be reset.')
  const { db } = context
  const { snapshot_id: id } = await requireOwnSnapshot(context, input.SnapshotId)
  await db.deleteFrom('snapshot_permissions').where('snapshot_id', '=', id).execute()
  await db.updateTable('snapshots').set({ is_public: 0 }).where('snapshot_id', '=', id).execute()
  return {}
}
