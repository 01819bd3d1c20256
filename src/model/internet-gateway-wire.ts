import type { AttachmentStatus, InternetGateway, Tag } from '@aws-sdk/client-ec2'
import type { InternetGatewayTable } from '../store/schema.ts'

/** How EC2 calls an internet gateway that is attached; its model knows the word for other attachments only. */
export const ATTACHED = 'available'

/** An internet gateway as DescribeInternetGateways shows it. */
export function internetGatewayToWire(row: InternetGatewayTable, tags: Tag[]): InternetGateway {
  return {
    InternetGatewayId: row.internet_gateway_id,
    OwnerId: row.account_id,
    Attachments: row.vpc_id === null ? [] : [{ VpcId: row.vpc_id, State: ATTACHED as AttachmentStatus }],
    Tags: tags,
  }
}
