import { sql } from 'kysely'
import { pick, type Random } from '../core/random.ts'
import type { Db } from '../store/store.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What of networks there is to choose from, and where its ids are. */
const NOUNS = {
  vpcs: ['vpcs', 'vpc_id'],
  subnets: ['subnets', 'subnet_id'],
  groups: ['security_groups', 'group_id'],
  gateways: ['internet_gateways', 'internet_gateway_id'],
  routeTables: ['route_tables', 'route_table_id'],
  associations: ['route_table_associations', 'association_id'],
  blocks: ['vpc_cidrs', 'association_id'],
  acls: ['network_acls', 'network_acl_id'],
  aclAssociations: ['network_acl_associations', 'association_id'],
  prefixLists: ['prefix_lists', 'prefix_list_id'],
  allocations: ['addresses', 'allocation_id'],
  interfaces: ['interfaces', 'interface_id'],
  natGateways: ['nat_gateways', 'nat_gateway_id'],
  peerings: ['vpc_peerings', 'peering_id'],
} as const

type Present = Record<keyof typeof NOUNS, string[]>

/**
 * A random call about networks. Most are refused for a good reason (something is in use, or was never
 * attached): what counts is that none fails inside, and what the invariants find after them.
 */
export async function drawNetworkCall({ store, random }: Pick<SimulatedCloud, 'store' | 'random'>): Promise<DrawnCall> {
  const present = await store.read(look)
  return pick(random, CALLS)(present, random)
}

/** Ids in a fixed order, so that a seed replays. */
async function look(db: Db): Promise<Present> {
  const found = {} as Present
  for (const [noun, [table, column]] of Object.entries(NOUNS) as [keyof Present, (typeof NOUNS)[keyof Present]][]) {
    const { rows } = await sql<{ id: string }>`select ${sql.ref(column)} as id from ${sql.table(table)} order by 1`.execute(db)
    found[noun] = rows.map((row) => row.id)
  }
  return found
}

/** One of the ids, or one that is nobody's where there are none. */
const some = (random: Random, ids: string[], prefix: string) => (ids.length === 0 ? `${prefix}-00000000000000000` : pick(random, ids))

type Maker = (present: Present, random: Random) => DrawnCall

const call = (action: string, input: object): DrawnCall => ({ action, input })

const CALLS: Maker[] = [
  (_p, random) => call('CreateVpc', { CidrBlock: `10.${random.int(3)}.0.0/16` }),
  (p, random) => call('DeleteVpc', { VpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('CreateSubnet', { VpcId: some(random, p.vpcs, 'vpc'), CidrBlock: `10.${random.int(3)}.${random.int(4)}.0/28` }),
  (p, random) => call('DeleteSubnet', { SubnetId: some(random, p.subnets, 'subnet') }),
  () => call('CreateInternetGateway', {}),
  (p, random) => call('AttachInternetGateway', {
    InternetGatewayId: some(random, p.gateways, 'igw'), VpcId: some(random, p.vpcs, 'vpc'),
  }),
  (p, random) => call('DetachInternetGateway', {
    InternetGatewayId: some(random, p.gateways, 'igw'), VpcId: some(random, p.vpcs, 'vpc'),
  }),
  (p, random) => call('DeleteInternetGateway', { InternetGatewayId: some(random, p.gateways, 'igw') }),
  (p, random) => call('CreateRouteTable', { VpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('CreateRoute', {
    RouteTableId: some(random, p.routeTables, 'rtb'), DestinationCidrBlock: pick(random, ['0.0.0.0/0', '192.0.2.0/24']),
    ...pick(random, [
      { GatewayId: some(random, p.gateways, 'igw') }, { NatGatewayId: some(random, p.natGateways, 'nat') },
      { NetworkInterfaceId: some(random, p.interfaces, 'eni') }, { VpcPeeringConnectionId: some(random, p.peerings, 'pcx') },
    ]),
  }),
  (p, random) => call('AssociateRouteTable', {
    RouteTableId: some(random, p.routeTables, 'rtb'), SubnetId: some(random, p.subnets, 'subnet'),
  }),
  (p, random) => call('DisassociateRouteTable', { AssociationId: some(random, p.associations, 'rtbassoc') }),
  (p, random) => call('ReplaceRouteTableAssociation', {
    AssociationId: some(random, p.associations, 'rtbassoc'), RouteTableId: some(random, p.routeTables, 'rtb'),
  }),
  (p, random) => call('DeleteRoute', {
    RouteTableId: some(random, p.routeTables, 'rtb'), DestinationCidrBlock: pick(random, ['0.0.0.0/0', '192.0.2.0/24']),
  }),
  (p, random) => call('AssociateVpcCidrBlock', { VpcId: some(random, p.vpcs, 'vpc'), CidrBlock: `10.${3 + random.int(3)}.0.0/24` }),
  (p, random) => call('DisassociateVpcCidrBlock', { AssociationId: some(random, p.blocks, 'vpc-cidr-assoc') }),
  (p, random) => call('ModifyVpcAttribute', { VpcId: some(random, p.vpcs, 'vpc'), EnableDnsSupport: { Value: random.int(2) === 0 } }),
  (p, random) => call('DeleteRouteTable', { RouteTableId: some(random, p.routeTables, 'rtb') }),
  (p, random) => call('CreateNetworkAclEntry', {
    NetworkAclId: some(random, p.acls, 'acl'), RuleNumber: 1 + random.int(5), Protocol: '-1', RuleAction: pick(random, ['allow', 'deny']),
    Egress: random.int(2) === 0, CidrBlock: '192.0.2.0/24',
  }),
  (p, random) => call('DeleteNetworkAclEntry', {
    NetworkAclId: some(random, p.acls, 'acl'), RuleNumber: 1 + random.int(5), Egress: random.int(2) === 0,
  }),
  (p, random) => call('CreateNetworkAcl', { VpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('ReplaceNetworkAclAssociation', {
    AssociationId: some(random, p.aclAssociations, 'aclassoc'), NetworkAclId: some(random, p.acls, 'acl'),
  }),
  (p, random) => call('DeleteNetworkAcl', { NetworkAclId: some(random, p.acls, 'acl') }),
  (_p, random) => call('CreateManagedPrefixList', {
    PrefixListName: 'list', AddressFamily: 'IPv4', MaxEntries: 1 + random.int(9), Entries: [{ Cidr: '192.0.2.0/24' }],
  }),
  (p, random) => call('ModifyManagedPrefixList', {
    PrefixListId: some(random, p.prefixLists, 'pl'), AddEntries: [{ Cidr: `198.51.${random.int(4)}.0/24` }],
  }),
  (p, random) => call('DeleteManagedPrefixList', { PrefixListId: some(random, p.prefixLists, 'pl') }),
  (p, random) => call('AuthorizeSecurityGroupIngress', {
    GroupId: some(random, p.groups, 'sg'),
    IpPermissions: [{ IpProtocol: '-1', PrefixListIds: [{ PrefixListId: some(random, p.prefixLists, 'pl') }] }],
  }),
  (p, random) => call('CreateRoute', {
    RouteTableId: some(random, p.routeTables, 'rtb'), DestinationPrefixListId: some(random, p.prefixLists, 'pl'),
    GatewayId: some(random, p.gateways, 'igw'),
  }),
  (p, random) => call('CreateSecurityGroup', { GroupName: `g${random.int(20)}`, Description: 'g', VpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('AuthorizeSecurityGroupIngress', {
    GroupId: some(random, p.groups, 'sg'),
    IpPermissions: [{ IpProtocol: 'tcp', FromPort: random.int(9), ToPort: 22, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }],
  }),
  (p, random) => call('AuthorizeSecurityGroupIngress', {
    GroupId: some(random, p.groups, 'sg'),
    IpPermissions: [{ IpProtocol: 'tcp', FromPort: 80, ToPort: 80, UserIdGroupPairs: [{ GroupId: some(random, p.groups, 'sg') }] }],
  }),
  (p, random) => call('DeleteSecurityGroup', { GroupId: some(random, p.groups, 'sg') }),
  (p, random) => call('CreateNatGateway', {
    SubnetId: some(random, p.subnets, 'subnet'), AllocationId: some(random, p.allocations, 'eipalloc'),
  }),
  (p, random) => call('CreateNatGateway', { SubnetId: some(random, p.subnets, 'subnet'), ConnectivityType: 'private' }),
  (p, random) => call('DeleteNatGateway', { NatGatewayId: some(random, p.natGateways, 'nat') }),
  (p, random) => call('CreateVpcPeeringConnection', { VpcId: some(random, p.vpcs, 'vpc'), PeerVpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('AcceptVpcPeeringConnection', { VpcPeeringConnectionId: some(random, p.peerings, 'pcx') }),
  (p, random) => call('DeleteVpcPeeringConnection', { VpcPeeringConnectionId: some(random, p.peerings, 'pcx') }),
]
