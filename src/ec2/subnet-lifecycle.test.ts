import type { CreateSubnetRequest, ModifySubnetAttributeRequest } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { createSubnet } from './create-subnet.ts'
import { deleteSubnet } from './delete-subnet.ts'
import { modifySubnetAttribute } from './modify-subnet-attribute.ts'
import { associateRouteTable } from './route-table-associations.ts'
import { createRouteTable, deleteRouteTable } from './route-tables.ts'
import { describeSubnets } from './subnets.ts'

let lab: RoutingLab
let vpcId: string
beforeEach(async () => {
  lab = await openRoutingLab()
  vpcId = await lab.addVpc('10.0.0.0/16')
})
afterEach(() => lab.store.close())

const show = async (subnetId: string) => (await lab.call(describeSubnets, { SubnetIds: [subnetId] })).Subnets?.[0]

describe('CreateSubnet', () => {
  it('makes a private subnet in the first zone that uses the default network ACL', async () => {
    const { Subnet: subnet } = await lab.call(createSubnet, {
      VpcId: vpcId, CidrBlock: '10.0.1.9/24', TagSpecifications: [{ ResourceType: 'subnet', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    expect(subnet).toEqual(await show(subnet?.SubnetId ?? ''))
    expect(subnet).toMatchObject({
      CidrBlock: '10.0.1.0/24', AvailabilityZone: 'us-east-1a', State: 'available', AvailableIpAddressCount: 251, DefaultForAz: false,
      MapPublicIpOnLaunch: false, Tags: [{ Key: 'a', Value: 'b' }],
    })
    const acl = await lab.query((db) => db
      .selectFrom('network_acl_associations').innerJoin('network_acls', 'network_acls.network_acl_id', 'network_acl_associations.network_acl_id')
      .select(['is_default', 'vpc_id']).where('subnet_id', '=', subnet?.SubnetId ?? '').executeTakeFirst())
    expect(acl).toEqual({ is_default: 1, vpc_id: vpcId })
  })

  it.each([
    [{ AvailabilityZone: 'us-east-1c' }, 'us-east-1c'], [{ AvailabilityZoneId: 'use1-az2' }, 'us-east-1b'],
    [{ AvailabilityZone: '' }, 'us-east-1a'],
  ])('takes the zone by name or by id: %o', async (zone, expected) => {
    expect((await show(await lab.addSubnet(vpcId, '10.0.0.0/28', zone)))?.AvailabilityZone).toBe(expected)
  })

  it.each<[Partial<CreateSubnetRequest>, RegExp | string]>([
    [{}, 'MissingParameter: The request must contain the parameter cidrBlock'],
    [{ CidrBlock: '10.0.0.0/29' }, "InvalidSubnet.Range: The CIDR '10.0.0.0/29' is invalid."],
    [{ CidrBlock: '10.1.0.0/24' }, "InvalidSubnet.Range: The CIDR '10.1.0.0/24' is invalid."],
    [{ CidrBlock: 'nonsense' }, /^InvalidParameterValue: Value \(nonsense\) for parameter cidrBlock is invalid/],
    [{ CidrBlock: '10.0.5.0/25' }, "InvalidSubnet.Conflict: The CIDR '10.0.5.0/25' conflicts with another subnet"],
    [{ CidrBlock: '10.0.0.0/16' }, "InvalidSubnet.Conflict: The CIDR '10.0.0.0/16' conflicts with another subnet"],
    [{ CidrBlock: '10.0.1.0/24', AvailabilityZone: 'us-east-1x' }, 'InvalidParameterValue: Value (us-east-1x) for parameter ' +
      'availabilityZone is invalid. Subnets can currently only be created in the following availability zones: us-east-1a, us-east-1b, us-east-1c.'],
    [{ CidrBlock: '10.0.1.0/24', AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1' }, /^InvalidParameterCombination/],
    [{ CidrBlock: '10.0.1.0/24', Ipv6Native: true }, /^UnsupportedOperation/],
    [{ CidrBlock: '10.0.1.0/24', VpcId: 'vpc-00000000000000000' }, /^InvalidVpcID.NotFound/],
  ])('refuses %o', async (input, failure) => {
    await lab.addSubnet(vpcId, '10.0.5.0/24')
    expect(await lab.failure(createSubnet, { VpcId: vpcId, ...input })).toMatch(failure)
  })
})

describe('DeleteSubnet', () => {
  it('takes its associations along, so that its route table can go', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const { RouteTable: table } = await lab.call(createRouteTable, { VpcId: vpcId })
    await lab.call(associateRouteTable, { RouteTableId: table?.RouteTableId, SubnetId: subnetId })
    expect(await lab.failure(deleteRouteTable, { RouteTableId: table?.RouteTableId })).toMatch(/^DependencyViolation/)
    await lab.call(deleteSubnet, { SubnetId: subnetId })
    await lab.call(deleteRouteTable, { RouteTableId: table?.RouteTableId })
    expect(await lab.failure(deleteSubnet, { SubnetId: subnetId })).toBe(`InvalidSubnetID.NotFound: The subnet ID '${subnetId}' does not exist`)
  })

  it('waits for interfaces until the last trace of them is gone, and not for terminated instances', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const { instanceId, interfaceId } = await lab.addInstance(subnetId, '10.0.0.10')
    const refusal = `DependencyViolation: The subnet '${subnetId}' has dependencies and cannot be deleted.`
    expect(await lab.failure(deleteSubnet, { SubnetId: subnetId })).toBe(refusal)
    await lab.query(async (db) => {
      await db.updateTable('instances').set({ state: 'terminated', vpc_id: null, subnet_id: null }).where('instance_id', '=', instanceId).execute()
      await db.updateTable('interfaces').set({ status: 'removing', instance_id: null, wanted: 0 }).where('interface_id', '=', interfaceId).execute()
    })
    expect(await lab.failure(deleteSubnet, { SubnetId: subnetId })).toBe(refusal)
    await lab.query((db) => db.deleteFrom('interfaces').where('interface_id', '=', interfaceId).execute())
    await lab.call(deleteSubnet, { SubnetId: subnetId })
  })

  it('waits for NAT gateways that are not deleted', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    await lab.query((db) => db.insertInto('nat_gateways').values({
      nat_gateway_id: 'nat-0123456789abcdef0', account_id: DEFAULT_ACCOUNT, vpc_id: vpcId, subnet_id: subnetId, interface_id: null,
      host_id: HOST_ID, connectivity: 'public', state: 'deleting', created_ms: NOW_MS, deleted_ms: null, doc: '{}',
    }).execute())
    expect(await lab.failure(deleteSubnet, { SubnetId: subnetId })).toMatch(/^DependencyViolation/)
    await lab.query((db) => db.updateTable('nat_gateways').set({ state: 'deleted' }).execute())
    await lab.call(deleteSubnet, { SubnetId: subnetId })
  })

  it('does not know the subnets of others', async () => {
    const foreign = (await lab.call(describeSubnets, {}, OTHER_ACCOUNT)).Subnets?.[0]?.SubnetId
    expect(await lab.failure(deleteSubnet, { SubnetId: foreign })).toMatch(/^InvalidSubnetID.NotFound/)
    expect(await lab.failure(deleteSubnet, { SubnetId: 'nonsense' })).toMatch(/^InvalidSubnetID.Malformed/)
  })
})

describe('ModifySubnetAttribute', () => {
  it('switches public addresses of instances to come', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    await lab.call(modifySubnetAttribute, { SubnetId: subnetId, MapPublicIpOnLaunch: { Value: true } })
    expect((await show(subnetId))?.MapPublicIpOnLaunch).toBe(true)
    await lab.call(modifySubnetAttribute, { SubnetId: subnetId, MapPublicIpOnLaunch: { Value: false } })
    expect((await show(subnetId))?.MapPublicIpOnLaunch).toBe(false)
  })

  it.each<[Partial<ModifySubnetAttributeRequest>, RegExp]>([
    [{}, /^MissingParameter/],
    [{ EnableDns64: { Value: true } }, /^UnsupportedOperation: The parameter EnableDns64/],
    [{ EnableDns64: { Value: false } }, /^no failure/],
    [{ PrivateDnsHostnameTypeOnLaunch: 'ip-name' }, /^no failure/],
    [{ PrivateDnsHostnameTypeOnLaunch: 'resource-name' }, /^UnsupportedOperation/],
    [{ MapPublicIpOnLaunch: { Value: true }, EnableDns64: { Value: false } }, /^InvalidParameterCombination/],
    [{ EnableLniAtDeviceIndex: 1 }, /^UnsupportedOperation/],
  ])('with %o: %s', async (input, outcome) => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    expect(await lab.failure(modifySubnetAttribute, { SubnetId: subnetId, ...input })).toMatch(outcome)
  })
})

describe('the free addresses of a subnet', () => {
  it('are fewer by secondary addresses too', async () => {
    const subnetId = await lab.addSubnet(vpcId, '10.0.0.0/24')
    const { interfaceId } = await lab.addInstance(subnetId, '10.0.0.10')
    await lab.query((db) => db.insertInto('interface_addresses').values(['10.0.0.11', '10.0.0.12'].map((address) => ({
      interface_id: interfaceId, vpc_id: vpcId, private_ip: address, public_ip: null, created_ms: NOW_MS,
    }))).execute())
    expect((await show(subnetId))?.AvailableIpAddressCount).toBe(248)
  })
})
