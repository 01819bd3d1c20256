import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { contains, parseCidr, parseIpv4 } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { zoneIdOf } from '../model/zone.ts'
import { prepared, preparedIn } from '../store/prepared.ts'
import type { InterfaceTable, SubnetTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { addressCount, isFixed, type AddressRequest } from './interface-addresses.ts'
import { checkAddressCount, checkInterfaceCount } from './interface-limits.ts'
import { notInZone, requireAvailableInterface, severalVpcs } from './interface-rows.ts'
import { requestedInterfaces, type InterfaceRequest } from './launch-interfaces.ts'
import { invalidValue } from './parameters.ts'
import { isDefaultVpc } from './security-group-lookup.ts'
import { requireSubnet } from './subnet-lookup.ts'

/** Where the instances of a launch are attached: decided once for all of them. */
export interface LaunchNetwork {
  /** Of the primary interface, and so of the instance. */
  subnet: SubnetTable
  /** In the order of their device indexes, the primary one first. */
  interfaces: LaunchInterface[]
  /** The zones that it may be in: several where the launch leaves that to us, each with a default subnet. */
  zones: string[]
  /** A subnet or an interface was named: it can be nowhere else. */
  isZoneFixed: boolean
  /** The default subnets of those zones, for `networkIn`. */
  subnets: readonly SubnetTable[]
}

/** One interface of each instance: a new one, or (for one instance only) one that is there. */
export interface LaunchInterface {
  deviceIndex: number
  deleteOnTermination: boolean
  existing: InterfaceTable | null
  subnet: SubnetTable
  groupIds: string[]
  description: string
  addresses: AddressRequest
  /** As it was asked for; undefined leaves it to the subnet. */
  associatePublicIp: boolean | undefined
  assignPublicIp: boolean
}

/** EC2's limit of groups on an interface. */
export const GROUP_LIMIT = 5

type LaunchInput = Pick<
  RunInstancesRequest,
  'NetworkInterfaces' | 'SubnetId' | 'Placement' | 'SecurityGroupIds' | 'SecurityGroups' | 'PrivateIpAddress' | 'MaxCount'
>

/**
 * Finds subnets, groups and addresses of a launch, by its own parameters or those of its interfaces.
 *
 * @throws ApiError for whatever of it EC2 would not launch: unknown ids, groups of another network,
 *   interfaces in use, limits of the type.
 */
export async function requestedNetwork(context: Context, input: LaunchInput, typeName: string): Promise<LaunchNetwork> {
  const requests = requestedInterfaces(input)
  checkInterfaceCount(typeName, requests.length)
  checkOneInstance(requests, input.MaxCount ?? 1)
  const names = input.SecurityGroups ?? []
  // What names no subnet is in one of these.
  const defaults = requests.every(namesItsPlace) ? [] : await defaultSubnets(context.db, context.account)
  const interfaces: LaunchInterface[] = []
  for (const request of requests) {
    interfaces.push(request.interfaceId === null
      ? await newInterface(context, request, { placement: input.Placement, defaults, names, isOnly: requests.length === 1 })
      : await existingInterface(context, request, request.interfaceId, typeName))
    checkAddressCount(typeName, addressCount(request.addresses))
  }
  const [primary] = interfaces
  if (!primary) throw new Error('a launch without interfaces')
  for (const { subnet } of interfaces) checkTogether(primary.subnet, subnet)
  checkZone(context, primary.subnet, input.Placement)
  const subnets = otherSubnets(context, input, requests, defaults)
  const zones = subnets.length > 0 ? subnets.map((each) => each.zone) : [primary.subnet.zone]
  return { subnet: primary.subnet, interfaces, zones, isZoneFixed: requests.some(namesItsPlace), subnets }
}

/** The default subnets, where a launch says nothing of where it is to be; those that have the addresses it asks for. */
function otherSubnets(
  context: Context,
  input: LaunchInput,
  requests: readonly InterfaceRequest[],
  defaults: readonly SubnetTable[],
): SubnetTable[] {
  if (placementZone(context, input.Placement) !== undefined) return []
  if (requests.some(namesItsPlace)) return []
  const addresses = requests.flatMap(({ addresses: { primary, secondary } }) => [primary ?? [], secondary].flat())
  return defaults.filter((subnet) => addresses.every((each) => isWithin(each, subnet.cidr)))
}

function namesItsPlace({ interfaceId, subnetId }: InterfaceRequest): boolean {
  return interfaceId !== null || Boolean(subnetId)
}

function isWithin(address: string, cidr: string): boolean {
  const block = parseCidr(cidr)
  const value = parseIpv4(address)
  return block !== undefined && value !== undefined && contains(block, value)
}

/** The same network in the zone that was chosen for it. */
export function networkIn(network: LaunchNetwork, zone: string | undefined): LaunchNetwork {
  const subnet = network.subnets.find((each) => each.zone === zone)
  if (!subnet) return network
  const isOnly = network.interfaces.length === 1
  return {
    ...network, subnet,
    interfaces: network.interfaces.map((each) => ({
      ...each, subnet, assignPublicIp: isOnly && (each.associatePublicIp ?? subnet.map_public_ip === 1),
    })),
  }
}

/** The zone that a launch names, itself or by its subnet or interface; undefined when it leaves that to us. */
export async function launchZone(context: Context, input: LaunchInput): Promise<string | undefined> {
  const [nic] = input.NetworkInterfaces ?? []
  if (nic?.NetworkInterfaceId) return (await requireAvailableInterface(context, nic.NetworkInterfaceId, 'any')).zone
  const subnetId = nic?.SubnetId || input.SubnetId
  if (!subnetId) return placementZone(context, input.Placement)
  return (await findSubnet(context, subnetId, { placement: input.Placement, defaults: [] })).zone
}

/** Interfaces that exist and addresses that are named can be had by one instance only. */
function checkOneInstance(requests: readonly InterfaceRequest[], maxCount: number): void {
  if (maxCount === 1) return
  if (requests.some((each) => each.interfaceId !== null)) {
    throw new ApiError('InvalidParameterCombination', 'A network interface can be given to one instance only; set MaxCount to 1.')
  }
  if (requests.some((each) => isFixed(each.addresses))) {
    throw new ApiError('InvalidParameterCombination', 'A private IP address can be given to one instance only; set MaxCount to 1.')
  }
}

async function newInterface(
  context: Context,
  request: InterfaceRequest,
  { placement, defaults, names, isOnly }: SubnetChoice & { names: readonly string[]; isOnly: boolean },
): Promise<LaunchInterface> {
  const subnet = await findSubnet(context, request.subnetId, { placement, defaults })
  if (names.length > 0 && !(await isDefaultVpc(context, subnet.vpc_id))) {
    throw new ApiError('InvalidParameterCombination', 'The parameter groupName cannot be used with the parameter subnet')
  }
  return {
    deviceIndex: request.deviceIndex,
    deleteOnTermination: request.deleteOnTermination ?? true,
    existing: null,
    subnet,
    groupIds: await findGroups(context, subnet, request.groupIds, names),
    description: request.description,
    addresses: request.addresses,
    associatePublicIp: request.associatePublicIp,
    // An instance with several interfaces gets no automatic address:
    // https://docs.aws.amazon.com/vpc/latest/userguide/vpc-ip-addressing.html
    assignPublicIp: isOnly && (request.associatePublicIp ?? subnet.map_public_ip === 1),
  }
}

async function existingInterface(
  context: Context,
  request: InterfaceRequest,
  interfaceId: string,
  typeName: string,
): Promise<LaunchInterface> {
  const { db } = context
  const existing = await requireAvailableInterface(context, interfaceId)
  const subnet = await db
    .selectFrom('subnets').selectAll().where('subnet_id', '=', existing.subnet_id).executeTakeFirstOrThrow()
  const secondary = await db
    .selectFrom('interface_addresses').select('private_ip').where('interface_id', '=', interfaceId).execute()
  checkAddressCount(typeName, 1 + secondary.length)
  return {
    deviceIndex: request.deviceIndex, deleteOnTermination: false, existing, subnet, groupIds: [], description: '',
    addresses: request.addresses, associatePublicIp: undefined, assignPublicIp: false,
  }
}

function checkTogether(primary: SubnetTable, other: SubnetTable): void {
  if (other.zone !== primary.zone) throw notInZone()
  if (other.vpc_id !== primary.vpc_id) throw severalVpcs()
}

/** An interface that exists decides the zone, with which what Placement says must agree. */
function checkZone(context: Context, subnet: SubnetTable, placement: LaunchInput['Placement']): void {
  const zone = placementZone(context, placement)
  if (zone === undefined || subnet.zone === zone) return
  throw new ApiError('InvalidParameterValue', `The subnet '${subnet.subnet_id}' is not in the Availability Zone '${zone}'`)
}

/** The zone that Placement names, by its name or its id. */
function placementZone({ zones }: Context, placement: LaunchInput['Placement']): string | undefined {
  const zoneId = placement?.AvailabilityZoneId || undefined
  const zone = placement?.AvailabilityZone || undefined
  if (zoneId === undefined) return zone
  if (zone !== undefined) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify an Availability Zone or an Availability Zone ID, but not both.',
    )
  }
  const found = zones.find((each) => zoneIdOf(each) === zoneId)
  if (found === undefined) throw invalidValue('Placement.AvailabilityZoneId', zoneId)
  return found
}

const defaultSubnets = prepared((db, account: string) =>
  db.selectFrom('subnets').selectAll().where('account_id', '=', account).where('default_for_az', '=', 1).orderBy('zone'))

/** What decides on a subnet where none is named. */
interface SubnetChoice {
  placement: LaunchInput['Placement']
  /** The default subnets of the account, by their zones. */
  defaults: readonly SubnetTable[]
}

async function findSubnet(
  context: Context,
  subnetId: string | undefined,
  { placement, defaults }: SubnetChoice,
): Promise<SubnetTable> {
  const zone = placementZone(context, placement)
  if (subnetId) {
    const subnet = await requireSubnet(context, subnetId)
    if (zone && subnet.zone !== zone) {
      throw new ApiError('InvalidParameterValue', `The subnet '${subnetId}' is not in the Availability Zone '${zone}'`)
    }
    return subnet
  }
  const found = zone ? defaults.find((subnet) => subnet.zone === zone) : defaults[0]
  if (found) return found
  if (zone && (defaults.length > 0 || !context.zones.includes(zone))) {
    throw new ApiError('InvalidParameterValue', `Invalid availability zone: [${zone}]`)
  }
  throw new ApiError('MissingInput', 'No subnets found for the default VPC; name one with SubnetId.')
}

const groupsOfIds = preparedIn((db, ids, account: string) =>
  db.selectFrom('security_groups').select(['group_id', 'name', 'name_key', 'vpc_id'])
    .where('account_id', '=', account).where('group_id', 'in', ids))
const groupsOfNames = preparedIn((db, names, account: string, vpcId: string) =>
  db.selectFrom('security_groups').select(['group_id', 'name', 'name_key', 'vpc_id'])
    .where('account_id', '=', account).where('vpc_id', '=', vpcId).where('name_key', 'in', names))

/**
 * The security groups of a new interface in the subnet, by ids and (in the default VPC) by names;
 * without any the default group of the VPC.
 *
 * @throws ApiError InvalidGroup.NotFound, InvalidParameter for groups of another VPC,
 *   SecurityGroupsPerInterfaceLimitExceeded.
 */
export async function findGroups(
  { db, account }: Context,
  subnet: SubnetTable,
  ids: readonly string[],
  names: readonly string[] = [],
): Promise<string[]> {
  const own = [
    ...(ids.length > 0 ? await groupsOfIds(db, ids, account) : []),
    ...await groupsOfNames(db, ['default', ...names.map((name) => name.toLowerCase())], account, subnet.vpc_id),
  ]
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
