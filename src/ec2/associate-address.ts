import type { AssociateAddressRequest, AssociateAddressResult, DisassociateAddressRequest } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import {
  associate, disassociate, elasticIpsOf, isAssociated, type AssociatedAddress,
} from '../model/elastic-ip.ts'
import type { InstanceTable, InterfaceTable } from '../store/schema.ts'
import { requireAddress } from './address-rows.ts'
import { giveAutomaticAddress } from './automatic-address.ts'
import { enqueueChangedPort } from './changed-ports.ts'
import type { Context } from './context.ts'
import { requireOneInterface } from './instance-groups.ts'
import { incorrectState, requireInstance } from './instance-rows.ts'
import { managedInterface, requireOwnInterface } from './interface-rows.ts'
import { missingParameter } from './parameters.ts'

/**
 * AssociateAddress: an Elastic IP for a private address of an instance or an interface, the primary one
 * unless another is named. It takes the place of an automatic address, of another Elastic IP, and is
 * taken from where it was, unless AllowReassociation is false. Again for the same is the same.
 *
 * @throws ApiError Resource.AlreadyAssociated, Gateway.NotAttached, IncorrectInstanceState.
 */
export async function associateAddress(context: Context, input: AssociateAddressRequest): Promise<AssociateAddressResult> {
  const { db, random } = context
  const address = await requireAddress(context, input)
  const row = await targetInterface(context, input)
  const privateIp = await targetAddress(context, row, input.PrivateIpAddress)
  await requireInternetGateway(context, row.vpc_id)
  const present = (await elasticIpsOf(db, row.interface_id)).find((each) => each.private_ip === privateIp)
  if (present?.allocation_id === address.allocation_id) return { AssociationId: present.association_id }
  const mayTake = input.AllowReassociation !== false
  if (isAssociated(address)) {
    if (!mayTake) throw alreadyAssociated(address.allocation_id, address)
    await takeAddress(context, address, row)
  }
  if (present) {
    if (!mayTake) throw alreadyAssociated(row.interface_id, present)
    await disassociate(db, present)
  }
  const associationId = newId(random, 'eipassoc')
  await associate(db, address, { row, privateIp, associationId })
  await enqueueChangedPort(context, row)
  return { AssociationId: associationId }
}

function alreadyAssociated(what: string, { association_id: associationId }: AssociatedAddress): ApiError {
  return new ApiError('Resource.AlreadyAssociated', `resource ${what} is already associated with associate-id ${associationId}`)
}

/** The interface that the call names, itself or by its instance, which must be up or stopped. */
async function targetInterface(context: Context, input: AssociateAddressRequest): Promise<InterfaceTable> {
  const { InstanceId: instanceId, NetworkInterfaceId: interfaceId } = input
  if (instanceId && interfaceId) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify an instance ID or a network interface ID, but not both in the same call',
    )
  }
  if (instanceId) {
    requireSettled(await requireInstance(context, instanceId))
    return requireOneInterface(context.db, instanceId)
  }
  if (!interfaceId) throw missingParameter('instanceId or networkInterfaceId')
  const row = await requireOwnInterface(context, interfaceId)
  if (row.instance_id !== null) requireSettled(await requireInstance(context, row.instance_id))
  return row
}

function requireSettled({ instance_id: id, state }: InstanceTable): void {
  if (state === 'running' || state === 'stopping' || state === 'stopped') return
  throw incorrectState(`The ${state} instance '${id}' is not in a valid state for this operation.`)
}

async function targetAddress({ db }: Context, row: InterfaceTable, privateIp: string | undefined): Promise<string> {
  if (!privateIp || privateIp === row.private_ip) return row.private_ip
  const secondary = await db
    .selectFrom('interface_addresses').select('private_ip')
    .where('interface_id', '=', row.interface_id).where('private_ip', '=', privateIp).executeTakeFirst()
  if (secondary) return privateIp
  throw new ApiError(
    'InvalidParameterValue', `The private IP address '${privateIp}' is not assigned to interface '${row.interface_id}'`,
  )
}

/**
 * A public address means nothing without a gateway to the public.
 *
 * @throws ApiError Gateway.NotAttached.
 */
async function requireInternetGateway({ db }: Pick<Context, 'db'>, vpcId: string): Promise<void> {
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  if (!gateway) throw new ApiError('Gateway.NotAttached', `Network ${vpcId} is not attached to any internet gateway`)
}

/**
 * Takes an Elastic IP from the interface that it belongs to; one of an instance that is up may get an
 * automatic address for it, unless it is `next` that gets the Elastic IP.
 */
async function takeAddress(context: Context, address: AssociatedAddress, next?: InterfaceTable): Promise<void> {
  const { db } = context
  const holder = await db
    .selectFrom('interfaces').selectAll().where('interface_id', '=', address.interface_id).executeTakeFirstOrThrow()
  if (holder.requester_id !== null) throw managedInterface()
  await disassociate(db, address)
  const isUp = holder.instance_id !== null && holder.wanted === 1
  if (isUp && holder.interface_id !== next?.interface_id) await giveAutomaticAddress(context, holder.instance_id ?? '')
  await enqueueChangedPort(context, holder)
}

/**
 * DisassociateAddress: the Elastic IP stays allocated.
 *
 * @throws ApiError InvalidAssociationID.NotFound, OperationNotPermitted for a NAT gateway's.
 */
export async function disassociateAddress(context: Context, input: DisassociateAddressRequest): Promise<void> {
  const { AssociationId: associationId, PublicIp: publicIp } = input
  if (associationId && publicIp) {
    throw new ApiError(
      'InvalidParameterCombination', 'You may specify public IP or association id, but not both in the same call',
    )
  }
  if (publicIp) {
    await requireAddress(context, { PublicIp: publicIp })
    throw new ApiError(
      'InvalidParameterValue', 'You must specify an association id when unmapping an address from a VPC instance',
    )
  }
  if (!associationId) throw missingParameter('associationId')
  const { db, account } = context
  const address = await db
    .selectFrom('addresses').selectAll()
    .where('account_id', '=', account).where('association_id', '=', associationId).executeTakeFirst()
  if (!address || !isAssociated(address)) {
    throw new ApiError('InvalidAssociationID.NotFound', `The association ID '${associationId}' does not exist`)
  }
  await takeAddress(context, address)
}
