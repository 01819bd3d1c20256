import type { ListAccountAliasesRequest, ListAccountAliasesResponse } from '@aws-sdk/client-iam'
import type { Context } from '../ec2/context.ts'
import { Constraints } from '../protocol/constraints.ts'
import { refuseMarker } from './instance-profiles.ts'

/** ListAccountAliases: none, as accounts have no other name here. Asked by Ansible's aws_caller_info. */
export async function listAccountAliases(_: Context, input: ListAccountAliasesRequest): Promise<ListAccountAliasesResponse> {
  new Constraints().range('maxItems', input.MaxItems, 1, 1000).done('ValidationError')
  refuseMarker(input.Marker)
  return { AccountAliases: [], IsTruncated: false }
}
