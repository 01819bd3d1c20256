import { pick, type Random } from '../core/random.ts'
import type { Db, Store } from '../store/store.ts'

/** A call to be made; undefined when there is nothing to make it on. */
export type Call = { action: string; input: object } | undefined

/** What of a network there is to choose from: ids in a fixed order, so that a seed replays. */
interface Present {
  vpcs: string[]
  subnets: string[]
  groups: string[]
  gateways: string[]
  routeTables: string[]
  associations: string[]
  blocks: string[]
  acls: string[]
  aclAssociations: string[]
  prefixLists: string[]
  allocations: string[]
  interfaces: string[]
  attachments: string[]
  instances: string[]
  natGateways: string[]
  peerings: string[]
}

/**
 * A random call about networks. Most are refused for a good reason (something is in use, or was never
 * attached): what counts is that none fails inside, and what the invariants find after them.
 */
export async function networkCall(store: Store, random: Random): Promise<Call> {
  const present = await store.read(look)
  const make = pick(random, CALLS)
  return make(present, random)
}

async function look(db: Db): Promise<Present> {
  const interfaces = await db.selectFrom('interfaces').select(['interface_id', 'doc', 'instance_id']).orderBy('interface_id').execute()
  const ids = <Row>(rows: Row[], idOf: (row: Row) => string) => rows.map(idOf)
  return {
    vpcs: ids(await db.selectFrom('vpcs').select('vpc_id').orderBy('vpc_id').execute(), (row) => row.vpc_id),
    subnets: ids(await db.selectFrom('subnets').select('subnet_id').orderBy('subnet_id').execute(), (row) => row.subnet_id),
    groups: ids(await db.selectFrom('security_groups').select('group_id').orderBy('group_id').execute(), (row) => row.group_id),
    gateways: ids(
      await db.selectFrom('internet_gateways').select('internet_gateway_id').orderBy('internet_gateway_id').execute(),
      (row) => row.internet_gateway_id),
    routeTables: ids(
      await db.selectFrom('route_tables').select('route_table_id').orderBy('route_table_id').execute(), (row) => row.route_table_id),
    associations: ids(
      await db.selectFrom('route_table_associations').select('association_id').orderBy('association_id').execute(),
      (row) => row.association_id),
    blocks: ids(await db.selectFrom('vpc_cidrs').select('association_id').orderBy('association_id').execute(), (row) => row.association_id),
    acls: ids(await db.selectFrom('network_acls').select('network_acl_id').orderBy('network_acl_id').execute(), (row) => row.network_acl_id),
    aclAssociations: ids(
      await db.selectFrom('network_acl_associations').select('association_id').orderBy('association_id').execute(),
      (row) => row.association_id),
    prefixLists: ids(
      await db.selectFrom('prefix_lists').select('prefix_list_id').orderBy('prefix_list_id').execute(), (row) => row.prefix_list_id),
    allocations: ids(await db.selectFrom('addresses').select('allocation_id').orderBy('allocation_id').execute(), (row) => row.allocation_id),
    interfaces: ids(interfaces, (row) => row.interface_id),
    attachments: interfaces.filter((row) => row.instance_id !== null)
      .map((row) => (JSON.parse(row.doc) as { attachmentId: string }).attachmentId),
    instances: ids(
      await db.selectFrom('instances').select('instance_id').where('state', '<>', 'terminated').orderBy('instance_id').execute(),
      (row) => row.instance_id),
    natGateways: ids(
      await db.selectFrom('nat_gateways').select('nat_gateway_id').orderBy('nat_gateway_id').execute(), (row) => row.nat_gateway_id),
    peerings: ids(await db.selectFrom('vpc_peerings').select('peering_id').orderBy('peering_id').execute(), (row) => row.peering_id),
  }
}

/** One of the ids, or one that is nobody's where there are none. */
const some = (random: Random, ids: string[], prefix: string) => (ids.length === 0 ? `${prefix}-00000000000000000` : pick(random, ids))

type Maker = (present: Present, random: Random) => Call

const call = (action: string, input: object): Call => ({ action, input })

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
  () => call('AllocateAddress', { Domain: 'vpc' }),
  (p, random) => call('AssociateAddress', {
    AllocationId: some(random, p.allocations, 'eipalloc'), AllowReassociation: random.int(2) === 0,
    ...pick(random, [
      { InstanceId: some(random, p.instances, 'i') }, { NetworkInterfaceId: some(random, p.interfaces, 'eni') },
    ]),
  }),
  (p, random) => call('ReleaseAddress', { AllocationId: some(random, p.allocations, 'eipalloc') }),
  (p, random) => call('CreateNetworkInterface', { SubnetId: some(random, p.subnets, 'subnet'), SecondaryPrivateIpAddressCount: random.int(2) }),
  (p, random) => call('DeleteNetworkInterface', { NetworkInterfaceId: some(random, p.interfaces, 'eni') }),
  (p, random) => call('AttachNetworkInterface', {
    NetworkInterfaceId: some(random, p.interfaces, 'eni'), InstanceId: some(random, p.instances, 'i'), DeviceIndex: 1,
  }),
  (p, random) => call('DetachNetworkInterface', {
    AttachmentId: some(random, p.attachments, 'eni-attach'), Force: random.int(3) === 0,
  }),
  (p, random) => call('CreateNatGateway', {
    SubnetId: some(random, p.subnets, 'subnet'), AllocationId: some(random, p.allocations, 'eipalloc'),
  }),
  (p, random) => call('CreateNatGateway', { SubnetId: some(random, p.subnets, 'subnet'), ConnectivityType: 'private' }),
  (p, random) => call('DeleteNatGateway', { NatGatewayId: some(random, p.natGateways, 'nat') }),
  (p, random) => call('CreateVpcPeeringConnection', { VpcId: some(random, p.vpcs, 'vpc'), PeerVpcId: some(random, p.vpcs, 'vpc') }),
  (p, random) => call('AcceptVpcPeeringConnection', { VpcPeeringConnectionId: some(random, p.peerings, 'pcx') }),
  (p, random) => call('DeleteVpcPeeringConnection', { VpcPeeringConnectionId: some(random, p.peerings, 'pcx') }),
]
