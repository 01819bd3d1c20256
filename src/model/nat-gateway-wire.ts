import type { NatGateway, NatGatewayAddress, NatGatewayAddressStatus, Tag } from '@aws-sdk/client-ec2'
import type { NatGatewayTable } from '../store/schema.ts'
import { natGatewayDoc } from './nat-gateway.ts'

/** A NAT gateway as DescribeNatGateways shows it. */
export function natGatewayToWire(row: NatGatewayTable, tags: Tag[]): NatGateway {
  const { failure } = natGatewayDoc(row)
  return {
    NatGatewayId: row.nat_gateway_id,
    VpcId: row.vpc_id,
    SubnetId: row.subnet_id,
    State: row.state,
    ConnectivityType: row.connectivity,
    AvailabilityMode: 'zonal',
    CreateTime: new Date(row.created_ms),
    DeleteTime: row.deleted_ms === null ? undefined : new Date(row.deleted_ms),
    FailureCode: failure?.code,
    FailureMessage: failure?.message,
    NatGatewayAddresses: [addressToWire(row)],
    Tags: tags,
  }
}

function addressToWire(row: NatGatewayTable): NatGatewayAddress {
  const doc = natGatewayDoc(row)
  return {
    AllocationId: doc.allocationId ?? undefined,
    AssociationId: doc.associationId ?? undefined,
    IsPrimary: true,
    NetworkInterfaceId: doc.interfaceId ?? undefined,
    PrivateIp: doc.privateIp ?? undefined,
    PublicIp: doc.publicIp ?? undefined,
    FailureMessage: doc.failure?.message,
    Status: addressStatus(row),
  }
}

function addressStatus({ state, connectivity }: NatGatewayTable): NatGatewayAddressStatus {
  if (state === 'failed') return 'failed'
  if (state === 'pending') return connectivity === 'public' ? 'associating' : 'assigning'
  return 'succeeded'
}
