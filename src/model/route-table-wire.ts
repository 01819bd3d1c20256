import type { Route, RouteTable, RouteTableAssociation, Tag } from '@aws-sdk/client-ec2'
import type { RouteTable as RouteRow, RouteTableAssociationTable, RouteTableTable } from '../store/schema.ts'

/** A route that somebody made, with what its target is at the moment. */
export interface RouteItem {
  row: RouteRow
  /** False when packets for it are dropped, since its target is gone or not working. */
  isActive: boolean
  /** Where the target is an interface of an instance. */
  instance?: { instanceId: string; accountId: string }
}

/** What the wire shows of a route table beside its own row. */
export interface RouteTableRelated {
  /** All blocks of the VPC: every table reaches them locally. */
  cidrs: readonly string[]
  routes: readonly RouteItem[]
  associations: readonly RouteTableAssociationTable[]
  tags: Tag[]
}

/** A route table as DescribeRouteTables shows it. */
export function routeTableToWire(row: RouteTableTable, related: RouteTableRelated): RouteTable {
  return {
    RouteTableId: row.route_table_id,
    VpcId: row.vpc_id,
    OwnerId: row.account_id,
    Associations: related.associations.map(associationToWire),
    Routes: [...related.cidrs.map(localRoute), ...related.routes.map(routeToWire)],
    PropagatingVgws: [],
    Tags: related.tags,
  }
}

function associationToWire(row: RouteTableAssociationTable): RouteTableAssociation {
  return {
    Main: row.subnet_id === null,
    RouteTableAssociationId: row.association_id,
    RouteTableId: row.route_table_id,
    SubnetId: row.subnet_id ?? undefined,
    AssociationState: { State: 'associated' },
  }
}

function localRoute(cidr: string): Route {
  return { DestinationCidrBlock: cidr, GatewayId: 'local', Origin: 'CreateRouteTable', State: 'active' }
}

function routeToWire(item: RouteItem): Route {
  const { row, isActive } = item
  const isList = row.destination.startsWith('pl-')
  return {
    ...(isList ? { DestinationPrefixListId: row.destination } : { DestinationCidrBlock: row.destination }),
    ...targetToWire(item),
    Origin: 'CreateRoute',
    State: isActive ? 'active' : 'blackhole',
  }
}

function targetToWire({ row, instance }: RouteItem): Route {
  switch (row.target_kind) {
    case 'internet-gateway':
      return { GatewayId: row.target_id }
    case 'nat-gateway':
      return { NatGatewayId: row.target_id }
    case 'interface':
      return { NetworkInterfaceId: row.target_id, InstanceId: instance?.instanceId, InstanceOwnerId: instance?.accountId }
    case 'peering':
      return { VpcPeeringConnectionId: row.target_id }
  }
}
