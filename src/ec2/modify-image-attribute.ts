import type {
  CancelImageLaunchPermissionRequest, CancelImageLaunchPermissionResult, LaunchPermission, ModifyImageAttributeRequest,
  ResetImageAttributeRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { changeImageDoc, mappingsOf } from '../model/image.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { IMAGE_ATTRIBUTE_NAMES } from './image-attributes.ts'
import { checkNotBlocked } from './image-public-access.ts'
import { checkUsable, requireOwnImage, requireVisibleImage, unusable } from './image-rows.ts'
import { checkEnum, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkDescription } from './snapshot-rows.ts'

/** Who is to be let in, or no more; `all` is everybody. */
interface Permissions {
  add: string[]
  remove: string[]
}

const EVERYBODY = 'all'

/**
 * ModifyImageAttribute: the description, who may launch it, or that its instances want tokens of the metadata service;
 * one of them in a call, by its own parameter or in the old way by Attribute and OperationType.
 *
 * @throws ApiError InvalidParameterCombination for no attribute or several; InvalidAMIAttributeItemValue for what is
 * no account or group; InvalidAMIID.Unavailable while it is pending; OperationNotPermitted where the account shares
 * nothing with everybody, or the image has encrypted volumes.
 */
export async function modifyImageAttribute(context: Context, input: ModifyImageAttributeRequest): Promise<void> {
  refuseParameters(input, ['OrganizationArns', 'OrganizationalUnitArns', 'ProductCodes'])
  const attribute = requestedAttribute(input)
  const row = await requireOwnImage(context, input.ImageId)
  checkUsable(row)
  switch (attribute) {
    case 'description': {
      const description = input.Description?.Value ?? input.Value ?? ''
      checkDescription(description)
      return changeImageDoc(context.db, row.image_id, { description })
    }
    case 'imdsSupport': {
      const imdsSupport = checkEnum('imdsSupport', input.ImdsSupport?.Value ?? input.Value, ['v2.0'] as const)
      if (!imdsSupport) throw missingParameter('value')
      return changeImageDoc(context.db, row.image_id, { imdsSupport })
    }
    case 'launchPermission':
      return changePermissions(context, row, requestedPermissions(input))
  }
}

/** The one attribute that the call is about. */
function requestedAttribute(input: ModifyImageAttributeRequest): 'description' | 'imdsSupport' | 'launchPermission' {
  const named = checkEnum('attribute', spelled(input.Attribute), IMAGE_ATTRIBUTE_NAMES)
  const names = new Set<string>(named ? [named] : [])
  if (input.Description?.Value !== undefined) names.add('description')
  if (input.ImdsSupport?.Value) names.add('imdsSupport')
  const { Add: add = [], Remove: remove = [] } = input.LaunchPermission ?? {}
  const grantees = [...add, ...remove, ...(input.UserIds ?? []), ...(input.UserGroups ?? [])]
  if (grantees.length > 0) names.add('launchPermission')
  const [name] = names
  if (name === undefined) throw new ApiError('InvalidParameterCombination', 'No attributes specified.')
  if (names.size > 1) {
    throw new ApiError('InvalidParameterCombination', `Fields for multiple attribute types specified: ${[...names].join(', ')}`)
  }
  if (name === 'description' || name === 'imdsSupport' || name === 'launchPermission') return name
  throw unsupportedParameter(`Attribute=${name}`)
}

/** The name of an attribute as it is spelled, however a client writes it: Ansible's ec2_ami says "LaunchPermission" and "Description ". */
function spelled(attribute: string | undefined): string | undefined {
  const name = attribute?.trim()
  return IMAGE_ATTRIBUTE_NAMES.find((each) => each.toLowerCase() === name?.toLowerCase()) ?? name
}

function requestedPermissions(input: ModifyImageAttributeRequest): Permissions {
  const wanted: Permissions = {
    add: (input.LaunchPermission?.Add ?? []).map(granteeOf), remove: (input.LaunchPermission?.Remove ?? []).map(granteeOf),
  }
  const listed = [...(input.UserIds ?? []).map(checkUser), ...(input.UserGroups ?? []).map(checkGroup)]
  const operation = checkEnum('operationType', input.OperationType, ['add', 'remove'])
  if (listed.length > 0) {
    if (!operation) throw missingParameter('operationType')
    wanted[operation].push(...listed)
  }
  if (wanted.add.length + wanted.remove.length === 0) throw missingParameter('LaunchPermission')
  return wanted
}

function granteeOf(permission: LaunchPermission): string {
  refuseParameters(permission, ['OrganizationArn', 'OrganizationalUnitArn'])
  if (permission.Group) return checkGroup(permission.Group)
  return checkUser(permission.UserId ?? '')
}

function checkUser(userId: string): string {
  const account = userId.replaceAll('-', '')
  if (/^\d{12}$/.test(account)) return account
  throw invalidItem(userId, 'userId')
}

function checkGroup(group: string): string {
  if (group === EVERYBODY) return group
  throw invalidItem(group, 'group')
}

function invalidItem(value: string, type: string): ApiError {
  return new ApiError('InvalidAMIAttributeItemValue', `Invalid attribute item value "${value}" for ${type} item type.`)
}

async function changePermissions(context: Context, row: ImageTable, { add, remove }: Permissions): Promise<void> {
  const { db } = context
  if (row.state === 'disabled') throw unusable(row)
  if (add.includes(EVERYBODY)) await checkMayBePublic(context, row)
  for (const accountId of remove.filter((each) => each !== EVERYBODY)) {
    await db
      .deleteFrom('image_permissions').where('image_id', '=', row.image_id).where('account_id', '=', accountId).execute()
  }
  for (const accountId of new Set(add.filter((each) => each !== EVERYBODY))) {
    await db
      .insertInto('image_permissions').values({ image_id: row.image_id, account_id: accountId })
      .onConflict((conflict) => conflict.doNothing()).execute()
  }
  if (add.includes(EVERYBODY)) await setPublic(context, row.image_id, 1)
  else if (remove.includes(EVERYBODY)) await setPublic(context, row.image_id, 0)
}

async function checkMayBePublic(context: Context, row: ImageTable): Promise<void> {
  if (row.is_public === 1) return
  await checkNotBlocked(context)
  if (!mappingsOf(row).some(({ encrypted }) => encrypted)) return
  throw new ApiError('OperationNotPermitted', `The image '${row.image_id}' has encrypted volumes and can't be shared publicly.`)
}

async function setPublic({ db }: Context, imageId: string, isPublic: 0 | 1): Promise<void> {
  await db.updateTable('images').set({ is_public: isPublic }).where('image_id', '=', imageId).execute()
}

/** ResetImageAttribute: only the owner may launch the image again. */
export async function resetImageAttribute(context: Context, input: ResetImageAttributeRequest): Promise<void> {
  if (!checkEnum('attribute', input.Attribute, ['launchPermission'])) throw missingParameter('attribute')
  const row = await requireOwnImage(context, input.ImageId)
  checkUsable(row)
  await dropPermissions(context, row.image_id)
}

/** Nobody but its owner may launch the image any more. */
export async function dropPermissions(context: Context, imageId: string): Promise<void> {
  await context.db.deleteFrom('image_permissions').where('image_id', '=', imageId).execute()
  await setPublic(context, imageId, 0)
}

/**
 * CancelImageLaunchPermission: the account gives back what the owner of an image granted to it.
 *
 * @throws ApiError OperationNotPermitted for one that was never shared with it by name.
 */
export async function cancelImageLaunchPermission(
  context: Context,
  input: CancelImageLaunchPermissionRequest,
): Promise<CancelImageLaunchPermissionResult> {
  const row = await requireVisibleImage(context, input.ImageId)
  const gone = await context.db
    .deleteFrom('image_permissions').where('image_id', '=', row.image_id).where('account_id', '=', context.account)
    .executeTakeFirst()
  if (gone.numDeletedRows > 0n) return { Return: true }
  throw new ApiError('OperationNotPermitted', `The image '${row.image_id}' is not shared with the account ${context.account}.`)
}
