import type { InstanceNetworkInterfaceSpecification, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { requestedAddresses, type AddressRequest } from './interface-addresses.ts'
import { checkDeviceIndex } from './interface-limits.ts'
import { unsupportedParameter } from './parameters.ts'

/** One interface as a launch asks for it. */
export interface InterfaceRequest {
  deviceIndex: number
  /** One that exists; null for a new one. */
  interfaceId: string | null
  subnetId: string | undefined
  groupIds: string[]
  description: string
  addresses: AddressRequest
  associatePublicIp: boolean | undefined
  deleteOnTermination: boolean | undefined
}

/** Parts of an interface that Hearth knows and does not honour. */
const REFUSED = [
  'Ipv6AddressCount', 'Ipv6Addresses', 'AssociateCarrierIpAddress', 'NetworkCardIndex', 'Ipv4Prefixes', 'Ipv4PrefixCount',
  'Ipv6Prefixes', 'Ipv6PrefixCount', 'PrimaryIpv6', 'EnaSrdSpecification', 'ConnectionTrackingSpecification', 'EnaQueueCount',
] as const satisfies readonly (keyof InstanceNetworkInterfaceSpecification)[]

/** What only a new interface can be told, with EC2's names for it. */
const OF_NEW_INTERFACES: readonly [keyof InstanceNetworkInterfaceSpecification, string][] = [
  ['SubnetId', 'a subnet'], ['Groups', 'security groups'], ['PrivateIpAddress', 'a private IP address'],
  ['PrivateIpAddresses', 'private IP addresses'], ['SecondaryPrivateIpAddressCount', 'a secondary private IP address count'],
  ['Description', 'a description'],
]

type LaunchInput = Pick<
  RunInstancesRequest, 'NetworkInterfaces' | 'SubnetId' | 'SecurityGroupIds' | 'SecurityGroups' | 'PrivateIpAddress'
>

/**
 * The interfaces of each instance of a launch, in the order of their device indexes; without any named
 * the one that every instance has.
 *
 * @throws ApiError InvalidParameterCombination, InvalidParameterValue, UnsupportedOperation.
 */
export function requestedInterfaces(input: LaunchInput): InterfaceRequest[] {
  const specifications = input.NetworkInterfaces ?? []
  if (specifications.length === 0) return [onlyInterface(input)]
  refuseBesideInterfaces(input)
  const requests = specifications.map(toRequest).toSorted((a, b) => a.deviceIndex - b.deviceIndex)
  if (new Set(requests.map((each) => each.deviceIndex)).size < requests.length) {
    throw new ApiError('InvalidParameterValue', 'Each network interface requires a unique device index.')
  }
  if (requests[0]?.deviceIndex !== 0) {
    throw new ApiError('InvalidParameterValue', 'When specifying network interfaces, you must include a device at index 0.')
  }
  if (requests.length > 1 && requests.some((each) => each.associatePublicIp === true)) {
    throw new ApiError(
      'InvalidParameterCombination',
      'The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.',
    )
  }
  checkEachOnce(requests)
  return requests
}

/** @throws ApiError InvalidParameterCombination, with EC2's sentences, for what each interface says itself. */
function refuseBesideInterfaces({ SubnetId: subnetId, SecurityGroupIds: ids, SecurityGroups: names, PrivateIpAddress: address }: LaunchInput): void {
  const what = subnetId ? 'subnet ID' : ids?.length || names?.length ? 'security groups' : address ? 'private IP address' : undefined
  if (what === undefined) return
  throw new ApiError(
    'InvalidParameterCombination', `Network interfaces and an instance-level ${what} may not be specified on the same request`)
}

function onlyInterface(input: LaunchInput): InterfaceRequest {
  return {
    deviceIndex: 0, interfaceId: null, subnetId: input.SubnetId || undefined, groupIds: input.SecurityGroupIds ?? [],
    description: '', addresses: requestedAddresses({ PrivateIpAddress: input.PrivateIpAddress }),
    associatePublicIp: undefined, deleteOnTermination: undefined,
  }
}

function toRequest(specification: InstanceNetworkInterfaceSpecification): InterfaceRequest {
  refuseSpecification(specification)
  const { DeviceIndex: index, NetworkInterfaceId: interfaceId } = specification
  if (index === undefined) throw new ApiError('InvalidParameterValue', 'Each network interface requires a device index.')
  if (interfaceId) checkExisting(specification)
  return {
    deviceIndex: checkDeviceIndex(index),
    interfaceId: interfaceId || null,
    subnetId: specification.SubnetId || undefined,
    groupIds: specification.Groups ?? [],
    description: specification.Description ?? '',
    addresses: requestedAddresses(specification),
    associatePublicIp: specification.AssociatePublicIpAddress,
    deleteOnTermination: specification.DeleteOnTermination,
  }
}

/** Numbers that are 0 ask for nothing. */
function refuseSpecification(specification: InstanceNetworkInterfaceSpecification): void {
  const type = specification.InterfaceType
  if (type && type !== 'interface') throw unsupportedParameter(`NetworkInterface.InterfaceType=${type}`)
  for (const name of REFUSED) {
    const value: unknown = specification[name]
    const isEmpty = value === undefined || value === false || value === 0 || (Array.isArray(value) && value.length === 0)
    if (!isEmpty) throw unsupportedParameter(`NetworkInterface.${name}`)
  }
}

/** @throws ApiError InvalidParameterCombination for what an interface that exists cannot be told. */
function checkExisting(specification: InstanceNetworkInterfaceSpecification): void {
  const combination = (sentence: string) => new ApiError('InvalidParameterCombination', sentence)
  for (const [name, what] of OF_NEW_INTERFACES) {
    const value: unknown = specification[name]
    const isEmpty = value === undefined || value === '' || value === 0 || (Array.isArray(value) && value.length === 0)
    if (!isEmpty) throw combination(`A network interface may not specify both a network interface ID and ${what}`)
  }
  if (specification.AssociatePublicIpAddress) {
    throw combination('The associatePublicIPAddress parameter cannot be specified for a network interface with an ID.')
  }
  if (specification.DeleteOnTermination) {
    throw combination('A network interface may not specify a network interface ID and delete on termination as true')
  }
}

function checkEachOnce(requests: readonly InterfaceRequest[]): void {
  const ids = requests.flatMap((each) => each.interfaceId ?? [])
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  if (twice !== undefined) throw new ApiError('InvalidNetworkInterface.InUse', `Interface: [${twice}] in use.`)
}
