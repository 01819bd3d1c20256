import type { UserIdGroupPair } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { loadGroups, loadVpcSpec } from '../vpc/load-spec.ts'
import { authorizeSecurityGroupIngress } from './authorize-security-group-rules.ts'
import { createSubnet } from './create-subnet.ts'
import { deleteSecurityGroup } from './delete-security-group.ts'
import { deleteVpc } from './delete-vpc.ts'
import { describeSecurityGroupRules } from './describe-security-group-rules.ts'
import { modifySecurityGroupRules } from './modify-security-group-rules.ts'
import { revokeSecurityGroupIngress } from './revoke-security-group-rules.ts'
import { describeSecurityGroupReferences, describeStaleSecurityGroups } from './security-group-references.ts'
import { createSecurityGroup, describeSecurityGroups } from './security-groups.ts'
import { acceptVpcPeeringConnection, createVpcPeeringConnection, deleteVpcPeeringConnection } from './vpc-peering-requests.ts'

let lab: RoutingLab
let ours: string
let theirs: string
let web: string
let clients: string
let peeringId: string
beforeEach(async () => {
  lab = await openRoutingLab()
  ours = await lab.addVpc('10.0.0.0/16')
  theirs = await lab.addVpc('10.1.0.0/16', {}, OTHER_ACCOUNT)
  web = await addGroup('web', ours)
  clients = await addGroup('clients', theirs, OTHER_ACCOUNT)
  const asked = await lab.call(createVpcPeeringConnection, { VpcId: ours, PeerVpcId: theirs, PeerOwnerId: OTHER_ACCOUNT })
  peeringId = asked.VpcPeeringConnection?.VpcPeeringConnectionId ?? ''
})
afterEach(() => lab.store.close())

const addGroup = async (GroupName: string, VpcId: string, account?: string) =>
  (await lab.call(createSecurityGroup, { GroupName, Description: GroupName, VpcId }, account)).GroupId ?? ''
const accept = () => lab.call(acceptVpcPeeringConnection, { VpcPeeringConnectionId: peeringId }, OTHER_ACCOUNT)
const endPeering = () => lab.call(deleteVpcPeeringConnection, { VpcPeeringConnectionId: peeringId })
const rule = (pair: UserIdGroupPair) => ({ GroupId: web, IpPermissions: [{ IpProtocol: 'tcp', FromPort: 80, ToPort: 80, UserIdGroupPairs: [pair] }] })
const fromClients = () => rule({ GroupId: clients, UserId: OTHER_ACCOUNT })
const pairs = async () => (await lab.call(describeSecurityGroups, { GroupIds: [web] })).SecurityGroups?.[0]?.IpPermissions?.[0]?.UserIdGroupPairs
const staleOf = async () => (await lab.call(describeStaleSecurityGroups, { VpcId: ours })).StaleSecurityGroupSet
const references = async () =>
  (await lab.call(describeSecurityGroupReferences, { GroupId: [clients] }, OTHER_ACCOUNT)).SecurityGroupReferenceSet

describe('a rule that names a group of a peered VPC', () => {
  it('is made while the peering is active, and shows it', async () => {
    expect(await lab.failure(authorizeSecurityGroupIngress, fromClients()))
      .toBe(`InvalidGroup.NotFound: The security group '${clients}' does not exist`)
    await accept()
    await lab.call(authorizeSecurityGroupIngress, fromClients())
    const peer = { GroupId: clients, UserId: OTHER_ACCOUNT, VpcId: theirs, VpcPeeringConnectionId: peeringId, PeeringStatus: 'active' }
    expect(await pairs()).toEqual([peer])
    const { SecurityGroupRules: rules } = await lab.call(describeSecurityGroupRules, { Filters: [{ Name: 'group-id', Values: [web] }] })
    expect(rules?.find((each) => !each.IsEgress)?.ReferencedGroupInfo).toEqual(peer)
    expect((await lab.call(describeSecurityGroups, { Filters: [{ Name: 'ip-permission.user-id', Values: [OTHER_ACCOUNT] }] })).SecurityGroups)
      .toMatchObject([{ GroupId: web }])
    expect(await references()).toEqual([{ GroupId: clients, ReferencingVpcId: ours, VpcPeeringConnectionId: peeringId }])
    expect(await staleOf()).toEqual([])
  })

  it('needs the id, the owner and the peering to be right', async () => {
    await accept()
    const refused = (pair: UserIdGroupPair) => lab.failure(authorizeSecurityGroupIngress, rule(pair))
    expect(await refused({ GroupId: clients })).toMatch(/^InvalidGroup.NotFound/)
    expect(await refused({ GroupName: 'clients', UserId: OTHER_ACCOUNT })).toMatch(/^InvalidGroup.NotFound/)
    expect(await refused({ GroupId: clients, UserId: OTHER_ACCOUNT, VpcPeeringConnectionId: 'pcx-00000000000000000' })).toMatch(/^InvalidGroup.NotFound/)
    expect(await refused({ GroupId: clients, UserId: OTHER_ACCOUNT, VpcId: ours })).toMatch(/^InvalidGroup.NotFound/)
    expect(await refused({ GroupId: clients, UserId: OTHER_ACCOUNT, VpcId: theirs, VpcPeeringConnectionId: peeringId })).toBe('no failure')
  })

  it('lets in the members of that group, for as long as the peering is active', async () => {
    await accept()
    await lab.call(authorizeSecurityGroupIngress, fromClients())
    const { Subnet: subnet } = await lab.call(createSubnet, { VpcId: theirs, CidrBlock: '10.1.0.0/24' }, OTHER_ACCOUNT)
    const { interfaceId } = await lab.addInstance(subnet?.SubnetId ?? '', '10.1.0.10')
    await lab.query(async (db) => {
      await db.insertInto('interface_groups').values({ interface_id: interfaceId, group_id: clients, position: 0 }).execute()
      await db.insertInto('slots').values([ours, theirs, peeringId].map((owner_id, slot) => (
        { host_id: HOST_ID, kind: 'vpc' as const, slot, owner_id }))).execute()
    })
    const spec = () => lab.query((db) => loadVpcSpec(db, ours, HOST_ID, 1))
    expect((await spec()).foreignGroups).toEqual([{ groupId: clients, addresses: ['10.1.0.10'] }])
    expect((await spec()).groups.find((group) => group.groupId === web)?.ingress).toMatchObject([{ peer: { groupId: clients } }])
    await endPeering()
    expect((await spec()).foreignGroups).toEqual([{ groupId: clients, addresses: [] }])
  })

  it('keeps its group when its ports change', async () => {
    await accept()
    const made = await lab.call(authorizeSecurityGroupIngress, fromClients())
    const [{ SecurityGroupRuleId } = {}] = made.SecurityGroupRules ?? []
    await lab.call(modifySecurityGroupRules, {
      GroupId: web,
      SecurityGroupRules: [{ SecurityGroupRuleId, SecurityGroupRule: { IpProtocol: 'tcp', FromPort: 443, ToPort: 443, ReferencedGroupId: clients } }],
    })
    expect(await pairs()).toMatchObject([{ GroupId: clients, UserId: OTHER_ACCOUNT, PeeringStatus: 'active' }])
  })

  it('is stale when the peering has ended, and can be revoked still', async () => {
    await accept()
    await lab.call(authorizeSecurityGroupIngress, fromClients())
    await endPeering()
    expect(await references()).toEqual([])
    expect(await staleOf()).toEqual([{
      GroupId: web, GroupName: 'web', Description: 'web', VpcId: ours, StaleIpPermissionsEgress: [],
      StaleIpPermissions: [{
        IpProtocol: 'tcp', FromPort: 80, ToPort: 80, IpRanges: [], PrefixListIds: [],
        UserIdGroupPairs: [{ GroupId: clients, UserId: OTHER_ACCOUNT, VpcId: theirs, VpcPeeringConnectionId: peeringId, PeeringStatus: 'deleted' }],
      }],
    }])
    const [pair] = (await pairs()) ?? []
    await lab.call(revokeSecurityGroupIngress, rule(pair ?? {}))
    expect(await staleOf()).toEqual([])
  })

  it('is stale when the group is gone, which it does not keep from going', async () => {
    await accept()
    await lab.call(authorizeSecurityGroupIngress, fromClients())
    await lab.call(deleteSecurityGroup, { GroupId: clients }, OTHER_ACCOUNT)
    expect(await pairs()).toMatchObject([{ GroupId: clients }])
    expect((await staleOf())?.map((group) => group.GroupId)).toEqual([web])
    const [spec] = await lab.query((db) => loadGroups(db, ours, [web]))
    expect(spec?.ingress).toEqual([])
    await lab.call(revokeSecurityGroupIngress, rule({ GroupId: clients }))
    expect(await pairs()).toBeUndefined()
  })

  it("does not keep the other VPC, with its default group, from going", async () => {
    await accept()
    const { SecurityGroups: [defaultGroup] = [] } = await lab.call(
      describeSecurityGroups, { Filters: [{ Name: 'vpc-id', Values: [theirs] }, { Name: 'group-name', Values: ['default'] }] }, OTHER_ACCOUNT)
    await lab.call(authorizeSecurityGroupIngress, rule({ GroupId: defaultGroup?.GroupId, UserId: OTHER_ACCOUNT }))
    await lab.call(deleteSecurityGroup, { GroupId: clients }, OTHER_ACCOUNT)
    await lab.call(deleteVpc, { VpcId: theirs }, OTHER_ACCOUNT)
    expect((await staleOf())?.map((group) => group.GroupId)).toEqual([web])
  })
})

describe('DescribeSecurityGroupReferences and DescribeStaleSecurityGroups', () => {
  it('say what is missing, malformed or not there', async () => {
    expect(await lab.failure(describeSecurityGroupReferences, { GroupId: [] })).toMatch(/^MissingParameter/)
    expect(await lab.failure(describeSecurityGroupReferences, { GroupId: ['sg-1'] })).toMatch(/^InvalidGroupId.Malformed/)
    expect(await lab.failure(describeSecurityGroupReferences, { GroupId: [clients] })).toMatch(/^InvalidGroup.NotFound/)
    expect(await lab.failure(describeStaleSecurityGroups, { VpcId: theirs })).toMatch(/^InvalidVpcID.NotFound/)
    expect(await lab.failure(describeStaleSecurityGroups, { VpcId: ours, MaxResults: 256 })).toMatch(/^InvalidParameterValue/)
  })
})
