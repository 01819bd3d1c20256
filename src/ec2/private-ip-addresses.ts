import type {
  AssignPrivateIpAddressesRequest, AssignPrivateIpAddressesResult, UnassignPrivateIpAddressesRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { checkPrivateAddress } from '../model/address.ts'
import { associate, disassociate, elasticIpsOf } from '../model/elastic-ip.ts'
import type { InterfaceTable, SubnetTable } from '../store/schema.ts'
import { countAddresses } from './attach-network-interface.ts'
import { giveAutomaticAddress } from './automatic-address.ts'
import { enqueueChangedPort } from './changed-ports.ts'
import type { Context } from './context.ts'
import { addressesAndCount, addSecondaryAddresses } from './interface-addresses.ts'
import { checkAddressCount } from './interface-limits.ts'
import { managedInterface, requireOwnInterface } from './interface-rows.ts'
import { invalidValue, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'

/**
 * AssignPrivateIpAddresses: secondary addresses of the subnet, those named or a number of any. With
 * AllowReassignment one that another interface has as a secondary address moves, its Elastic IP with it.
 *
 * @throws ApiError PrivateIpAddressLimitExceeded, Resource.AlreadyAssigned, InsufficientFreeAddressesInSubnet.
 */
export async function assignPrivateIpAddresses(
  context: Context,
  input: AssignPrivateIpAddressesRequest,
): Promise<AssignPrivateIpAddressesResult> {
  refuseParameters(input, ['Ipv4Prefixes'])
  if (input.Ipv4PrefixCount) throw unsupportedParameter('Ipv4PrefixCount')
  const named = [...new Set(input.PrivateIpAddresses ?? [])]
  const count = input.SecondaryPrivateIpAddressCount
  if (named.length > 0 && count !== undefined) throw addressesAndCount()
  if (named.length === 0 && count === undefined) throw missingParameter('privateIpAddresses or secondaryPrivateIpAddressCount')
  if (count !== undefined && count < 1) throw invalidValue('secondaryPrivateIpAddressCount', count, 'It must be at least 1.')
  const { db } = context
  const row = await requireOwnInterface(context, input.NetworkInterfaceId)
  const subnet = await db.selectFrom('subnets').selectAll().where('subnet_id', '=', row.subnet_id).executeTakeFirstOrThrow()
  const own = await db
    .selectFrom('interface_addresses').select('private_ip').where('interface_id', '=', row.interface_id).execute()
  const isOwn = new Set(own.map((each) => each.private_ip))
  const missing = named.filter((address) => !isOwn.has(address))
  await checkLimit(context, row, missing.length + (count ?? 0))
  const secondary: string[] = []
  for (const address of missing) {
    const holder = await holderOf(context, subnet, address)
    if (!holder) secondary.push(address)
    else if (input.AllowReassignment) await moveAddress(context, address, holder, row)
    else throw alreadyAssigned(address)
  }
  const given = await addSecondaryAddresses(
    context, { interfaceId: row.interface_id, subnet }, { secondary, secondaryCount: count ?? 0 }, { asker: 'interface', except: [] })
  await enqueueChangedPort(context, row)
  return {
    NetworkInterfaceId: row.interface_id,
    AssignedPrivateIpAddresses: (named.length > 0 ? named : given).map((address) => ({ PrivateIpAddress: address })),
  }
}

async function checkLimit(context: Context, row: InterfaceTable, more: number): Promise<void> {
  const instance = row.instance_id === null ? undefined : await context.db
    .selectFrom('instances').select('instance_type').where('instance_id', '=', row.instance_id).executeTakeFirstOrThrow()
  checkAddressCount(instance?.instance_type, (await countAddresses(context, row)) + more)
}

/** The interface that has the address as a secondary one; undefined when nobody has it. */
async function holderOf(
  { db, account }: Context,
  subnet: SubnetTable,
  address: string,
): Promise<InterfaceTable | undefined> {
  checkPrivateAddress(subnet, address)
  const primary = await db
    .selectFrom('interfaces').select('interface_id')
    .where('vpc_id', '=', subnet.vpc_id).where('private_ip', '=', address).executeTakeFirst()
  // Nobody's primary address can be taken away.
  if (primary) throw alreadyAssigned(address)
  const found = await db
    .selectFrom('interface_addresses').select('interface_id')
    .where('vpc_id', '=', subnet.vpc_id).where('private_ip', '=', address).executeTakeFirst()
  if (!found) return undefined
  const holder = await db
    .selectFrom('interfaces').selectAll()
    .where('account_id', '=', account).where('interface_id', '=', found.interface_id).executeTakeFirstOrThrow()
  if (holder.requester_id !== null) throw managedInterface()
  return holder
}

function alreadyAssigned(address: string): ApiError {
  return new ApiError('Resource.AlreadyAssigned', `The private IP address ${address} is already assigned to a resource.`)
}

async function moveAddress(context: Context, address: string, from: InterfaceTable, to: InterfaceTable): Promise<void> {
  const { db, nowMs } = context
  const elastic = (await elasticIpsOf(db, from.interface_id)).find((each) => each.private_ip === address)
  if (elastic) await disassociate(db, elastic)
  await db
    .updateTable('interface_addresses').set({ interface_id: to.interface_id, created_ms: nowMs })
    .where('interface_id', '=', from.interface_id).where('private_ip', '=', address).execute()
  if (elastic) await associate(db, elastic, { row: to, privateIp: address, associationId: elastic.association_id })
  await enqueueChangedPort(context, from)
}

/**
 * UnassignPrivateIpAddresses: all of them or none; an Elastic IP of one is free then.
 *
 * @throws ApiError InvalidParameterValue for an address that the interface has not, or has as its primary one.
 */
export async function unassignPrivateIpAddresses(
  context: Context,
  input: UnassignPrivateIpAddressesRequest,
): Promise<void> {
  refuseParameters(input, ['Ipv4Prefixes'])
  const named = [...new Set(input.PrivateIpAddresses ?? [])]
  if (named.length === 0) throw missingParameter('privateIpAddresses')
  const { db } = context
  const row = await requireOwnInterface(context, input.NetworkInterfaceId)
  if (named.includes(row.private_ip)) {
    throw invalidValue('privateIpAddress', row.private_ip, 'The primary IP address of an interface cannot be unassigned.')
  }
  const own = await db
    .selectFrom('interface_addresses').select('private_ip').where('interface_id', '=', row.interface_id).execute()
  if (named.some((address) => !own.some((each) => each.private_ip === address))) {
    throw new ApiError('InvalidParameterValue', `Some of the specified addresses are not assigned to interface ${row.interface_id}`)
  }
  const elastic = (await elasticIpsOf(db, row.interface_id)).filter((each) => named.includes(each.private_ip))
  for (const each of elastic) await disassociate(db, each)
  await db
    .deleteFrom('interface_addresses').where('interface_id', '=', row.interface_id).where('private_ip', 'in', named).execute()
  if (elastic.length > 0 && row.instance_id !== null && row.wanted === 1) await giveAutomaticAddress(context, row.instance_id)
  await enqueueChangedPort(context, row)
}
