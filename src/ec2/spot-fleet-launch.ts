import type {
  FleetLaunchTemplateOverridesRequest, InstanceRequirementsRequest, RequestLaunchTemplateData, RunInstancesRequest, SpotFleetLaunchSpecification,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { FleetSource } from '../model/fleet-spec.ts'
import { checkRequirements } from './instance-requirements.ts'
import { checkEnum, refuseParameters, unsupportedParameter } from './parameters.ts'
import { checkRunInstances, requestedUserData } from './run-instances-input.ts'
import { parseTagSpecifications } from './tags.ts'

/**
 * Checks a launch specification as far as that goes without the database.
 *
 * @throws ApiError what RunInstances throws of the same parameters; InvalidParameterCombination.
 */
export function checkLaunchSpecification(specification: SpotFleetLaunchSpecification): void {
  refuseParameters(specification, ['AddressingType'])
  const { InstanceType: type, InstanceRequirements: requirements, Placement: placement, TagSpecifications: tags } = specification
  if (type && requirements) {
    throw new ApiError('InvalidParameterCombination', 'InstanceType and InstanceRequirements cannot be specified together.')
  }
  if (requirements) checkRequirements(requirements as InstanceRequirementsRequest)
  if (checkEnum('Placement.Tenancy', placement?.Tenancy, ['default', 'dedicated', 'host']) === 'host') {
    // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotPlacement.html
    throw new ApiError('InvalidParameterValue', 'The host tenancy is not supported for Spot Instances.')
  }
  if (placement?.AvailabilityZone && placement.AvailabilityZoneId) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify an Availability Zone or an Availability Zone ID, but not both.',
    )
  }
  if (specification.NetworkInterfaces?.length && (specification.SubnetId || specification.SecurityGroups?.length)) {
    const what = specification.SubnetId ? 'subnet ID' : 'security groups'
    throw new ApiError(
      'InvalidParameterCombination', `Network interfaces and an instance-level ${what} may not be specified on the same request`)
  }
  if (specification.NetworkInterfaces?.some((each) => each.InterfaceType?.startsWith('efa'))) {
    throw unsupportedParameter('NetworkInterfaces.InterfaceType=efa')
  }
  parseTagSpecifications(tags, ['instance'])
  const { RamDiskId: RamdiskId, ...rest } = dataOf(specification)
  checkRunInstances({ ...(rest as Partial<RunInstancesRequest>), RamdiskId, MinCount: 1, MaxCount: 1 })
  requestedUserData(specification)
}

/**
 * A launch specification as a source of a fleet: what its instances are launched with, and where, at which weight and price. Subnets
 * and zones are lists with commas: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotFleetLaunchSpecification.html
 */
export function specificationSource(specification: SpotFleetLaunchSpecification): FleetSource {
  const { Placement: placement = {}, NetworkInterfaces: [primary] = [], InstanceRequirements: requirements } = specification
  const override: FleetLaunchTemplateOverridesRequest = {
    InstanceType: specification.InstanceType || undefined, WeightedCapacity: specification.WeightedCapacity,
    MaxPrice: specification.SpotPrice || undefined, SubnetId: specification.SubnetId || primary?.SubnetId || undefined,
    AvailabilityZone: placement.AvailabilityZone || undefined, AvailabilityZoneId: placement.AvailabilityZoneId || undefined,
    // The same members, of a type of its own.
    InstanceRequirements: requirements as InstanceRequirementsRequest | undefined,
  }
  return { template: null, data: dataOf(specification), overrides: [present(override)] }
}

/** What its instances are launched with, but for what the override says. */
function dataOf(specification: SpotFleetLaunchSpecification): RequestLaunchTemplateData {
  const { SecurityGroups: groups = [], Placement: { GroupName: group, Tenancy: tenancy } = {} } = specification
  const placement = present({ GroupName: group || undefined, Tenancy: tenancy || undefined })
  const ids = groups.flatMap((each) => each.GroupId || [])
  const names = groups.flatMap((each) => (each.GroupId ? [] : each.GroupName || []))
  const { Enabled: monitored } = specification.Monitoring ?? {}
  return present({
    ImageId: specification.ImageId, KeyName: specification.KeyName, UserData: specification.UserData, KernelId: specification.KernelId,
    RamDiskId: specification.RamdiskId, EbsOptimized: specification.EbsOptimized, IamInstanceProfile: specification.IamInstanceProfile,
    BlockDeviceMappings: specification.BlockDeviceMappings, NetworkInterfaces: specification.NetworkInterfaces,
    TagSpecifications: specification.TagSpecifications, Monitoring: monitored === undefined ? undefined : { Enabled: monitored },
    SecurityGroupIds: ids.length > 0 ? ids : undefined, SecurityGroups: names.length > 0 ? names : undefined,
    Placement: Object.keys(placement).length > 0 ? placement : undefined,
  })
}

function present<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T
}
