import type {
  GetInstanceProfileRequest, GetInstanceProfileResponse, ListInstanceProfilesRequest, ListInstanceProfilesResponse,
} from '@aws-sdk/client-iam'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { Constraints } from '../protocol/constraints.ts'

/**
 * GetInstanceProfile: there is none. Ansible and Packer look up the profile that an instance is to have.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetInstanceProfile.html
 */
export async function getInstanceProfile(_: Context, input: GetInstanceProfileRequest): Promise<GetInstanceProfileResponse> {
  const { InstanceProfileName: name = '' } = input
  new Constraints().text('instanceProfileName', name, { min: 1, max: 128, pattern: '[\\w+=,.@-]+' }).done('ValidationError')
  throw new ApiError('NoSuchEntity', `Instance Profile ${name} cannot be found.`, 404)
}

/** ListInstanceProfiles: none. */
export async function listInstanceProfiles(_: Context, input: ListInstanceProfilesRequest): Promise<ListInstanceProfilesResponse> {
  new Constraints()
    .text('pathPrefix', input.PathPrefix, { min: 1, max: 512, pattern: '\\u002F[\\u0021-\\u007F]*' })
    .range('maxItems', input.MaxItems, 1, 1000)
    .done('ValidationError')
  refuseMarker(input.Marker)
  return { InstanceProfiles: [], IsTruncated: false }
}

/** A list without pages gives no marker, so every one is made up. */
export function refuseMarker(marker: string | undefined): void {
  if (marker !== undefined) throw new ApiError('ValidationError', 'Invalid Marker.')
}
