import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { HOST_ID, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { openRoutingLab, type RoutingLab } from '../../test/support/routing-lab.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { deleteVpc } from './delete-vpc.ts'
import { describeRouteTables } from './route-tables.ts'
import { createRoute } from './routes.ts'
import { createTags } from './tags.ts'
import { associateVpcCidrBlock } from './vpc-cidrs.ts'
import { modifyVpcPeeringConnectionOptions } from './vpc-peering-options.ts'
import {
  acceptVpcPeeringConnection, createVpcPeeringConnection, deleteVpcPeeringConnection, rejectVpcPeeringConnection,
} from './vpc-peering-requests.ts'
import { describeVpcPeeringConnections } from './vpc-peerings.ts'

const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

let lab: RoutingLab
let ours: string
let theirs: string
beforeEach(async () => {
  lab = await openRoutingLab()
  ours = await lab.addVpc('10.0.0.0/16')
  theirs = await lab.addVpc('10.1.0.0/16', {}, OTHER_ACCOUNT)
})
afterEach(() => lab.store.close())

const request = async (VpcId = ours, PeerVpcId = theirs, PeerOwnerId = OTHER_ACCOUNT) =>
  (await lab.call(createVpcPeeringConnection, { VpcId, PeerVpcId, PeerOwnerId })).VpcPeeringConnection?.VpcPeeringConnectionId ?? ''
const named = (VpcPeeringConnectionId: string) => ({ VpcPeeringConnectionId })
const accept = (id: string) => lab.call(acceptVpcPeeringConnection, named(id), OTHER_ACCOUNT)
const show = async (id: string, account?: string) =>
  (await lab.call(describeVpcPeeringConnections, { VpcPeeringConnectionIds: [id] }, account)).VpcPeeringConnections?.[0]
const statusOf = async (id: string, account?: string) => (await show(id, account))?.Status
const gone = (id: string, account?: string) =>
  lab.failure(describeVpcPeeringConnections, { VpcPeeringConnectionIds: [id] }, account)
const NOT_FOUND = /^InvalidVpcPeeringConnectionID.NotFound: The vpcPeeringConnection ID 'pcx-\w+' does not exist$/

describe('a peering', () => {
  it('is asked for, and then waits for the other side', async () => {
    const { VpcPeeringConnection: made } = await lab.call(createVpcPeeringConnection, {
      VpcId: ours, PeerVpcId: theirs, PeerOwnerId: OTHER_ACCOUNT,
      TagSpecifications: [{ ResourceType: 'vpc-peering-connection', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    expect(made?.Status).toEqual({ Code: 'initiating-request', Message: `Initiating Request to ${OTHER_ACCOUNT}` })
    const shown = await show(made?.VpcPeeringConnectionId ?? '')
    expect(shown).toMatchObject({
      Status: { Code: 'pending-acceptance', Message: `Pending Acceptance by ${OTHER_ACCOUNT}` },
      RequesterVpcInfo: {
        VpcId: ours, OwnerId: DEFAULT_ACCOUNT, Region: 'us-east-1', CidrBlock: '10.0.0.0/16', CidrBlockSet: [{ CidrBlock: '10.0.0.0/16' }],
        PeeringOptions: { AllowDnsResolutionFromRemoteVpc: false },
      },
      AccepterVpcInfo: { VpcId: theirs, OwnerId: OTHER_ACCOUNT, Region: 'us-east-1' },
      Tags: [{ Key: 'a', Value: 'b' }],
    })
    expect(shown?.AccepterVpcInfo?.CidrBlock).toBeUndefined()
    expect(shown?.ExpirationTime).toBeInstanceOf(Date)
  })

  it('is active once the owner of the other VPC accepts, and wakes both', async () => {
    const id = await request()
    await lab.query((db) => db.insertInto('slots').values([
      { host_id: HOST_ID, kind: 'vpc', slot: 1, owner_id: ours }, { host_id: HOST_ID, kind: 'vpc', slot: 2, owner_id: theirs },
    ]).execute())
    expect(await lab.failure(acceptVpcPeeringConnection, named(id))).toMatch(/^OperationNotPermitted/)
    expect((await accept(id)).VpcPeeringConnection?.Status?.Code).toBe('provisioning')
    expect(await lab.takeWork()).toEqual([`vpc ${ours}`, `vpc ${theirs}`].toSorted())
    for (const account of [DEFAULT_ACCOUNT, OTHER_ACCOUNT]) {
      expect(await show(id, account)).toMatchObject({
        Status: { Code: 'active', Message: 'Active' }, AccepterVpcInfo: { CidrBlock: '10.1.0.0/16' },
      })
    }
    expect(await lab.failure(acceptVpcPeeringConnection, named(id), OTHER_ACCOUNT))
      .toBe(`InvalidStateTransition: Invalid state transition for ${id}. Attempted to transition from active to active`)
    await lab.call(deleteVpcPeeringConnection, named(id))
    expect(await lab.takeWork()).toEqual([`vpc ${ours}`, `vpc ${theirs}`].toSorted())
  })

  it("within an account is the account's own to accept", async () => {
    const second = await lab.addVpc('10.2.0.0/16')
    const id = await request(ours, second, DEFAULT_ACCOUNT)
    await lab.call(acceptVpcPeeringConnection, named(id))
    expect((await statusOf(id))?.Code).toBe('active')
  })

  it('is one between two VPCs, whoever asked', async () => {
    const id = await request()
    const again = { VpcId: theirs, PeerVpcId: ours, PeerOwnerId: DEFAULT_ACCOUNT }
    expect(await lab.failure(createVpcPeeringConnection, again, OTHER_ACCOUNT)).toMatch(/^VpcPeeringConnectionAlreadyExists/)
    await lab.call(rejectVpcPeeringConnection, named(id), OTHER_ACCOUNT)
    await lab.call(createVpcPeeringConnection, again, OTHER_ACCOUNT)
  })

  it.each([
    ['overlapping blocks', async () => lab.addVpc('10.0.128.0/20', {}, OTHER_ACCOUNT)],
    ['a VPC that is not there', async () => 'vpc-00000000000000000'],
    ["another account's VPC", async () => lab.addVpc('10.9.0.0/16')],
  ])('with %s has failed, for two hours', async (_, peer) => {
    const id = await request(ours, await peer())
    expect(await statusOf(id)).toEqual({ Code: 'failed', Message: 'Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range' })
    expect(await gone(id, OTHER_ACCOUNT)).toMatch(NOT_FOUND)
    expect(await lab.failure(deleteVpcPeeringConnection, named(id))).toMatch(/^InvalidStateTransition/)
    lab.pass(2 * HOUR_MS)
    expect(await gone(id)).toMatch(NOT_FOUND)
  })

  it('fails when blocks overlap by the time that it is accepted', async () => {
    const id = await request()
    await lab.call(associateVpcCidrBlock, { VpcId: ours, CidrBlock: '10.1.5.0/24' })
    await accept(id)
    expect((await statusOf(id))?.Code).toBe('failed')
  })

  it('expires after seven days without an answer', async () => {
    const id = await request()
    lab.pass(7 * DAY_MS)
    expect(await statusOf(id)).toEqual({ Code: 'expired', Message: 'Expired' })
    expect(await lab.failure(acceptVpcPeeringConnection, named(id), OTHER_ACCOUNT)).toMatch(/^InvalidStateTransition.*from expired to active/)
    lab.pass(2 * DAY_MS)
    expect(await gone(id)).toMatch(NOT_FOUND)
    // Another request may be made, which forgets the old one for good.
    await request()
    expect(await lab.query((db) => db.selectFrom('vpc_peerings').select('peering_id').execute())).toHaveLength(1)
  })

  it('that was rejected is shown to who asked for two days, to who rejected it for two hours', async () => {
    const id = await request()
    expect(await lab.failure(rejectVpcPeeringConnection, named(id))).toMatch(/^OperationNotPermitted/)
    await lab.call(rejectVpcPeeringConnection, named(id), OTHER_ACCOUNT)
    expect(await statusOf(id)).toEqual({ Code: 'rejected', Message: `Rejected by ${OTHER_ACCOUNT}` })
    lab.pass(2 * HOUR_MS)
    expect(await gone(id, OTHER_ACCOUNT)).toMatch(NOT_FOUND)
    expect((await statusOf(id))?.Code).toBe('rejected')
    lab.pass(2 * DAY_MS)
    expect(await gone(id)).toMatch(NOT_FOUND)
  })

  it('can be deleted by either side when active, by who asked when pending', async () => {
    const pending = await request()
    expect(await lab.failure(deleteVpcPeeringConnection, named(pending), OTHER_ACCOUNT)).toMatch(/^OperationNotPermitted/)
    expect(await lab.call(deleteVpcPeeringConnection, named(pending))).toEqual({ Return: true })
    const active = await request()
    await accept(active)
    await lab.call(deleteVpcPeeringConnection, named(active), OTHER_ACCOUNT)
    expect(await statusOf(active)).toEqual({ Code: 'deleted', Message: `Deleted by ${OTHER_ACCOUNT}` })
    lab.pass(2 * HOUR_MS)
    expect(await gone(active, OTHER_ACCOUNT)).toMatch(NOT_FOUND)
    expect((await statusOf(active))?.Code).toBe('deleted')
  })

  it('ends with either VPC, but a request of another account is answered first', async () => {
    const pending = await request()
    expect(await lab.failure(deleteVpc, { VpcId: theirs }, OTHER_ACCOUNT)).toMatch(/^DependencyViolation/)
    await accept(pending)
    await lab.call(deleteVpc, { VpcId: theirs }, OTHER_ACCOUNT)
    expect((await statusOf(pending))?.Code).toBe('deleted')
    const own = await lab.addVpc('10.3.0.0/16')
    const second = await request(ours, own, DEFAULT_ACCOUNT)
    await lab.call(deleteVpc, { VpcId: ours })
    expect((await statusOf(second))?.Code).toBe('deleted')
  })

  it('is where routes go, which are blackholes while it is not active', async () => {
    const id = await request()
    const { tableId } = await lab.mainTableOf(ours)
    await lab.call(createRoute, { RouteTableId: tableId, DestinationCidrBlock: '10.1.0.0/16', VpcPeeringConnectionId: id })
    const state = async () => (await lab.call(describeRouteTables, { RouteTableIds: [tableId] })).RouteTables?.[0]?.Routes?.at(-1)
    expect(await state()).toMatchObject({ VpcPeeringConnectionId: id, State: 'blackhole' })
    await accept(id)
    expect((await state())?.State).toBe('active')
    await lab.call(deleteVpcPeeringConnection, named(id))
    expect((await state())?.State).toBe('blackhole')
    const other = await lab.mainTableOf(await lab.addVpc('10.4.0.0/16'))
    const live = await request()
    expect(await lab.failure(createRoute, { RouteTableId: other.tableId, DestinationCidrBlock: '10.1.0.0/16', VpcPeeringConnectionId: live }))
      .toMatch(/^InvalidParameterValue: route table rtb-\w+ and VPC peering connection pcx-\w+ belong to different networks/)
  })

  it('keeps blocks from being added that overlap', async () => {
    await accept(await request())
    expect(await lab.failure(associateVpcCidrBlock, { VpcId: ours, CidrBlock: '10.1.5.0/24' })).toMatch(/^CidrConflict.*peered VPC/)
  })

  it('has options of each side, which its owner changes while it is active', async () => {
    const id = await request()
    const on = { AllowDnsResolutionFromRemoteVpc: true }
    const change = { ...named(id), RequesterPeeringConnectionOptions: on }
    expect(await lab.failure(modifyVpcPeeringConnectionOptions, change))
      .toBe(`OperationNotPermitted: Peering ${id} is not active. Peering options can be added only to active peerings.`)
    await accept(id)
    expect(await lab.failure(modifyVpcPeeringConnectionOptions, named(id))).toMatch(/^MissingParameter/)
    expect(await lab.failure(modifyVpcPeeringConnectionOptions, change, OTHER_ACCOUNT)).toMatch(/^OperationNotPermitted/)
    expect(await lab.call(modifyVpcPeeringConnectionOptions, change)).toMatchObject({ RequesterPeeringConnectionOptions: on })
    const shown = await show(id)
    expect(shown?.RequesterVpcInfo?.PeeringOptions?.AllowDnsResolutionFromRemoteVpc).toBe(true)
    expect(shown?.AccepterVpcInfo?.PeeringOptions?.AllowDnsResolutionFromRemoteVpc).toBe(false)
    expect(await lab.failure(modifyVpcPeeringConnectionOptions, {
      ...named(id), RequesterPeeringConnectionOptions: { AllowEgressFromLocalVpcToRemoteClassicLink: true },
    })).toMatch(/^UnsupportedOperation/)
  })

  it('has tags of each side', async () => {
    const id = await request()
    await lab.call(createTags, { Resources: [id], Tags: [{ Key: 'Name', Value: 'ours' }] })
    await lab.call(createTags, { Resources: [id], Tags: [{ Key: 'Name', Value: 'theirs' }] }, OTHER_ACCOUNT)
    expect((await show(id))?.Tags).toEqual([{ Key: 'Name', Value: 'ours' }])
    expect((await show(id, OTHER_ACCOUNT))?.Tags).toEqual([{ Key: 'Name', Value: 'theirs' }])
  })

  it('is refused with what is missing or elsewhere', async () => {
    expect(await lab.failure(createVpcPeeringConnection, { VpcId: ours })).toMatch(/^MissingParameter.*peerVpcId/)
    expect(await lab.failure(createVpcPeeringConnection, { VpcId: ours, PeerVpcId: theirs }))
      .toBe(`InvalidVpcID.NotFound: The vpc ID '${theirs}' does not exist`)
    expect(await lab.failure(createVpcPeeringConnection, { VpcId: theirs, PeerVpcId: ours })).toMatch(/^InvalidVpcID.NotFound/)
    expect(await lab.failure(createVpcPeeringConnection, { VpcId: ours, PeerVpcId: theirs, PeerRegion: 'eu-west-1' })).toMatch(/^UnsupportedOperation/)
    expect(await lab.failure(acceptVpcPeeringConnection, named('pcx-1'))).toMatch(/^InvalidVpcPeeringConnectionId.Malformed/)
    expect(await lab.failure(acceptVpcPeeringConnection, named('pcx-00000000000000000'))).toMatch(NOT_FOUND)
  })

  it('is found by its filters', async () => {
    const id = await request()
    const find = async (Name: string, value: string) =>
      (await lab.call(describeVpcPeeringConnections, { Filters: [{ Name, Values: [value] }] })).VpcPeeringConnections?.map((each) => each.VpcPeeringConnectionId)
    for (const [name, value] of [
      ['accepter-vpc-info.owner-id', OTHER_ACCOUNT], ['accepter-vpc-info.vpc-id', theirs], ['requester-vpc-info.cidr-block', '10.0.*'],
      ['requester-vpc-info.owner-id', DEFAULT_ACCOUNT], ['requester-vpc-info.vpc-id', ours], ['status-code', 'pending-acceptance'],
      ['status-message', 'Pending*'], ['vpc-peering-connection-id', id], ['expiration-time', '2026-01-08*'],
    ] as const) expect(await find(name, value)).toEqual([id])
    expect(await find('accepter-vpc-info.cidr-block', '*')).toEqual([])
  })

  it.each(DOCUMENTED_FILTERS.DescribeVpcPeeringConnections)('knows the filter %s', async (Name) => {
    await request()
    expect((await lab.call(describeVpcPeeringConnections, { Filters: [{ Name, Values: ['nothing'] }] })).VpcPeeringConnections).toEqual([])
  })
})
