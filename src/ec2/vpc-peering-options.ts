import type {
  ModifyVpcPeeringConnectionOptionsRequest, ModifyVpcPeeringConnectionOptionsResult, PeeringConnectionOptions,
  PeeringConnectionOptionsRequest,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { VpcPeeringTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { requirePeering } from './vpc-peering-lookup.ts'

/**
 * ModifyVpcPeeringConnectionOptions: the resolver answers names of the other side with public addresses,
 * and cannot do otherwise yet; only leaving it so is taken.
 */
export async function modifyVpcPeeringConnectionOptions(
  context: Context,
  input: ModifyVpcPeeringConnectionOptionsRequest,
): Promise<ModifyVpcPeeringConnectionOptionsResult> {
  const row = await requirePeering(context, input.VpcPeeringConnectionId)
  const { RequesterPeeringConnectionOptions: requester, AccepterPeeringConnectionOptions: accepter } = input
  if (!requester && !accepter) throw missingParameter('requesterPeeringConnectionOptions or accepterPeeringConnectionOptions')
  if (row.status !== 'active') {
    throw new ApiError(
      'OperationNotPermitted',
      `Peering ${row.peering_id} is not active. Peering options can be added only to active peerings.`,
    )
  }
  return {
    RequesterPeeringConnectionOptions: requester && checkedOptions(context, row, requester, row.account_id),
    AccepterPeeringConnectionOptions: accepter && checkedOptions(context, row, accepter, row.accepter_account_id),
  }
}

/** Each side is its owner's to change. */
function checkedOptions(
  { account }: Context,
  row: VpcPeeringTable,
  options: PeeringConnectionOptionsRequest,
  owner: string,
): PeeringConnectionOptions {
  if (owner !== account) {
    throw new ApiError('OperationNotPermitted', `User ${account} cannot modify options of ${owner} in peering ${row.peering_id}`)
  }
  refuseParameters(options, [
    'AllowDnsResolutionFromRemoteVpc', 'AllowEgressFromLocalClassicLinkToRemoteVpc', 'AllowEgressFromLocalVpcToRemoteClassicLink',
  ])
  return {
    AllowDnsResolutionFromRemoteVpc: false, AllowEgressFromLocalClassicLinkToRemoteVpc: false,
    AllowEgressFromLocalVpcToRemoteClassicLink: false,
  }
}
