import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { findParameter, localImages } from './parameter.ts'

const PREFIX = 'resolve:ssm:'

/**
 * The AMI that an ImageId of RunInstances or of a launch template means: "resolve:ssm:NAME" with
 * NAME as in GetParameter, selector included, is the value of that parameter; any other id is itself.
 *
 * @throws ApiError InvalidParameterValue where there is no such parameter.
 */
export async function resolveImageId(
  context: Pick<Context, 'db' | 'region' | 'remark'>,
  imageId: string,
): Promise<string> {
  if (!imageId.startsWith(PREFIX)) return imageId
  try {
    return findParameter(context, await localImages(context), imageId.slice(PREFIX.length)).Value ?? ''
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    const message = `Value (${imageId}) for parameter imageId is invalid. ${error.message}`
    throw new ApiError('InvalidParameterValue', message)
  }
}
