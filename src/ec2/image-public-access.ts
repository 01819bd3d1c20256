import type {
  DisableImageBlockPublicAccessResult, EnableImageBlockPublicAccessRequest, EnableImageBlockPublicAccessResult,
  GetImageBlockPublicAccessStateResult,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { accountSetting, setAccountSetting } from '../model/account-setting.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter } from './parameters.ts'

/** The setting of an account that says whether its images may be made public; without it they may. */
const SETTING = 'image.block-public-access'
const BLOCKED = 'block-new-sharing'

/** EnableImageBlockPublicAccess: no image of the account becomes public any more; those that are stay so. */
export async function enableImageBlockPublicAccess(
  { db, account }: Context,
  input: EnableImageBlockPublicAccessRequest,
): Promise<EnableImageBlockPublicAccessResult> {
  const state = checkEnum('ImageBlockPublicAccessState', input.ImageBlockPublicAccessState, [BLOCKED] as const)
  if (!state) throw missingParameter('ImageBlockPublicAccessState')
  await setAccountSetting(db, account, SETTING, state)
  return { ImageBlockPublicAccessState: state }
}

/** DisableImageBlockPublicAccess. */
export async function disableImageBlockPublicAccess({ db, account }: Context): Promise<DisableImageBlockPublicAccessResult> {
  await setAccountSetting(db, account, SETTING, null)
  return { ImageBlockPublicAccessState: 'unblocked' }
}

/** GetImageBlockPublicAccessState. Nobody but the account itself decides here. */
export async function getImageBlockPublicAccessState(context: Context): Promise<GetImageBlockPublicAccessStateResult> {
  return { ImageBlockPublicAccessState: (await isBlocked(context)) ? BLOCKED : 'unblocked', ManagedBy: 'account' }
}

/** @throws ApiError OperationNotPermitted where no image of the account may become public; the words are EC2's. */
export async function checkNotBlocked(context: Context): Promise<void> {
  if (!(await isBlocked(context))) return
  throw new ApiError(
    'OperationNotPermitted',
    "You can't publicly share this image because block public access for AMIs is enabled for this account. To publicly share " +
      'the image, you must call the DisableImageBlockPublicAccess API.',
  )
}

async function isBlocked({ db, account }: Context): Promise<boolean> {
  return (await accountSetting(db, account, SETTING)) !== undefined
}
