import type { RequestLaunchTemplateData } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { missingParameter } from './parameters.ts'

/**
 * The data of a new version as far as EC2 checks it before it is used: that there is any, and that it does not say both by which
 * type and by which attributes of types.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html
 *
 * @throws ApiError MissingParameter, InvalidParameterCombination.
 */
export function checkTemplateData(data: RequestLaunchTemplateData | undefined): RequestLaunchTemplateData {
  if (!data) throw missingParameter('LaunchTemplateData')
  if (data.InstanceType && data.InstanceRequirements) {
    throw new ApiError('InvalidParameterCombination', 'InstanceType and InstanceRequirements cannot be specified together.')
  }
  return data
}

/**
 * The data of a version that is based on another: member by member what is said, else what the other says. Snapshots of its block
 * devices do not pass on, and a type takes the place of attributes of types as these do of a type.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
 */
export function basedOn(source: RequestLaunchTemplateData, own: RequestLaunchTemplateData): RequestLaunchTemplateData {
  const { InstanceType: type, InstanceRequirements: requirements, BlockDeviceMappings: mappings, ...rest } = source
  return {
    ...rest,
    ...(type && !own.InstanceRequirements ? { InstanceType: type } : {}),
    ...(requirements && !own.InstanceType ? { InstanceRequirements: requirements } : {}),
    ...(mappings ? { BlockDeviceMappings: mappings.map(withoutSnapshot) } : {}),
    ...own,
  }
}

type Mapping = NonNullable<RequestLaunchTemplateData['BlockDeviceMappings']>[number]

function withoutSnapshot({ Ebs: ebs, ...rest }: Mapping): Mapping {
  if (!ebs) return rest
  const { SnapshotId: _snapshot, ...others } = ebs
  return { ...rest, Ebs: others }
}
