import { ApiError } from '../core/errors.ts'
import { isImageVisible } from '../model/visible.ts'
import { prepared } from '../store/prepared.ts'
import type { ImageTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'

type Caller = Pick<Context, 'db' | 'account'>

const visibleImage = prepared((db, imageId: string, account: string) =>
  db.selectFrom('images').selectAll().where('image_id', '=', imageId).where(isImageVisible(account)))

/**
 * The row of an image that the account may see.
 *
 * @throws ApiError MissingParameter, InvalidAMIID.Malformed, InvalidAMIID.NotFound.
 */
export async function requireVisibleImage(
  { db, account }: Caller,
  imageId: string | undefined,
): Promise<ImageTable> {
  if (!imageId) throw missingParameter('ImageId')
  checkIds(RESOURCE_KINDS.image, [imageId])
  const [row] = await visibleImage(db, imageId, account)
  if (!row) throw notFoundError(RESOURCE_KINDS.image, [imageId])
  return row
}

/**
 * The row of an image of the account's own, for what only its owner may do.
 *
 * @throws ApiError as `requireVisibleImage`; AuthFailure for one that it may only see and launch.
 */
export async function requireOwnImage(context: Caller, imageId: string | undefined): Promise<ImageTable> {
  const row = await requireVisibleImage(context, imageId)
  if (row.account_id === context.account) return row
  throw new ApiError('AuthFailure', `Not authorized for image:${row.image_id}`)
}

/**
 * The same for a change that needs the image whole.
 *
 * @throws ApiError InvalidAMIID.Unavailable for one that is pending or has failed.
 */
export async function requireWholeImage(context: Caller, imageId: string | undefined): Promise<ImageTable> {
  const row = await requireOwnImage(context, imageId)
  checkUsable(row)
  return row
}

/** @throws ApiError InvalidAMIID.Unavailable for an image that is pending or has failed. */
export function checkUsable(row: Pick<ImageTable, 'image_id' | 'state'>): void {
  if (row.state !== 'available' && row.state !== 'disabled') throw unusable(row)
}

/** EC2's error for an image in a state that does not allow what was asked. */
export function unusable({ image_id: id, state }: Pick<ImageTable, 'image_id' | 'state'>): ApiError {
  return new ApiError('InvalidAMIID.Unavailable', `The AMI ID '${id}' is currently ${state} and may not be used for this operation`)
}

/** Names of images, whose rule EC2's own message does not tell in full. */
const NAME = /^[A-Za-z0-9 ()[\]./\-'@_]{3,128}$/

/**
 * Checks the name of a new image: its form, and that no other image of the account has it.
 *
 * @throws ApiError InvalidAMIName.Malformed, InvalidAMIName.Duplicate.
 */
export async function checkImageName({ db, account }: Caller, name: string | undefined): Promise<string> {
  if (!name) throw missingParameter('Name')
  if (!NAME.test(name)) {
    throw new ApiError(
      'InvalidAMIName.Malformed',
      "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
    )
  }
  const same = await db
    .selectFrom('images').select('image_id')
    .where('account_id', '=', account).where('name', '=', name).where('binned_ms', 'is', null)
    .executeTakeFirst()
  if (same) throw new ApiError('InvalidAMIName.Duplicate', `AMI name ${name} is already in use by AMI ${same.image_id}`)
  return name
}
