import {
  AuthorizeSecurityGroupEgressCommand, AuthorizeSecurityGroupIngressCommand, CreateSecurityGroupCommand, CreateTagsCommand,
  DeleteSecurityGroupCommand, DeleteTagsCommand, DescribeSecurityGroupRulesCommand, DescribeSecurityGroupsCommand,
  DescribeTagsCommand, ModifySecurityGroupRulesCommand, RevokeSecurityGroupEgressCommand, RevokeSecurityGroupIngressCommand,
  RunInstancesCommand, TerminateInstancesCommand, UpdateSecurityGroupRuleDescriptionsIngressCommand, type IpPermission,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud()
})
afterAll(() => cloud.close())

let groupId: string
let count = 0
beforeEach(async () => {
  groupId = await createGroup(`group-${count++}`)
})

const createGroup = async (GroupName: string) =>
  (await cloud.ec2.send(new CreateSecurityGroupCommand({ GroupName, Description: 'x' }))).GroupId ?? ''
const allow = async (...IpPermissions: IpPermission[]) =>
  (await cloud.ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: groupId, IpPermissions })))
    .SecurityGroupRules ?? []
const ssh: IpPermission = { IpProtocol: 'tcp', FromPort: 22, ToPort: 22 }
const from = (...cidrs: string[]) => ({ IpRanges: cidrs.map((CidrIp) => ({ CidrIp })) })
const failure = (name: string, message: string) =>
  expect.objectContaining({ name, message: expect.stringContaining(message) })
const describeOne = async () =>
  (await cloud.ec2.send(new DescribeSecurityGroupsCommand({ GroupIds: [groupId] }))).SecurityGroups?.[0]
const dryRun = failure('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.')

/** What the network has in force for the group; undefined where it knows of no such group. */
function inForce() {
  const spec = [...cloud.host.network.vpcs.values()].map((vpc) => vpc.groups.get(groupId)).find((group) => group !== undefined)
  return spec && { ingress: spec.ingress.map(textOf), egress: spec.egress.map(textOf) }
}
const textOf = (rule: { protocol: string; fromPort: number | null; peer: object }) =>
  [rule.protocol, rule.fromPort, ...Object.values(rule.peer)].join(' ')

describe('rules of a group with a running member', () => {
  test('are in force when the call has answered, and gone when they are revoked', async () => {
    const reservation = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, SecurityGroupIds: [groupId],
    }))
    const InstanceIds = (reservation.Instances ?? []).map((instance) => instance.InstanceId ?? '')
    expect(inForce()).toEqual({ ingress: [], egress: ['-1  0.0.0.0/0'] })

    const [rule] = await allow({ ...ssh, ...from('10.0.0.0/8') })
    await cloud.ec2.send(new RevokeSecurityGroupEgressCommand(
      { GroupId: groupId, IpPermissions: [{ IpProtocol: '-1', ...from('0.0.0.0/0') }] }))
    const dns = { IpProtocol: 'udp', FromPort: 53, ToPort: 53, UserIdGroupPairs: [{ GroupId: groupId }] }
    await cloud.ec2.send(new AuthorizeSecurityGroupEgressCommand({ GroupId: groupId, IpPermissions: [dns] }))
    expect(inForce()).toEqual({ ingress: ['tcp 22 10.0.0.0/8'], egress: [`udp 53 ${groupId}`] })

    const update = { SecurityGroupRuleId: rule?.SecurityGroupRuleId, SecurityGroupRule: { ...ssh, CidrIpv4: '10.0.0.0/9' } }
    await cloud.ec2.send(new ModifySecurityGroupRulesCommand({ GroupId: groupId, SecurityGroupRules: [update] }))
    expect(inForce()?.ingress).toEqual(['tcp 22 10.0.0.0/9'])
    const revoked = await cloud.ec2.send(new RevokeSecurityGroupIngressCommand(
      { GroupId: groupId, SecurityGroupRuleIds: [rule?.SecurityGroupRuleId ?? ''] }))
    expect(revoked.RevokedSecurityGroupRules).toEqual([{
      SecurityGroupRuleId: rule?.SecurityGroupRuleId, GroupId: groupId, IsEgress: false, ...ssh, CidrIpv4: '10.0.0.0/9',
    }])
    expect(inForce()?.ingress).toEqual([])

    const remove = () => cloud.ec2.send(new DeleteSecurityGroupCommand({ GroupId: groupId }))
    await expect(remove()).rejects.toEqual(failure('DependencyViolation', `resource ${groupId} has a dependent object`))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds }))
    expect(await remove()).toMatchObject({ Return: true, GroupId: groupId })
    expect(inForce()).toBeUndefined()
    await expect(describeOne()).rejects.toEqual(
      failure('InvalidGroup.NotFound', `The security group '${groupId}' does not exist`))
  })
})

describe('rules', () => {
  test('have ids, tags and descriptions of their own', async () => {
    const { SecurityGroupRules: [rule] = [] } = await cloud.ec2.send(new AuthorizeSecurityGroupIngressCommand({
      GroupId: groupId, IpPermissions: [{ ...ssh, IpRanges: [{ CidrIp: '10.0.0.0/8', Description: 'one' }] }],
      TagSpecifications: [{ ResourceType: 'security-group-rule', Tags: [{ Key: 'Env', Value: 'test' }] }],
    }))
    const id = rule?.SecurityGroupRuleId ?? ''
    const show = async () => (await cloud.ec2.send(new DescribeSecurityGroupRulesCommand({ SecurityGroupRuleIds: [id] })))
      .SecurityGroupRules?.[0]
    expect(await show()).toEqual(rule)
    await cloud.ec2.send(new UpdateSecurityGroupRuleDescriptionsIngressCommand(
      { GroupId: groupId, SecurityGroupRuleDescriptions: [{ SecurityGroupRuleId: id, Description: 'two' }] }))
    await cloud.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'Env', Value: 'prod' }] }))
    expect(await show()).toEqual({ ...rule, Description: 'two', Tags: [{ Key: 'Env', Value: 'prod' }] })
    const { SecurityGroupRules: own = [] } = await cloud.ec2.send(new DescribeSecurityGroupRulesCommand(
      { Filters: [{ Name: 'group-id', Values: [groupId] }] }))
    expect(own.map((each) => each.IsEgress).toSorted()).toEqual([false, true])
  })

  test('of IPv6 are kept, and shown where IPv6 has its place', async () => {
    const [rule] = await allow({ ...ssh, Ipv6Ranges: [{ CidrIpv6: '2001:DB8::1/32' }] })
    expect(rule?.CidrIpv6).toBe('2001:db8::/32')
    expect((await describeOne())?.IpPermissions).toEqual([
      { ...ssh, ...from(), Ipv6Ranges: [{ CidrIpv6: '2001:db8::/32' }], PrefixListIds: [], UserIdGroupPairs: [] },
    ])
  })

  test('that are not there are said to be so in the default VPC', async () => {
    const everything = { IpProtocol: '-1', FromPort: 0, ToPort: 0, Ipv6Ranges: [{ CidrIpv6: '::/0' }] }
    const revoked = await cloud.ec2.send(
      new RevokeSecurityGroupEgressCommand({ GroupId: groupId, IpPermissions: [everything] }))
    expect(revoked).toMatchObject({
      Return: true, UnknownIpPermissions: [{ IpProtocol: '-1', Ipv6Ranges: [{ CidrIpv6: '::/0' }] }],
    })
    expect(revoked.RevokedSecurityGroupRules ?? []).toEqual([])
  })

  test('change all or none, and not at all with DryRun', async () => {
    await allow({ ...ssh, ...from('10.0.0.0/8') })
    await expect(allow({ ...ssh, ...from('172.16.0.0/12', '10.0.0.0/8') })).rejects.toEqual(failure(
      'InvalidPermission.Duplicate',
      'the specified rule "peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW" already exists',
    ))
    const flat = { GroupId: groupId, IpProtocol: 'tcp', FromPort: 22, ToPort: 22, DryRun: true }
    await expect(cloud.ec2.send(new AuthorizeSecurityGroupIngressCommand({ ...flat, CidrIp: '172.16.0.0/12' })))
      .rejects.toEqual(dryRun)
    await expect(cloud.ec2.send(new RevokeSecurityGroupIngressCommand({ ...flat, CidrIp: '10.0.0.0/8' })))
      .rejects.toEqual(dryRun)
    const remove = cloud.ec2.send(new DeleteSecurityGroupCommand({ GroupId: groupId, DryRun: true }))
    await expect(remove).rejects.toEqual(dryRun)
    expect((await describeOne())?.IpPermissions?.[0]?.IpRanges).toEqual([{ CidrIp: '10.0.0.0/8' }])
  })
})

describe('tags', () => {
  const tagsOf = async () => (await cloud.ec2.send(new DescribeTagsCommand(
    { Filters: [{ Name: 'resource-id', Values: [groupId] }] }))).Tags?.map((tag) => [tag.Key, tag.Value])

  test('may have the empty value, and go by key, by key and value, or all', async () => {
    const tags = Object.entries({ a: '1', b: '', c: '3', d: '4' }).map(([Key, Value]) => ({ Key, Value }))
    await cloud.ec2.send(new CreateTagsCommand({ Resources: [groupId], Tags: tags }))
    expect((await describeOne())?.Tags).toContainEqual({ Key: 'b', Value: '' })
    const remove = (...Tags: { Key: string; Value?: string }[]) =>
      cloud.ec2.send(new DeleteTagsCommand({ Resources: [groupId], ...(Tags.length > 0 ? { Tags } : {}) }))
    await remove({ Key: 'a', Value: '2' }, { Key: 'c', Value: '3' }, { Key: 'd' }, { Key: 'x' })
    expect(await tagsOf()).toEqual([['a', '1'], ['b', '']])
    await remove()
    await remove()
    expect(await tagsOf()).toEqual([])
    await expect(remove({ Key: 'aws:x' })).rejects.toEqual(
      failure('InvalidParameterValue', "Tag keys starting with 'aws:' are reserved for internal use"))
  })
})
