import type { Subnet, SubnetState, Tag } from '@aws-sdk/client-ec2'
import type { SubnetTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'
import { zoneIdOf } from './zone.ts'

/** The subnet's ARN; a subnet lies in the region of its zone. */
export function subnetArn(row: Pick<SubnetTable, 'zone' | 'account_id' | 'subnet_id'>): string {
  return ec2Arn(row.zone.slice(0, -1), row.account_id, 'subnet', row.subnet_id)
}

/** A subnet as DescribeSubnets shows it, with how many addresses are still free in it. */
export function subnetToWire(row: SubnetTable, availableAddresses: number, tags: Tag[]): Subnet {
  return {
    SubnetId: row.subnet_id,
    SubnetArn: subnetArn(row),
    VpcId: row.vpc_id,
    OwnerId: row.account_id,
    State: row.state as SubnetState,
    CidrBlock: row.cidr,
    AvailableIpAddressCount: availableAddresses,
    AvailabilityZone: row.zone,
    AvailabilityZoneId: zoneIdOf(row.zone),
    DefaultForAz: row.default_for_az === 1,
    MapPublicIpOnLaunch: row.map_public_ip === 1,
    MapCustomerOwnedIpOnLaunch: false,
    AssignIpv6AddressOnCreation: false,
    Ipv6CidrBlockAssociationSet: [],
    Ipv6Native: false,
    EnableDns64: false,
    PrivateDnsNameOptionsOnLaunch: {
      HostnameType: 'ip-name',
      EnableResourceNameDnsARecord: false,
      EnableResourceNameDnsAAAARecord: false,
    },
    BlockPublicAccessStates: { InternetGatewayBlockMode: 'off' },
    Tags: tags,
  }
}
