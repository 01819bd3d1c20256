import type {
  AcceptVpcPeeringConnectionRequest, AcceptVpcPeeringConnectionResult, CreateVpcPeeringConnectionRequest,
  CreateVpcPeeringConnectionResult, DeleteVpcPeeringConnectionRequest, DeleteVpcPeeringConnectionResult,
  RejectVpcPeeringConnectionRequest, RejectVpcPeeringConnectionResult, VpcPeeringConnection,
} from '@aws-sdk/client-ec2'
import { overlaps, parseCidr } from '../core/cidr.ts'
import { ApiError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { EXPIRY_MS, LONGEST_VISIBLE_MS, peeringEndMs, peeringStatus } from '../model/vpc-peering.ts'
import type { VpcPeeringTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { cidrsOf } from '../vpc/load-routing.ts'
import type { Context } from './context.ts'
import { invalidValue, missingParameter, unsupportedParameter } from './parameters.ts'
import { checkIds, notFoundError, RESOURCE_KINDS } from './resources.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications } from './tags.ts'
import { checkQuota, requireVpc } from './vpc-lookup.ts'
import { endPeering, peeringsOfVpc, peerOf, requirePeering, wakePeering } from './vpc-peering-lookup.ts'
import { loadPeerings } from './vpc-peerings.ts'

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html */
const MAX_ACTIVE_PER_VPC = 50
const MAX_OUTSTANDING = 25

const FAILED = 'Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range'

/**
 * CreateVpcPeeringConnection: asks the owner of another VPC, who may be oneself. A request for a VPC that
 * is not there, or whose addresses overlap, is made and has failed, as in EC2.
 */
export async function createVpcPeeringConnection(
  context: Context,
  input: CreateVpcPeeringConnectionRequest,
): Promise<CreateVpcPeeringConnectionResult> {
  const { db, account, random, region, nowMs } = context
  const type = RESOURCE_KINDS.vpcPeering.type
  const tags = parseTagSpecifications(input.TagSpecifications, [type]).get(type) ?? []
  const vpc = await requireVpc(context, input.VpcId)
  if (!input.PeerVpcId) throw missingParameter('peerVpcId')
  checkIds(RESOURCE_KINDS.vpc, [input.PeerVpcId])
  if (input.PeerRegion && input.PeerRegion !== region) throw unsupportedParameter(`PeerRegion=${input.PeerRegion}`)
  const owner = input.PeerOwnerId || account
  if (!/^\d{12}$/.test(owner)) throw invalidValue('peerOwnerId', owner)
  await forgetOld(context)
  const peer = await db
    .selectFrom('vpcs').select('vpc_id').where('vpc_id', '=', input.PeerVpcId).where('account_id', '=', owner).executeTakeFirst()
  if (!peer && owner === account) throw notFoundError(RESOURCE_KINDS.vpc, [input.PeerVpcId])
  await refuseSecond(context, vpc.vpc_id, input.PeerVpcId)
  const hasFailed = !peer || await overlap(db, vpc.vpc_id, peer.vpc_id)
  if (!hasFailed) await checkOutstanding(context)
  const row: VpcPeeringTable = {
    peering_id: newId(random, 'pcx'), account_id: account, requester_vpc_id: vpc.vpc_id, accepter_account_id: owner,
    accepter_vpc_id: input.PeerVpcId, status: hasFailed ? 'failed' : 'pending-acceptance',
    status_message: hasFailed ? FAILED : `Pending Acceptance by ${owner}`, created_ms: nowMs, expires_ms: nowMs + EXPIRY_MS,
    ended_ms: hasFailed ? nowMs : null, doc: '{}',
  }
  await db.insertInto('vpc_peerings').values(row).execute()
  await insertTags(db, account, type, row.peering_id, tags)
  // Whether a request has failed is told by the next look only.
  const status = { Code: 'initiating-request', Message: `Initiating Request to ${owner}` } as const
  return { VpcPeeringConnection: await wireOf(context, row, status) }
}

async function wireOf(
  context: Context,
  row: VpcPeeringTable,
  status?: VpcPeeringConnection['Status'],
): Promise<VpcPeeringConnection | undefined> {
  const [item] = await loadPeerings(context, [row], status)
  return item?.wire
}

/** Forgets peerings of the account that nobody sees any more. */
async function forgetOld({ db, account, nowMs }: Context): Promise<void> {
  const rows = await db.selectFrom('vpc_peerings').selectAll().where('account_id', '=', account).execute()
  for (const row of rows) {
    const endMs = peeringEndMs(row, nowMs)
    if (endMs === undefined || nowMs < endMs + LONGEST_VISIBLE_MS) continue
    await deleteTagsOf(db, [row.peering_id])
    await db.deleteFrom('vpc_peerings').where('peering_id', '=', row.peering_id).execute()
  }
}

/** Two VPCs have at most one peering, or request for one, whoever asked. */
async function refuseSecond({ db, nowMs }: Context, vpcId: string, peerVpcId: string): Promise<void> {
  const rows = (await peeringsOfVpc(db, vpcId)).filter((row) => peerOf(row, vpcId) === peerVpcId)
  const present = rows.find((row) => peeringEndMs(row, nowMs) === undefined)
  if (!present) return
  throw new ApiError(
    'VpcPeeringConnectionAlreadyExists',
    `A VPC peering connection ${present.peering_id} already exists between ${vpcId} and ${peerVpcId}.`,
  )
}

async function overlap(db: Db, one: string, other: string): Promise<boolean> {
  const blocks = async (vpcId: string) => (await cidrsOf(db, vpcId)).flatMap((each) => parseCidr(each) ?? [])
  const [ours, theirs] = [await blocks(one), await blocks(other)]
  return ours.some((our) => theirs.some((their) => overlaps(our, their)))
}

async function checkOutstanding({ db, account, nowMs }: Context): Promise<void> {
  const rows = await db
    .selectFrom('vpc_peerings').selectAll()
    .where('account_id', '=', account).where('status', '=', 'pending-acceptance').execute()
  checkQuota(
    rows.filter((row) => peeringEndMs(row, nowMs) === undefined).length, MAX_OUTSTANDING,
    'OutstandingVpcPeeringConnectionLimitExceeded', 'The maximum number of outstanding VPC peering connection requests has been reached.',
  )
}

/** AcceptVpcPeeringConnection: by the owner of the VPC that was asked for. */
export async function acceptVpcPeeringConnection(
  context: Context,
  input: AcceptVpcPeeringConnectionRequest,
): Promise<AcceptVpcPeeringConnectionResult> {
  const { db, nowMs } = context
  const row = await pendingRequest(context, input.VpcPeeringConnectionId, 'accept', 'active')
  // Blocks may have been added since it was asked for.
  const hasFailed = await overlap(db, row.requester_vpc_id, row.accepter_vpc_id)
  if (!hasFailed) {
    for (const vpcId of [row.requester_vpc_id, row.accepter_vpc_id]) {
      const active = (await peeringsOfVpc(db, vpcId)).filter((each) => each.status === 'active')
      checkQuota(
        active.length, MAX_ACTIVE_PER_VPC, 'VpcPeeringConnectionsPerVpcLimitExceeded',
        `The maximum number of active VPC peering connections has been reached for ${vpcId}.`,
      )
    }
  }
  const accepted: VpcPeeringTable = hasFailed
    ? { ...row, status: 'failed', status_message: FAILED, ended_ms: nowMs }
    : { ...row, status: 'active', status_message: 'Active' }
  const { status, status_message, ended_ms } = accepted
  await db
    .updateTable('vpc_peerings').set({ status, status_message, ended_ms }).where('peering_id', '=', row.peering_id).execute()
  if (!hasFailed) await wakePeering(db, accepted, nowMs)
  return { VpcPeeringConnection: await wireOf(context, accepted, { Code: 'provisioning', Message: 'Provisioning' }) }
}

/** RejectVpcPeeringConnection: by the owner of the VPC that was asked for. */
export async function rejectVpcPeeringConnection(
  context: Context,
  input: RejectVpcPeeringConnectionRequest,
): Promise<RejectVpcPeeringConnectionResult> {
  await endPeering(context, await pendingRequest(context, input.VpcPeeringConnectionId, 'reject', 'rejected'), 'rejected')
  return { Return: true }
}

/** @throws ApiError OperationNotPermitted for who was not asked, InvalidStateTransition for what is not pending. */
async function pendingRequest(
  context: Context,
  id: string | undefined,
  verb: 'accept' | 'reject',
  to: string,
): Promise<VpcPeeringTable> {
  const row = await requirePeering(context, id)
  if (row.accepter_account_id !== context.account) {
    throw new ApiError('OperationNotPermitted', `User ${context.account} cannot ${verb} peering ${row.peering_id}`)
  }
  const from = peeringStatus(row, context.nowMs).code
  if (from !== 'pending-acceptance') throw invalidTransition(row, from, to)
  return row
}

function invalidTransition(row: VpcPeeringTable, from: string, to: string): ApiError {
  return new ApiError(
    'InvalidStateTransition',
    `Invalid state transition for ${row.peering_id}. Attempted to transition from ${from} to ${to}`,
  )
}

/**
 * DeleteVpcPeeringConnection: an active one by either side, a request by who made it.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpcPeeringConnection.html
 */
export async function deleteVpcPeeringConnection(
  context: Context,
  input: DeleteVpcPeeringConnectionRequest,
): Promise<DeleteVpcPeeringConnectionResult> {
  const row = await requirePeering(context, input.VpcPeeringConnectionId)
  const status = peeringStatus(row, context.nowMs).code
  // What is deleted already stays so.
  if (status === 'deleted') return { Return: true }
  if (status !== 'active' && status !== 'pending-acceptance') throw invalidTransition(row, status, 'deleted')
  if (status === 'pending-acceptance' && row.account_id !== context.account) {
    throw new ApiError('OperationNotPermitted', `User ${context.account} cannot delete peering ${row.peering_id}`)
  }
  await endPeering(context, row, 'deleted')
  return { Return: true }
}
