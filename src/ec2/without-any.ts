import type {
  DescribeEgressOnlyInternetGatewaysRequest, DescribeEgressOnlyInternetGatewaysResult,
  DescribeIamInstanceProfileAssociationsRequest, DescribeIamInstanceProfileAssociationsResult, DescribeVpcEndpointsRequest,
  DescribeVpcEndpointsResult, DescribeVpnGatewaysRequest, DescribeVpnGatewaysResult, Filter,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import type { Context } from './context.ts'
import { compileFilters, withoutValue } from './filters.ts'
import { paginate, refuseIdsWithMaxResults } from './pagination.ts'

/**
 * What cannot be made here, and so is never there. Clients list it before they do something else (Terraform's and
 * Ansible's modules, and whatever cleans an account up), and are told the truth: there is none.
 */
interface Asked {
  operation: string
  /** Documented filters, tags aside. */
  filters: readonly string[]
  hasTags: boolean
  maxPage?: number
  /** What EC2 says of ids that are nowhere. */
  notFound: (ids: string) => ApiError
}

interface AskedInput {
  ids: readonly string[] | undefined
  Filters?: Filter[] | undefined
  MaxResults?: number | undefined
  NextToken?: string | undefined
}

/** Checks a call as if there could be something to answer. @throws ApiError `notFound` for ids. */
function findNone({ operation, filters, hasTags, maxPage, notFound }: Asked, input: AskedInput): void {
  compileFilters<never>(input.Filters, withoutValue(...filters), hasTags ? () => [] : undefined)
  refuseIdsWithMaxResults(input.ids, input.MaxResults, 'ids')
  paginate<never>([], {
    maxResults: input.MaxResults, nextToken: input.NextToken, keyOf: String, operation, ...(maxPage === undefined ? {} : { max: maxPage }),
  })
  if (input.ids && input.ids.length > 0) throw notFound(input.ids.join(', '))
}

/** DescribeIamInstanceProfileAssociations: none, as no instance can be given an instance profile yet. */
export async function describeIamInstanceProfileAssociations(
  _: Context,
  input: DescribeIamInstanceProfileAssociationsRequest,
): Promise<DescribeIamInstanceProfileAssociationsResult> {
  findNone({
    operation: 'DescribeIamInstanceProfileAssociations', filters: ['instance-id', 'state'], hasTags: false, maxPage: 1000,
    notFound: (ids) => new ApiError('InvalidAssociationID.NotFound', `The association ID '${ids}' does not exist`),
  }, { ...input, ids: input.AssociationIds })
  return { IamInstanceProfileAssociations: [] }
}

/** DescribeVpnGateways: none. */
export async function describeVpnGateways(_: Context, input: DescribeVpnGatewaysRequest): Promise<DescribeVpnGatewaysResult> {
  findNone({
    operation: 'DescribeVpnGateways', hasTags: true,
    filters: ['amazon-side-asn', 'attachment.state', 'attachment.vpc-id', 'availability-zone', 'state', 'type', 'vpn-gateway-id'],
    notFound: (ids) => new ApiError('InvalidVpnGatewayID.NotFound', `The vpnGateway ID '${ids}' does not exist`),
  }, { ...input, ids: input.VpnGatewayIds })
  return { VpnGateways: [] }
}

/** DescribeEgressOnlyInternetGateways: none, as there is no IPv6 to the outside. */
export async function describeEgressOnlyInternetGateways(
  _: Context,
  input: DescribeEgressOnlyInternetGatewaysRequest,
): Promise<DescribeEgressOnlyInternetGatewaysResult> {
  findNone({
    operation: 'DescribeEgressOnlyInternetGateways', filters: [], hasTags: true, maxPage: 255,
    notFound: (ids) => new ApiError('InvalidGatewayID.NotFound', `The eigw ID '${ids}' does not exist`),
  }, { ...input, ids: input.EgressOnlyInternetGatewayIds })
  return { EgressOnlyInternetGateways: [] }
}

/** DescribeVpcEndpoints: none; there is no service that one could lead to. */
export async function describeVpcEndpoints(_: Context, input: DescribeVpcEndpointsRequest): Promise<DescribeVpcEndpointsResult> {
  findNone({
    operation: 'DescribeVpcEndpoints', hasTags: true,
    filters: ['ip-address-type', 'service-name', 'service-region', 'vpc-id', 'vpc-endpoint-id', 'vpc-endpoint-state', 'vpc-endpoint-type'],
    notFound: (ids) => new ApiError('InvalidVpcEndpointId.NotFound', `The Vpc Endpoint Id '${ids}' does not exist`),
  }, { ...input, ids: input.VpcEndpointIds })
  return { VpcEndpoints: [] }
}
