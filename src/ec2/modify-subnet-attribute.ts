import type { AttributeBooleanValue, ModifySubnetAttributeRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { checkEnum, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { requireSubnet } from './subnet-lookup.ts'

/** Attributes that are off in every subnet: switching one off changes nothing, and none can be switched on. */
const ALWAYS_OFF = [
  'AssignIpv6AddressOnCreation', 'MapCustomerOwnedIpOnLaunch', 'EnableDns64', 'EnableResourceNameDnsARecordOnLaunch',
  'EnableResourceNameDnsAAAARecordOnLaunch',
] as const

/** ModifySubnetAttribute: one attribute a call; it counts for instances that are launched from now on. */
export async function modifySubnetAttribute(
  context: Context,
  input: ModifySubnetAttributeRequest,
): Promise<Record<string, never>> {
  const { db } = context
  const subnet = await requireSubnet(context, input.SubnetId)
  refuseParameters(input, ['CustomerOwnedIpv4Pool', 'EnableLniAtDeviceIndex', 'DisableLniAtDeviceIndex'])
  const flags = [input.MapPublicIpOnLaunch, ...ALWAYS_OFF.map((name): AttributeBooleanValue | undefined => input[name])]
  const hostnameType = checkEnum('privateDnsHostnameTypeOnLaunch', input.PrivateDnsHostnameTypeOnLaunch, ['ip-name', 'resource-name'])
  const given = flags.filter((flag) => flag?.Value !== undefined).length + (hostnameType === undefined ? 0 : 1)
  if (given === 0) throw missingParameter('mapPublicIpOnLaunch')
  if (given > 1) {
    throw new ApiError('InvalidParameterCombination', 'Fields for multiple attribute types specified; modify one at a time.')
  }
  const refused = ALWAYS_OFF.find((name) => input[name]?.Value === true)
  if (refused !== undefined) throw unsupportedParameter(refused)
  if (hostnameType === 'resource-name') throw unsupportedParameter('PrivateDnsHostnameTypeOnLaunch=resource-name')
  const mapPublicIp = input.MapPublicIpOnLaunch?.Value
  if (mapPublicIp !== undefined) {
    await db
      .updateTable('subnets').set({ map_public_ip: mapPublicIp ? 1 : 0 }).where('subnet_id', '=', subnet.subnet_id).execute()
  }
  return {}
}
