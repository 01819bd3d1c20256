import type { InstanceNetworkInterfaceSpecification, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { prepared } from '../store/prepared.ts'
import type { SubnetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { unsupportedParameter } from './parameters.ts'

/** Where an instance is attached: decided once for all instances of a launch. */
export interface LaunchNetwork {
  subnet: SubnetTable
  groupIds: string[]
  assignPublicIp: boolean
  privateIp: string | null
  deleteOnTermination: boolean
  description: string
}

/** EC2's limit of groups on an interface. */
export const GROUP_LIMIT = 5

/** Finds subnet, groups and addresses of a launch, by its own parameters or those of its one interface. */
export async function requestedNetwork(context: Context, input: RunInstancesRequest): Promise<LaunchNetwork> {
  const nic = requestedInterface(input)
  const subnet = await findSubnet(context, nic?.SubnetId ?? input.SubnetId, input.Placement)
  const ids = [...(nic?.Groups ?? []), ...(input.SecurityGroupIds ?? [])]
  const groupIds = await findGroups(context, subnet, ids, input.SecurityGroups ?? [])
  return {
    subnet,
    groupIds,
    assignPublicIp: nic?.AssociatePublicIpAddress ?? subnet.map_public_ip === 1,
    privateIp: nic?.PrivateIpAddress || input.PrivateIpAddress || null,
    deleteOnTermination: nic?.DeleteOnTermination ?? true,
    description: nic?.Description ?? '',
  }
}

/** The zone that a launch names, itself or by its subnet; undefined when it leaves that to us. */
export async function launchZone(context: Context, input: RunInstancesRequest): Promise<string | undefined> {
  const subnetId = input.NetworkInterfaces?.[0]?.SubnetId || input.SubnetId
  if (!subnetId) return input.Placement?.AvailabilityZone || undefined
  return (await findSubnet(context, subnetId, input.Placement)).zone
}

function requestedInterface(input: RunInstancesRequest): InstanceNetworkInterfaceSpecification | undefined {
  const [nic, ...others] = input.NetworkInterfaces ?? []
  if (!nic) return undefined
  if (others.length > 0) throw unsupportedParameter('NetworkInterface.2 (several interfaces)')
  if ((nic.DeviceIndex ?? 0) !== 0) {
    throw new ApiError('InvalidParameterValue', 'The first network interface must have the device index 0')
  }
  for (const name of Object.keys(nic) as (keyof InstanceNetworkInterfaceSpecification)[]) {
    const isKnown = ['DeviceIndex', 'SubnetId', 'Groups', 'AssociatePublicIpAddress', 'PrivateIpAddress',
      'DeleteOnTermination', 'Description', 'NetworkCardIndex'].includes(name)
    const value: unknown = nic[name]
    if (!isKnown && value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0)) {
      throw unsupportedParameter(`NetworkInterface.${name}`)
    }
  }
  if (nic.NetworkCardIndex) throw unsupportedParameter('NetworkInterface.NetworkCardIndex')
  if (input.SubnetId || input.SecurityGroupIds?.length || input.SecurityGroups?.length || input.PrivateIpAddress) {
    throw new ApiError(
      'InvalidParameterCombination',
      'Network interfaces and an instance-level subnet ID, private IP address or security groups may not be specified on the same request',
    )
  }
  return nic
}

const defaultSubnets = prepared((db, account: string) =>
  db.selectFrom('subnets').selectAll().where('account_id', '=', account).where('default_for_az', '=', 1).orderBy('zone'))

async function findSubnet(
  { db, account, region }: Context,
  subnetId: string | undefined,
  placement: RunInstancesRequest['Placement'],
): Promise<SubnetTable> {
  const zone = placement?.AvailabilityZone || undefined
  if (placement?.AvailabilityZoneId) throw unsupportedParameter('Placement.AvailabilityZoneId')
  if (subnetId) {
    const subnet = await db
      .selectFrom('subnets').selectAll().where('account_id', '=', account).where('subnet_id', '=', subnetId).executeTakeFirst()
    if (!subnet) throw new ApiError('InvalidSubnetID.NotFound', `The subnet ID '${subnetId}' does not exist`)
    if (zone && subnet.zone !== zone) {
      throw new ApiError('InvalidParameterValue', `The subnet '${subnetId}' is not in the Availability Zone '${zone}'`)
    }
    return subnet
  }
  const defaults = await defaultSubnets(db, account)
  const found = zone ? defaults.find((subnet) => subnet.zone === zone) : defaults[0]
  if (found) return found
  if (zone && !zone.startsWith(region)) throw new ApiError('InvalidParameterValue', `Invalid availability zone: [${zone}]`)
  if (defaults.length > 0 && zone) throw new ApiError('InvalidParameterValue', `Invalid availability zone: [${zone}]`)
  throw new ApiError('MissingInput', 'No subnets found for the default VPC; name one with SubnetId.')
}

async function findGroups(
  { db, account }: Context,
  subnet: SubnetTable,
  ids: readonly string[],
  names: readonly string[],
): Promise<string[]> {
  const own = await db
    .selectFrom('security_groups').select(['group_id', 'name', 'name_key', 'vpc_id'])
    .where('account_id', '=', account).where((eb) => eb.or([
      eb('group_id', 'in', ids.length > 0 ? [...new Set(ids)] : ['']),
      eb.and([eb('vpc_id', '=', subnet.vpc_id), eb('name_key', 'in', ['default', ...names.map((name) => name.toLowerCase())])]),
    ]))
    .execute()
  const wanted = new Set<string>()
  for (const id of ids) {
    const group = own.find((each) => each.group_id === id)
    if (!group) throw new ApiError('InvalidGroup.NotFound', `The security group '${id}' does not exist`)
    if (group.vpc_id !== subnet.vpc_id) {
      throw new ApiError(
        'InvalidParameter',
        `Security group ${id} and subnet ${subnet.subnet_id} belong to different networks.`,
      )
    }
    wanted.add(id)
  }
  for (const name of names) {
    const group = own.find((each) => each.name_key === name.toLowerCase() && each.vpc_id === subnet.vpc_id)
    if (!group) {
      throw new ApiError('InvalidGroup.NotFound', `The security group '${name}' does not exist in default VPC '${subnet.vpc_id}'`)
    }
    wanted.add(group.group_id)
  }
  if (wanted.size === 0) {
    const group = own.find((each) => each.name_key === 'default' && each.vpc_id === subnet.vpc_id)
    if (!group) throw new Error(`${subnet.vpc_id} has no default security group`)
    wanted.add(group.group_id)
  }
  if (wanted.size > GROUP_LIMIT) {
    throw new ApiError('SecurityGroupsPerInterfaceLimitExceeded', `You have exceeded the maximum number of ${GROUP_LIMIT} security groups allowed per interface`)
  }
  return [...wanted]
}
