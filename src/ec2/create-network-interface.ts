import type {
  CreateNetworkInterfaceRequest, CreateNetworkInterfaceResult, DeleteNetworkInterfaceRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { removeInterface } from '../model/free-interface.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { addressCount, requestedAddresses } from './interface-addresses.ts'
import { checkAddressCount } from './interface-limits.ts'
import { isAvailable, requireInterface } from './interface-rows.ts'
import { findGroups } from './launch-network.ts'
import { loadNetworkInterfaces } from './network-interfaces.ts'
import { insertInterface } from './new-interface.ts'
import { checkEnum, checkId, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { requireSubnet } from './subnet-lookup.ts'
import { parseTagSpecifications } from './tags.ts'

/** EC2's limit of a description. */
const MAX_DESCRIPTION_LENGTH = 255

/**
 * CreateNetworkInterface: in a subnet, for nobody yet. Without groups it is in the default one of its VPC.
 *
 * @throws ApiError InvalidSubnetID.NotFound, those of groups and addresses, IdempotentParameterMismatch.
 */
export async function createNetworkInterface(
  context: Context,
  input: CreateNetworkInterfaceRequest,
): Promise<CreateNetworkInterfaceResult> {
  checkCreate(input)
  const interfaceId = newId(context.random, 'eni')
  const earlier = await claimToken(context, 'CreateNetworkInterface', input, interfaceId)
  if (earlier) return answer(context, input, earlier)
  if (!input.SubnetId) throw missingParameter('subnetId')
  checkId('subnet', input.SubnetId, 'InvalidSubnetID.Malformed')
  const tags = parseTagSpecifications(input.TagSpecifications, ['network-interface']).get('network-interface') ?? []
  const addresses = requestedAddresses(input)
  checkAddressCount(undefined, addressCount(addresses))
  const subnet = await requireSubnet(context, input.SubnetId)
  const groupIds = await findGroups(context, subnet, input.Groups ?? [])
  await insertInterface(context, interfaceId, { subnet, groupIds, description: input.Description ?? '', addresses }, { tags })
  return answer(context, input, interfaceId)
}

function checkCreate(input: CreateNetworkInterfaceRequest): void {
  const type = checkEnum('interfaceType', input.InterfaceType, ['interface', 'efa', 'efa-only', 'branch', 'trunk'])
  if (type !== undefined && type !== 'interface') throw unsupportedParameter(`InterfaceType=${type}`)
  refuseParameters(input, [
    'Ipv4Prefixes', 'Ipv6Prefixes', 'Ipv6Addresses', 'EnablePrimaryIpv6', 'ConnectionTrackingSpecification', 'Operator',
  ])
  for (const name of ['Ipv4PrefixCount', 'Ipv6PrefixCount', 'Ipv6AddressCount'] as const) {
    if (input[name]) throw unsupportedParameter(name)
  }
  if ([...(input.Description ?? '')].length > MAX_DESCRIPTION_LENGTH) {
    throw new ApiError('InvalidParameterValue', `A description may have at most ${MAX_DESCRIPTION_LENGTH} characters.`)
  }
}

async function answer(
  { db, region }: Context,
  { ClientToken: token }: CreateNetworkInterfaceRequest,
  interfaceId: string,
): Promise<CreateNetworkInterfaceResult> {
  const row = await db.selectFrom('interfaces').selectAll().where('interface_id', '=', interfaceId).executeTakeFirstOrThrow()
  const [created] = await loadNetworkInterfaces(db, region, [row])
  return { NetworkInterface: created, ClientToken: token || undefined }
}

/**
 * DeleteNetworkInterface: of one that nothing has; its Elastic IPs stay allocated.
 *
 * @throws ApiError InvalidParameterValue for one that is in use, as EC2 has it here.
 */
export async function deleteNetworkInterface(context: Context, input: DeleteNetworkInterfaceRequest): Promise<void> {
  const row = await requireInterface(context, input.NetworkInterfaceId)
  if (!isAvailable(row)) {
    throw new ApiError('InvalidParameterValue', `Network interface '${row.interface_id}' is currently in use.`)
  }
  await removeInterface(context, row)
}
