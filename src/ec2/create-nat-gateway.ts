import type { CreateNatGatewayRequest, CreateNatGatewayResult } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { claimPrivateAddress, pickPrivateAddress } from '../model/address.ts'
import { associate } from '../model/elastic-ip.ts'
import { newMac, type InterfaceDoc } from '../model/interface.ts'
import type { NatGatewayDoc } from '../model/nat-gateway.ts'
import { ensureSlot } from '../model/slot.ts'
import { insertRow } from '../store/prepared.ts'
import type { AddressTable, InterfaceTable, NatGatewayTable, SubnetTable } from '../store/schema.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { forgetEndedGateways, loadNatGateway } from './nat-gateways.ts'
import { checkEnum, missingParameter, refuseParameters, unsupportedParameter } from './parameters.ts'
import { pickNode } from './pick-host.ts'
import { wakeVpc } from './security-group-lookup.ts'
import { requireSubnet } from './subnet-lookup.ts'
import { insertTags, parseTagSpecifications } from './tags.ts'
import { checkQuota } from './vpc-lookup.ts'

/** In a zone: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_GATEWAYS_PER_ZONE = 5

/** What a call asks for, checked. */
interface Request {
  subnet: SubnetTable
  connectivity: NatGatewayTable['connectivity']
  /** The Elastic IP of a public one. */
  address: AddressTable | undefined
}

type Failure = NonNullable<NatGatewayDoc['failure']>

/**
 * CreateNatGateway: one in a subnet, which hides what is routed to it behind an address of its own.
 * What is missing around it (an internet gateway, a free address) makes one that has failed, as in EC2:
 * https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
 */
export async function createNatGateway(context: Context, input: CreateNatGatewayRequest): Promise<CreateNatGatewayResult> {
  const { db, account, random } = context
  await forgetEndedGateways(context)
  const tags = parseTagSpecifications(input.TagSpecifications, ['natgateway']).get('natgateway') ?? []
  const request = await checkRequest(context, input)
  const natGatewayId = newId(random, 'nat')
  const earlier = await claimToken(context, 'CreateNatGateway', input, natGatewayId)
  if (!earlier) {
    await checkGatewayCount(context, request.subnet)
    await insertGateway(context, natGatewayId, request, input.PrivateIpAddress || undefined)
    await insertTags(db, account, 'natgateway', natGatewayId, tags)
    await wakeVpc(db, request.subnet.vpc_id, context.nowMs)
  }
  return { NatGateway: await loadNatGateway(context, earlier ?? natGatewayId), ClientToken: input.ClientToken }
}

async function checkRequest(context: Context, input: CreateNatGatewayRequest): Promise<Request> {
  if (checkEnum('AvailabilityMode', input.AvailabilityMode, ['zonal', 'regional']) === 'regional') {
    throw unsupportedParameter('AvailabilityMode=regional')
  }
  refuseParameters(input, [
    'VpcId', 'AvailabilityZoneAddresses', 'SecondaryAllocationIds', 'SecondaryPrivateIpAddresses', 'SecondaryPrivateIpAddressCount',
  ])
  const connectivity = checkEnum('ConnectivityType', input.ConnectivityType, ['public', 'private']) ?? 'public'
  const subnet = await requireSubnet(context, input.SubnetId)
  if (connectivity === 'private' && input.AllocationId) {
    throw new ApiError('InvalidParameterCombination', 'The parameter allocationId cannot be used with a private NAT gateway')
  }
  return { subnet, connectivity, address: connectivity === 'public' ? await requireAddress(context, input.AllocationId) : undefined }
}

/** This call has codes of its own for allocations that are not there. */
async function requireAddress({ db, account }: Context, id: string | undefined): Promise<AddressTable> {
  if (!id) throw missingParameter('allocationId')
  const row = await db
    .selectFrom('addresses').selectAll().where('account_id', '=', account).where('allocation_id', '=', id).executeTakeFirst()
  if (!row) throw new ApiError('InvalidElasticIpID.NotFound', `The elasticIp ID '${id}' does not exist`)
  return row
}

/** Those that have ended or failed do not count. */
async function checkGatewayCount({ db, account }: Context, { zone }: SubnetTable): Promise<void> {
  const { count } = await db
    .selectFrom('nat_gateways').innerJoin('subnets', 'subnets.subnet_id', 'nat_gateways.subnet_id')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('nat_gateways.account_id', '=', account).where('zone', '=', zone)
    .where('nat_gateways.state', 'in', ['pending', 'available', 'deleting']).executeTakeFirstOrThrow()
  checkQuota(
    Number(count), MAX_GATEWAYS_PER_ZONE, 'NatGatewayLimitExceeded',
    `Performing this operation would exceed the limit of ${MAX_GATEWAYS_PER_ZONE} NAT gateways`,
  )
}

async function insertGateway(
  context: Context,
  natGatewayId: string,
  request: Request,
  wantedIp: string | undefined,
): Promise<void> {
  const { db, account, random, nowMs } = context
  const { subnet, connectivity, address } = request
  const privateIp = wantedIp === undefined ? undefined : await claimPrivateAddress(db, subnet, wantedIp)
  const place = { natGatewayId, hostId: await requireHost(context) }
  const made = await surroundings(context, request) ?? await insertInterface(context, place, request.subnet, privateIp)
  const failure = 'code' in made ? made : null
  const own = 'code' in made ? null : made
  const associationId = address && own ? newId(random, 'eipassoc') : null
  const doc: NatGatewayDoc = {
    interfaceId: own?.interface_id ?? null, privateIp: own?.private_ip ?? null, allocationId: address?.allocation_id ?? null,
    associationId, publicIp: own ? address?.public_ip ?? null : null, failure,
  }
  await insertRow(db, 'nat_gateways', {
    nat_gateway_id: natGatewayId, account_id: account, vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id,
    interface_id: doc.interfaceId, host_id: place.hostId, connectivity, state: failure ? 'failed' : 'pending',
    created_ms: nowMs, deleted_ms: failure ? nowMs : null, doc: JSON.stringify(doc),
  })
  if (address && own && associationId !== null) {
    await associate(db, address, { row: own, privateIp: own.private_ip, associationId })
  }
}

/** What keeps a public gateway from working; undefined when nothing does. */
async function surroundings({ db }: Context, { subnet, address }: Request): Promise<Failure | undefined> {
  if (!address) return undefined
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', subnet.vpc_id).executeTakeFirst()
  if (!gateway) return { code: 'Gateway.NotAttached', message: `Network ${subnet.vpc_id} has no Internet gateway attached` }
  if (address.association_id === null) return undefined
  return { code: 'Resource.AlreadyAssociated', message: `Elastic IP address ${address.allocation_id} is already associated` }
}

/** A NAT gateway takes no capacity: it goes to the node that has most to spare. */
async function requireHost(context: Context): Promise<string> {
  const hostId = await pickNode(context)
  if (hostId === undefined) throw new ApiError('InsufficientCapacity', 'There is no host yet that could carry a NAT gateway.', 500)
  return hostId
}

/** The gateway's own interface, which nobody but it may change; a full subnet is why it fails. */
async function insertInterface(
  { db, account, random, nowMs }: Context,
  { natGatewayId, hostId }: { natGatewayId: string; hostId: string },
  subnet: SubnetTable,
  wantedIp: string | undefined,
): Promise<InterfaceTable | Failure> {
  const privateIp = wantedIp ?? await pickPrivateAddress(db, random, subnet, { asker: 'interface', except: [] }).catch(fullSubnet)
  if (typeof privateIp !== 'string') return privateIp
  const interfaceId = newId(random, 'eni')
  const doc: InterfaceDoc = {
    description: `Interface for NAT Gateway ${natGatewayId}`, attachmentId: newId(random, 'eni-attach'), attachMs: nowMs,
    assignPublicIp: false,
  }
  const row: InterfaceTable = {
    interface_id: interfaceId, account_id: account, vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id, zone: subnet.zone,
    instance_id: null, host_id: hostId, slot: await ensureSlot(db, random, hostId, 'machine', interfaceId), device_index: 0,
    private_ip: privateIp, mac: newMac(random), public_ip: null, status: 'pending', wanted: 1, ready: 0,
    delete_on_termination: 0, created_ms: nowMs, revision: 1, synced_revision: 0, source_dest_check: 0,
    requester_id: natGatewayId, doc: JSON.stringify(doc),
  }
  await insertRow(db, 'interfaces', { ...row })
  return row
}

function fullSubnet(error: unknown): Failure {
  if (!(error instanceof ApiError) || error.code !== 'InsufficientFreeAddressesInSubnet') throw error
  return { code: error.code, message: 'Subnet has insufficient free addresses to create this NAT gateway' }
}
