import type { SpotFleetLaunchSpecification, SpotFleetRequestConfigData } from '@aws-sdk/client-ec2'
import { describe, expect, it } from 'vitest'
import { NOW_MS } from '../../test/support/rows.ts'
import { ApiError } from '../core/errors.ts'
import { checkSpotFleet } from './spot-fleet-input.ts'
import { specificationSource } from './spot-fleet-launch.ts'

const specification: SpotFleetLaunchSpecification = { ImageId: 'ami-00000000000000001', InstanceType: 't3.micro' }
const template = { LaunchTemplateSpecification: { LaunchTemplateName: 'web', Version: '1' } }
const asked: SpotFleetRequestConfigData = {
  IamFleetRole: 'arn:aws:iam::000000000000:role/aws-ec2-spot-fleet-tagging-role', TargetCapacity: 2, LaunchSpecifications: [specification],
}
const ofTemplates = { LaunchSpecifications: [], LaunchTemplateConfigs: [template] }

const check = (change: Partial<SpotFleetRequestConfigData> = {}) => checkSpotFleet({ ...asked, ...change }, NOW_MS)
/** "Code: message" of what a request with that change is refused with. */
const refusal = (change: Partial<SpotFleetRequestConfigData>): string => {
  try {
    check(change)
  } catch (error) {
    if (error instanceof ApiError) return `${error.code}: ${error.message}`
  }
  return 'none'
}
const ofSpecification = (change: Partial<SpotFleetLaunchSpecification>) => refusal({ LaunchSpecifications: [{ ...specification, ...change }] })

describe('a Spot Fleet request', () => {
  it('is maintained, at the lowest price, and terminates what is too much, unless it says otherwise', () => {
    expect(check()).toMatchObject({
      type: 'maintain', target: 2, onDemandTarget: 0, unitType: 'units', strategy: 'lowestPrice', onDemandStrategy: 'lowestPrice', poolsToUse: 1,
      terminatesExcess: true, behavior: 'terminate', replaceUnhealthy: false, terminateAtEnd: false, maxUnitMicroUsd: null, validUntilMs: null,
    })
  })

  it('names a role by its ARN', () => {
    expect(refusal({ IamFleetRole: 'spot-fleet' })).toBe('InvalidSpotFleetRequestConfig: Parameter: SpotFleetRequestConfig.IamFleetRole is invalid.')
    expect(refusal({ IamFleetRole: '' })).toMatch(/^MissingParameter/)
    expect(refusal({ IamFleetRole: 'arn:aws:iam::000000000000:role/aws-service-role/spotfleet.amazonaws.com/AWSServiceRoleForEC2SpotFleet' })).toBe('none')
  })

  it('is never of type instant', () => {
    expect(refusal({ Type: 'instant' })).toMatch(/^InvalidSpotFleetRequestConfig.*Type/)
    expect(refusal({ Type: 'sometimes' as 'instant' })).toMatch(/^InvalidParameterValue/)
  })

  it('launches either from specifications or from templates', () => {
    expect(check(ofTemplates).templates).toEqual([template])
    expect(refusal({ LaunchTemplateConfigs: [template] })).toMatch(/^InvalidSpotFleetRequestConfig.*together/)
    expect(refusal({ LaunchSpecifications: [] })).toMatch(/^InvalidSpotFleetRequestConfig: Either/)
    expect(refusal({ LaunchSpecifications: Array.from({ length: 51 }, () => specification) })).toMatch(/at most 50/)
  })

  it('has a target that may be 0 only where it is maintained', () => {
    expect(refusal({ TargetCapacity: 0 })).toBe('none')
    expect(refusal({ TargetCapacity: 0, Type: 'request' })).toMatch(/TargetCapacity is invalid/)
    for (const target of [-1, 1.5, 10_001]) expect(refusal({ TargetCapacity: target })).toMatch(/between 0 and 10000/)
  })

  it('has instances on demand of templates only, and no more than all of it', () => {
    expect(refusal({ OnDemandTargetCapacity: 1 })).toMatch(/LaunchTemplateConfigs must be used/)
    expect(check({ ...ofTemplates, OnDemandTargetCapacity: 1 })).toMatchObject({ target: 2, onDemandTarget: 1 })
    expect(refusal({ ...ofTemplates, OnDemandTargetCapacity: 3 })).toMatch(/cannot be greater than TargetCapacity/)
  })

  it('knows its strategies, two of them with conditions', () => {
    for (const each of ['diversified', 'capacityOptimized', 'priceCapacityOptimized'] as const) expect(refusal({ AllocationStrategy: each })).toBe('none')
    expect(refusal({ AllocationStrategy: 'capacityOptimizedPrioritized' })).toMatch(/only with LaunchTemplateConfigs/)
    expect(check({ InstancePoolsToUseCount: 3 }).poolsToUse).toBe(3)
    expect(refusal({ InstancePoolsToUseCount: 3, AllocationStrategy: 'diversified' })).toMatch(/only with the lowestPrice/)
    expect(refusal({ InstancePoolsToUseCount: 0 })).toMatch(/at least 1/)
  })

  it('offers prices in dollars for one unit and hour', () => {
    expect(check({ SpotPrice: '0.0123', SpotMaxTotalPrice: '1', OnDemandMaxTotalPrice: '.5' }))
      .toMatchObject({ maxUnitMicroUsd: 12_300, spotMaxTotalMicroUsd: 1_000_000, onDemandMaxTotalMicroUsd: 500_000 })
    for (const price of ['0', '-1', 'cheap', '1e3', '0.0001']) expect(refusal({ SpotPrice: price })).toMatch(/SpotPrice is invalid/)
  })

  it('keeps to what only maintained fleets do', () => {
    const rebalance = (CapacityRebalance: object) => ({ SpotMaintenanceStrategies: { CapacityRebalance } })
    expect(refusal({ Type: 'request', ExcessCapacityTerminationPolicy: 'noTermination' })).toMatch(/only for fleets of type maintain/)
    expect(refusal({ Type: 'request', ExcessCapacityTerminationPolicy: 'default' })).toBe('none')
    expect(refusal({ Type: 'request', ReplaceUnhealthyInstances: true })).toMatch(/only for fleets of type maintain/)
    expect(refusal({ Type: 'request', ...rebalance({ ReplacementStrategy: 'launch' }) }))
      .toBe('InvalidSpotFleetConfig: SpotMaintenanceStrategies option is only available with the spot fleet type maintain.')
    expect(refusal(rebalance({ ReplacementStrategy: 'launch', TerminationDelay: 120 }))).toMatch(/TerminationDelay is invalid/)
    expect(refusal(rebalance({ ReplacementStrategy: 'launch-before-terminate' }))).toMatch(/^MissingParameter/)
    expect(refusal(rebalance({ ReplacementStrategy: 'launch-before-terminate', TerminationDelay: 119 }))).toMatch(/between 120 and 7200/)
    expect(refusal(rebalance({ ReplacementStrategy: 'launch-before-terminate', TerminationDelay: 120 }))).toBe('none')
  })

  it('ends in the future, and after it begins', () => {
    const at = (ms: number) => new Date(NOW_MS + ms)
    expect(check({ ValidFrom: at(1000), ValidUntil: at(2000) })).toMatchObject({ validFromMs: NOW_MS + 1000, validUntilMs: NOW_MS + 2000 })
    expect(refusal({ ValidUntil: at(0) })).toMatch(/in the future/)
    expect(refusal({ ValidFrom: at(2000), ValidUntil: at(1000) })).toMatch(/after ValidFrom/)
  })

  it('is refused with what cannot be honoured', () => {
    const balancers = { TargetGroupsConfig: { TargetGroups: [{ Arn: 'arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/a/1' }] } }
    expect(refusal({ LoadBalancersConfig: balancers })).toMatch(/^UnsupportedOperation.*LoadBalancersConfig/)
    expect(refusal({ FulfilledCapacity: 1 })).toMatch(/FulfilledCapacity is invalid/)
    expect(ofSpecification({ AddressingType: 'public' })).toMatch(/^UnsupportedOperation/)
    expect(ofSpecification({ IamInstanceProfile: { Name: 'web' } })).toMatch(/^UnsupportedOperation.*IamInstanceProfile/)
    expect(ofSpecification({ IamInstanceProfile: { Name: '' } })).toBe('none')
    expect(ofSpecification({ KernelId: 'aki-1' })).toMatch(/^UnsupportedOperation/)
  })
})

describe('a launch specification', () => {
  it('is refused where RunInstances would refuse it', () => {
    expect(ofSpecification({ ImageId: undefined })).toMatch(/^MissingParameter/)
    expect(ofSpecification({ UserData: 'not base64!' })).toMatch(/Invalid BASE64/)
    expect(ofSpecification({ WeightedCapacity: 0 })).toMatch(/WeightedCapacity is invalid/)
    expect(ofSpecification({ Placement: { Tenancy: 'host' } })).toMatch(/host tenancy/)
    expect(ofSpecification({ SubnetId: 'subnet-1', NetworkInterfaces: [{ DeviceIndex: 0 }] }))
      .toBe('InvalidParameterCombination: Network interfaces and an instance-level subnet ID may not be specified on the same request')
    expect(ofSpecification({ TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'a' }] }] })).toMatch(/not a valid taggable resource type/)
  })

  it('becomes what its instances are launched with, and an override with their places, weight and price', () => {
    const { template: none, data, overrides } = specificationSource({
      ...specification, SecurityGroups: [{ GroupId: 'sg-1' }, { GroupName: 'web' }], Placement: { AvailabilityZone: 'us-east-1a, us-east-1b', Tenancy: 'dedicated' },
      WeightedCapacity: 2, SpotPrice: '0.01', Monitoring: { Enabled: true },
    })
    expect(none).toBeNull()
    expect(data).toEqual({
      ImageId: specification.ImageId, SecurityGroupIds: ['sg-1'], SecurityGroups: ['web'], Placement: { Tenancy: 'dedicated' }, Monitoring: { Enabled: true },
    })
    expect(overrides).toEqual([{ InstanceType: 't3.micro', WeightedCapacity: 2, MaxPrice: '0.01', AvailabilityZone: 'us-east-1a, us-east-1b' }])
  })

  it('has the subnet of its interface as its place', () => {
    const { overrides } = specificationSource({ ...specification, SubnetId: '', NetworkInterfaces: [{ DeviceIndex: 0, SubnetId: 'subnet-1' }] })
    expect(overrides).toEqual([{ InstanceType: 't3.micro', SubnetId: 'subnet-1' }])
  })
})
