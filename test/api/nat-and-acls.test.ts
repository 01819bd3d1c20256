import {
  AllocateAddressCommand, AttachInternetGatewayCommand, AuthorizeSecurityGroupIngressCommand,
  CreateInternetGatewayCommand, CreateManagedPrefixListCommand, CreateNatGatewayCommand, CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand, CreateRouteCommand, CreateSecurityGroupCommand, CreateSubnetCommand, CreateVpcCommand,
  DeleteManagedPrefixListCommand, DeleteNatGatewayCommand, DeleteNetworkAclCommand, DeleteNetworkAclEntryCommand,
  DeleteSubnetCommand, DeleteVpcCommand, DescribeManagedPrefixListsCommand, DescribeNatGatewaysCommand,
  DescribeNetworkAclsCommand, DescribeNetworkInterfacesCommand, DescribePrefixListsCommand,
  DescribeRouteTablesCommand, DescribeSecurityGroupRulesCommand, DescribeSubnetsCommand, DescribeTagsCommand,
  DescribeVpcsCommand, DetachInternetGatewayCommand, GetManagedPrefixListEntriesCommand,
  ModifyManagedPrefixListCommand, ReleaseAddressCommand, ReplaceNetworkAclAssociationCommand,
  RestoreManagedPrefixListVersionCommand, RunInstancesCommand, TerminateInstancesCommand,
  waitUntilNatGatewayAvailable, waitUntilNatGatewayDeleted,
} from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let vpcId: string
let SubnetId: string
beforeAll(async () => {
  cloud = await startTestCloud()
  const { Vpcs = [] } = await cloud.ec2.send(new DescribeVpcsCommand({}))
  vpcId = Vpcs[0]?.VpcId ?? ''
  const { Subnets = [] } = await cloud.ec2.send(new DescribeSubnetsCommand({ Filters: [{ Name: 'availability-zone', Values: ['us-east-1a'] }] }))
  SubnetId = Subnets[0]?.SubnetId ?? ''
})
afterAll(() => cloud.close())

const failure = (name: string, message: string) => expect.objectContaining({ name, message: expect.stringContaining(message) })
const waiting = () => ({ client: cloud.ec2, maxWaitTime: 5, minDelay: 1, maxDelay: 1 })
/** What the network has in force of the default VPC; undefined where it has nothing. */
const inForce = () => cloud.host.network.vpcs.get(vpcId)

describe('a NAT gateway', () => {
  let AllocationId: string
  let PublicIp: string
  beforeEach(async () => {
    const address = await cloud.ec2.send(new AllocateAddressCommand({}))
    AllocationId = address.AllocationId ?? ''
    PublicIp = address.PublicIp ?? ''
  })
  // Each test ends with the address free.
  afterEach(() => cloud.ec2.send(new ReleaseAddressCommand({ AllocationId })))
  const describeOne = async (id: string | undefined) =>
    (await cloud.ec2.send(new DescribeNatGatewaysCommand({ NatGatewayIds: [id ?? ''] }))).NatGateways?.[0]

  test('is in force once it is available, in a VPC that has nothing else, and leaves nothing when it is deleted', async () => {
    expect(inForce()).toBeUndefined()
    const { NatGateway } = await cloud.ec2.send(new CreateNatGatewayCommand({
      SubnetId, AllocationId, TagSpecifications: [{ ResourceType: 'natgateway', Tags: [{ Key: 'Name', Value: 'out' }] }],
    }))
    const id = NatGateway?.NatGatewayId ?? ''
    expect(NatGateway).toMatchObject({ State: 'pending', VpcId: vpcId, SubnetId })
    await waitUntilNatGatewayAvailable(waiting(), { NatGatewayIds: [id] })
    const [address] = (await describeOne(id))?.NatGatewayAddresses ?? []
    expect(address).toMatchObject({ AllocationId, PublicIp, Status: 'succeeded' })
    expect(inForce()?.natGateways).toMatchObject([
      { natGatewayId: id, interfaceId: address?.NetworkInterfaceId, publicIp: PublicIp, privateIp: address?.PrivateIp },
    ])
    const { NetworkInterfaces } = await cloud.ec2.send(new DescribeNetworkInterfacesCommand({
      NetworkInterfaceIds: [address?.NetworkInterfaceId ?? ''] }))
    expect(NetworkInterfaces).toMatchObject([
      {
        Description: `Interface for NAT Gateway ${id}`, Status: 'in-use', PrivateIpAddress: address?.PrivateIp,
        InterfaceType: 'nat_gateway', RequesterManaged: true, SourceDestCheck: false,
        Association: { AllocationId, PublicIp, IpOwnerId: DEFAULT_ACCOUNT },
      },
    ])
    await expect(cloud.ec2.send(new ReleaseAddressCommand({ AllocationId }))).rejects.toEqual(
      failure('InvalidIPAddress.InUse', `Address ${PublicIp} is in use.`))

    await cloud.ec2.send(new DeleteNatGatewayCommand({ NatGatewayId: id }))
    await waitUntilNatGatewayDeleted(waiting(), { NatGatewayIds: [id] })
    expect(inForce()).toBeUndefined()
    const { NetworkInterfaces: left } = await cloud.ec2.send(new DescribeNetworkInterfacesCommand({}))
    expect(left).toEqual([])
    const rows = await cloud.store.read(async (db) => ({
      addresses: await db.selectFrom('addresses').select(['allocation_id', 'association_id']).execute(),
      slots: await db.selectFrom('slots').selectAll().where('kind', '=', 'machine').execute(),
    }))
    expect(rows).toEqual({ addresses: [{ allocation_id: AllocationId, association_id: null }], slots: [] })
    expect((await cloud.ec2.send(new DescribeTagsCommand({}))).Tags).toMatchObject([{ ResourceId: id, ResourceType: 'natgateway' }])
  })

  test('comes and goes beside instances, whose ports stay', async () => {
    const { Instances = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId,
    }))
    const { NatGateway } = await cloud.ec2.send(new CreateNatGatewayCommand({ SubnetId, ConnectivityType: 'private' }))
    expect(inForce()?.natGateways).toMatchObject([{ natGatewayId: NatGateway?.NatGatewayId, publicIp: null }])
    expect(inForce()?.ports.size).toBe(1)
    await cloud.ec2.send(new DeleteNatGatewayCommand({ NatGatewayId: NatGateway?.NatGatewayId }))
    expect(inForce()?.natGateways).toEqual([])
    expect((await describeOne(NatGateway?.NatGatewayId))?.State).toBe('deleted')
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: Instances.map((each) => each.InstanceId ?? '') }))
    expect(inForce()).toBeUndefined()
  })

  test('keeps its subnet and VPC, which may go while it is still shown as deleted; its routes are blackholes', async () => {
    const { Vpc } = await cloud.ec2.send(new CreateVpcCommand({ CidrBlock: '10.9.0.0/16' }))
    const VpcId = Vpc?.VpcId ?? ''
    const { Subnet } = await cloud.ec2.send(new CreateSubnetCommand({ VpcId, CidrBlock: '10.9.1.0/24' }))
    const own = Subnet?.SubnetId ?? ''
    const without = await cloud.ec2.send(new CreateNatGatewayCommand({ SubnetId: own, AllocationId }))
    expect(without.NatGateway).toMatchObject({ State: 'failed', FailureCode: 'Gateway.NotAttached' })
    const { InternetGateway } = await cloud.ec2.send(new CreateInternetGatewayCommand({}))
    const InternetGatewayId = InternetGateway?.InternetGatewayId ?? ''
    await cloud.ec2.send(new AttachInternetGatewayCommand({ VpcId, InternetGatewayId }))
    const { NatGateway } = await cloud.ec2.send(new CreateNatGatewayCommand({ SubnetId: own, AllocationId }))
    const NatGatewayId = NatGateway?.NatGatewayId ?? ''
    const { RouteTables: [table] = [] } = await cloud.ec2.send(new DescribeRouteTablesCommand({ Filters: [{ Name: 'vpc-id', Values: [VpcId] }] }))
    const RouteTableId = table?.RouteTableId ?? ''
    await cloud.ec2.send(new CreateRouteCommand({ RouteTableId, DestinationCidrBlock: '0.0.0.0/0', NatGatewayId }))
    const routes = async () => {
      const { RouteTables: [now] = [] } = await cloud.ec2.send(new DescribeRouteTablesCommand({ RouteTableIds: [RouteTableId] }))
      return now?.Routes?.filter((route) => route.NatGatewayId).map((route) => route.State)
    }
    expect(await routes()).toEqual(['active'])
    expect(cloud.host.network.vpcs.get(VpcId)?.routeTables[0]?.routes).toEqual([
      { destination: '0.0.0.0/0', target: { kind: 'nat-gateway', natGatewayId: NatGatewayId } }])
    await expect(cloud.ec2.send(new DeleteSubnetCommand({ SubnetId: own }))).rejects.toEqual(
      failure('DependencyViolation', `The subnet '${own}' has dependencies and cannot be deleted.`))

    await cloud.ec2.send(new DeleteNatGatewayCommand({ NatGatewayId }))
    expect(await routes()).toEqual(['blackhole'])
    await cloud.ec2.send(new DeleteSubnetCommand({ SubnetId: own }))
    await cloud.ec2.send(new DetachInternetGatewayCommand({ VpcId, InternetGatewayId }))
    await cloud.ec2.send(new DeleteVpcCommand({ VpcId }))
    expect(await describeOne(NatGatewayId)).toMatchObject({ State: 'deleted', VpcId, SubnetId: own })
  })

  test('is not made by a dry run, nor for an address that is not there', async () => {
    await expect(cloud.ec2.send(new CreateNatGatewayCommand({ SubnetId, AllocationId, DryRun: true })))
      .rejects.toEqual(failure('DryRunOperation', 'Request would have succeeded'))
    await expect(cloud.ec2.send(new CreateNatGatewayCommand({ SubnetId, AllocationId: 'eipalloc-x' })))
      .rejects.toEqual(failure('InvalidElasticIpID.NotFound', "The elasticIp ID 'eipalloc-x' does not exist"))
    const { NatGateways = [] } = await cloud.ec2.send(new DescribeNatGatewaysCommand({ Filter: [{ Name: 'state', Values: ['pending', 'available'] }] }))
    expect(NatGateways).toEqual([])
  })
})

describe('with a running instance', () => {
  let GroupId: string
  let InstanceIds: string[]
  beforeAll(async () => {
    GroupId = (await cloud.ec2.send(new CreateSecurityGroupCommand({ GroupName: 'web', Description: 'x' }))).GroupId ?? ''
    const { Instances = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SubnetId, SecurityGroupIds: [GroupId],
    }))
    InstanceIds = Instances.map((each) => each.InstanceId ?? '')
  })
  afterAll(() => cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds })))

  test('network ACLs are in force as soon as a subnet uses them, entry by entry', async () => {
    const { NetworkAcl } = await cloud.ec2.send(new CreateNetworkAclCommand({ VpcId: vpcId }))
    const NetworkAclId = NetworkAcl?.NetworkAclId
    const { NetworkAcls: [main] = [] } = await cloud.ec2.send(new DescribeNetworkAclsCommand({ Filters: [
      { Name: 'association.subnet-id', Values: [SubnetId] }, { Name: 'default', Values: ['true'] }] }))
    const old = main?.Associations?.find((each) => each.SubnetId === SubnetId)
    const used = () => {
      const id = inForce()?.subnets.find((subnet) => subnet.subnetId === SubnetId)?.networkAclId
      return inForce()?.networkAcls.find((acl) => acl.networkAclId === id)
    }
    expect(used()?.networkAclId).toBe(main?.NetworkAclId)
    const { NewAssociationId } = await cloud.ec2.send(new ReplaceNetworkAclAssociationCommand({
      AssociationId: old?.NetworkAclAssociationId, NetworkAclId }))
    expect(used()).toEqual({ networkAclId: NetworkAclId, ingress: [], egress: [] })

    const entry = { NetworkAclId, Egress: false, RuleNumber: 100 }
    const allow = new CreateNetworkAclEntryCommand({
      ...entry, Protocol: '6', RuleAction: 'allow', CidrBlock: '10.0.0.0/8', PortRange: { From: 22, To: 22 } })
    await cloud.ec2.send(allow)
    expect(used()?.ingress).toEqual([
      { ruleNumber: 100, action: 'allow', protocol: 'tcp', fromPort: 22, toPort: 22, cidr: '10.0.0.0/8' }])
    await expect(cloud.ec2.send(allow)).rejects.toEqual(
      failure('NetworkAclEntryAlreadyExists', 'The network acl entry identified by 100 already exists.'))
    await cloud.ec2.send(new DeleteNetworkAclEntryCommand(entry))
    expect(used()?.ingress).toEqual([])

    await expect(cloud.ec2.send(new DeleteNetworkAclCommand({ NetworkAclId }))).rejects.toEqual(
      failure('DependencyViolation', `The networkAcl '${NetworkAclId}' has dependencies and cannot be deleted.`))
    await cloud.ec2.send(new ReplaceNetworkAclAssociationCommand({ AssociationId: NewAssociationId, NetworkAclId: main?.NetworkAclId }))
    await cloud.ec2.send(new DeleteNetworkAclCommand({ NetworkAclId }))
    expect(used()).toMatchObject({ networkAclId: main?.NetworkAclId, ingress: [{ ruleNumber: 100, protocol: '-1', fromPort: null }] })
  })

  test('rules that name a prefix list follow its versions', async () => {
    const { PrefixList } = await cloud.ec2.send(new CreateManagedPrefixListCommand({
      PrefixListName: 'office', AddressFamily: 'IPv4', MaxEntries: 5, Entries: [{ Cidr: '192.0.2.0/24', Description: 'west' }],
    }))
    const PrefixListId = PrefixList?.PrefixListId ?? ''
    expect(PrefixList).toMatchObject({ State: 'create-complete', Version: 1, PrefixListArn: expect.stringMatching(/:prefix-list\/pl-/) })
    const { SecurityGroupRules: [rule] = [] } = await cloud.ec2.send(new AuthorizeSecurityGroupIngressCommand({
      GroupId, IpPermissions: [{ IpProtocol: 'tcp', FromPort: 443, ToPort: 443, PrefixListIds: [{ PrefixListId }] }] }))
    const { SecurityGroupRules } = await cloud.ec2.send(new DescribeSecurityGroupRulesCommand({
      SecurityGroupRuleIds: [rule?.SecurityGroupRuleId ?? ''] }))
    expect(SecurityGroupRules).toMatchObject([{ PrefixListId, FromPort: 443 }])
    const peers = () => inForce()?.groups.get(GroupId)?.ingress.map((each) => each.peer)
    expect(peers()).toEqual([{ cidr: '192.0.2.0/24' }])

    await cloud.ec2.send(new ModifyManagedPrefixListCommand({
      PrefixListId, CurrentVersion: 1, AddEntries: [{ Cidr: '198.51.100.0/24' }], RemoveEntries: [{ Cidr: '192.0.2.0/24' }] }))
    expect(peers()).toEqual([{ cidr: '198.51.100.0/24' }])
    await expect(cloud.ec2.send(new ModifyManagedPrefixListCommand({
      PrefixListId, CurrentVersion: 1, AddEntries: [{ Cidr: '203.0.113.0/24' }] })))
      .rejects.toEqual(failure('PrefixListVersionMismatch', 'The prefix list has the incorrect version number.'))
    const restored = await cloud.ec2.send(new RestoreManagedPrefixListVersionCommand({ PrefixListId, PreviousVersion: 1, CurrentVersion: 2 }))
    expect(restored.PrefixList).toMatchObject({ State: 'restore-complete', Version: 3 })
    expect(peers()).toEqual([{ cidr: '192.0.2.0/24' }])
    expect((await cloud.ec2.send(new GetManagedPrefixListEntriesCommand({ PrefixListId, TargetVersion: 2 }))).Entries)
      .toEqual([{ Cidr: '198.51.100.0/24' }])

    const kept = await cloud.ec2.send(new DeleteManagedPrefixListCommand({ PrefixListId }))
    expect(kept.PrefixList).toMatchObject({ State: 'delete-failed', StateMessage: expect.stringContaining(GroupId) })
    const { PrefixLists } = await cloud.ec2.send(new DescribeManagedPrefixListsCommand({ PrefixListIds: [PrefixListId] }))
    expect(PrefixLists).toMatchObject([{ State: 'delete-failed' }])
    expect((await cloud.ec2.send(new DescribePrefixListsCommand({}))).PrefixLists).toEqual([])
  })
})
