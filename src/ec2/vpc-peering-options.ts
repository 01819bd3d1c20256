import type {
  ModifyVpcPeeringConnectionOptionsRequest, ModifyVpcPeeringConnectionOptionsResult, PeeringConnectionOptionsRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { vpcPeeringDoc, type VpcPeeringDoc } from '../model/vpc-peering.ts'
import { peeringOptions } from '../model/vpc-peering-wire.ts'
import type { VpcPeeringTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { requirePeering } from './vpc-peering-lookup.ts'

/**
 * ModifyVpcPeeringConnectionOptions: whether public names of a side stand for private addresses on the
 * other one. Each side is its owner's to change. The resolver asks for it with every query.
 */
export async function modifyVpcPeeringConnectionOptions(
  context: Context,
  input: ModifyVpcPeeringConnectionOptionsRequest,
): Promise<ModifyVpcPeeringConnectionOptionsResult> {
  const { db } = context
  const row = await requirePeering(context, input.VpcPeeringConnectionId)
  const { RequesterPeeringConnectionOptions: requester, AccepterPeeringConnectionOptions: accepter } = input
  if (!requester && !accepter) throw missingParameter('requesterPeeringConnectionOptions or accepterPeeringConnectionOptions')
  if (row.status !== 'active') {
    throw new ApiError(
      'OperationNotPermitted',
      `Peering ${row.peering_id} is not active. Peering options can be added only to active peerings.`,
    )
  }
  const requesterOptions = requester && checkedOptions(context, row, requester, row.account_id)
  const accepterOptions = accepter && checkedOptions(context, row, accepter, row.accepter_account_id)
  const doc: VpcPeeringDoc = {
    ...vpcPeeringDoc(row), ...(requesterOptions ? { requesterOptions } : {}), ...(accepterOptions ? { accepterOptions } : {}),
  }
  const changed = { ...row, doc: JSON.stringify(doc) }
  await db.updateTable('vpc_peerings').set({ doc: changed.doc }).where('peering_id', '=', row.peering_id).execute()
  return {
    RequesterPeeringConnectionOptions: requester && peeringOptions(changed, row.requester_vpc_id),
    AccepterPeeringConnectionOptions: accepter && peeringOptions(changed, row.accepter_vpc_id),
  }
}

/** What a side is to allow; undefined where the call does not say. */
function checkedOptions(
  { account }: Context,
  row: VpcPeeringTable,
  options: PeeringConnectionOptionsRequest,
  owner: string,
): { allowDnsResolutionFromRemoteVpc: boolean } | undefined {
  if (owner !== account) {
    throw new ApiError('OperationNotPermitted', `User ${account} cannot modify options of ${owner} in peering ${row.peering_id}`)
  }
  refuseParameters(options, ['AllowEgressFromLocalClassicLinkToRemoteVpc', 'AllowEgressFromLocalVpcToRemoteClassicLink'])
  const allows = options.AllowDnsResolutionFromRemoteVpc
  return allows === undefined ? undefined : { allowDnsResolutionFromRemoteVpc: allows }
}
