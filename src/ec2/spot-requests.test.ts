import type { RequestSpotInstancesRequest, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertImage, NOW_MS, testContext } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { cancelSpotInstanceRequests } from './cancel-spot-instance-requests.ts'
import { describeInstances } from './describe-instances.ts'
import { describeSpotInstanceRequests } from './describe-spot-instance-requests.ts'
import { requestSpotInstances } from './request-spot-instances.ts'
import { runInstances } from './run-instances.ts'
import { fulfilSpotRequest, noteFulfilmentFailure } from './spot-fulfil.ts'
import { createTags, describeTags } from './tags.ts'

let account: MemoryAccount
let imageId: string
beforeEach(async () => {
  account = await openMemoryAccount()
  imageId = (await account.query((db) => insertImage(testContext(db, seededRandom(5))))).image_id
})

type Spot = NonNullable<RunInstancesRequest['InstanceMarketOptions']>['SpotOptions']
const run = (options: Spot = {}, change: Partial<RunInstancesRequest> = {}): RunInstancesRequest => ({
  ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, InstanceMarketOptions: { MarketType: 'spot', SpotOptions: options }, ...change,
})
const ask = (change: Partial<RequestSpotInstancesRequest> = {}): RequestSpotInstancesRequest => ({
  LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro' }, ...change,
})
const show = async (input = {}) => (await account.call(describeSpotInstanceRequests, input)).SpotInstanceRequests ?? []
const instances = async (input = {}) =>
  (await account.call(describeInstances, input)).Reservations?.flatMap((each) => each.Instances ?? []) ?? []
const rowOf = (id: string | undefined) => account.query((db) =>
  db.selectFrom('spot_requests').selectAll().where('request_id', '=', id ?? '').executeTakeFirstOrThrow())
const fulfil = async (id: string | undefined, zone = 'us-east-1a') => {
  const row = await rowOf(id)
  return account.call(async (context) => fulfilSpotRequest(context, row, zone), {})
}
const cap = (ppm: number) => account.query(async (db) => {
  for (const zone of ['us-east-1a', 'us-east-1b', 'us-east-1c']) {
    await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: ppm, updated_ms: NOW_MS, doc: '{}' })
      .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm: ppm })).execute()
  }
})
const pin = (zone: string, price: number) => account.query((db) =>
  db.insertInto('spot_pins').values({ zone, instance_type: 't3.micro', at_ms: NOW_MS, price_micro_usd: price }).execute())

describe('RunInstances on spot', () => {
  it('launches an instance at once, with a request that is fulfilled', async () => {
    const { Instances: [instance] = [] } = await account.call(runInstances, run({ MaxPrice: '0.005' }, {
      TagSpecifications: [{ ResourceType: 'spot-instances-request', Tags: [{ Key: 'of', Value: 'request' }] }],
    }))
    expect(instance).toMatchObject({ State: { Name: 'pending' }, InstanceLifecycle: 'spot', Tags: undefined })
    const [request, ...others] = await show({ Filters: [{ Name: 'tag:of', Values: ['request'] }] })
    expect(others).toEqual([])
    expect(request).toMatchObject({
      SpotInstanceRequestId: instance?.SpotInstanceRequestId, State: 'active', Type: 'one-time', InstanceId: instance?.InstanceId,
      Status: { Code: 'fulfilled', Message: 'Your spot request is fulfilled.' }, SpotPrice: '0.005000', InstanceInterruptionBehavior: 'terminate',
      LaunchedAvailabilityZone: instance?.Placement?.AvailabilityZone, ProductDescription: 'Linux/UNIX', ValidUntil: undefined,
    })
    const events = await account.query((db) => db.selectFrom('cloud_events').select(['detail_type', 'detail']).execute())
    expect(events.filter((each) => each.detail_type === 'EC2 Spot Instance Request Fulfillment').map((each) => JSON.parse(each.detail) as unknown))
      .toEqual([{ 'spot-instance-request-id': request?.SpotInstanceRequestId, 'instance-id': instance?.InstanceId }])
  })

  it('goes to the cheapest zone, all instances of a call to the same', async () => {
    await pin('us-east-1b', 1500)
    const { Instances = [] } = await account.call(runInstances, run({}, { MaxCount: 3 }))
    expect(Instances.map((each) => each.Placement?.AvailabilityZone)).toEqual(['us-east-1b', 'us-east-1b', 'us-east-1b'])
    expect(new Set(Instances.map((each) => each.SpotInstanceRequestId)).size).toBe(3)
    expect(await instances({ Filters: [{ Name: 'spot-instance-request-id', Values: [Instances[1]?.SpotInstanceRequestId ?? ''] }] }))
      .toMatchObject([{ InstanceId: Instances[1]?.InstanceId }])
    expect(await instances({ Filters: [{ Name: 'instance-lifecycle', Values: ['spot'] }] })).toHaveLength(3)
  })

  it('launches only within what spot may have of a zone', async () => {
    // t3.micro takes 2 of 64 vCPUs: 31,250 millionths.
    await cap(100_000)
    expect((await account.call(runInstances, run({}, { MaxCount: 5 }))).Instances).toHaveLength(3)
    expect((await account.call(runInstances, run({}, { MinCount: 3, MaxCount: 3 }))).Instances).toHaveLength(3)
    expect(await account.failure(runInstances, run({}, { MinCount: 4, MaxCount: 5 })))
      .toMatch(/^InsufficientInstanceCapacity: There is no Spot capacity available that matches your request\./)
    // On demand does not care.
    expect((await account.call(runInstances, { ...run(), InstanceMarketOptions: {}, MinCount: 4, MaxCount: 4 })).Instances).toHaveLength(4)
  })

  it.each<[string, Spot, Partial<RunInstancesRequest>, string]>([
    ['a price below the market', { MaxPrice: '0.002' }, {},
      'SpotMaxPriceTooLow: Your Spot request price of 0.002 is lower than the minimum required Spot request fulfillment price of 0.0042.'],
    ['next to nothing', { MaxPrice: '0.0001' }, {}, 'InvalidParameterValue: Value (0.0001) for parameter InstanceMarketOptions.SpotOptions.MaxPrice is invalid. The maximum price must be more than USD $0.001.'],
    ['what is no price', { MaxPrice: 'cheap' }, {}, 'InvalidParameterValue: Value (cheap)'],
    ['persistent and terminate', { SpotInstanceType: 'persistent' }, {},
      'InvalidParameterCombination: The terminate InstanceInterruptionBehavior is not supported when requestType is set to persistent.'],
    ['one-time and stop', { InstanceInterruptionBehavior: 'stop' }, {},
      "InvalidParameterCombination: The request with type 'one-time' is not supported when instanceInterruptionBehavior is set to 'stop'."],
    ['an end of a one-time request', { ValidUntil: new Date(NOW_MS + 1) }, {},
      "InvalidParameterCombination: The parameter validUntil cannot be specified when the SpotRequestType is set to 'one-time'."],
    ['a block of hours', { BlockDurationMinutes: 60 }, {}, 'InvalidParameter: BlockDurationMinutes is not a valid parameter.'],
    ['protection', {}, { DisableApiTermination: true }, 'InvalidParameterCombination: The parameter DisableApiTermination is not supported for Spot'],
    ['a dedicated host', {}, { Placement: { Tenancy: 'host' } }, 'InvalidParameterCombination: Spot Instances cannot be launched on a Dedicated Host.'],
    ['a reservation', {}, { CapacityReservationSpecification: { CapacityReservationPreference: 'capacity-reservations-only' } },
      'InvalidParameterCombination: Spot Instances cannot be launched in a Capacity Reservation.'],
    ['a hibernated one on a plain disk', { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'hibernate' }, {},
      'UnsupportedHibernationConfiguration: For hibernation, the root device volume must be encrypted.'],
    ['one set up to be hibernated, and stopped', { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'stop' },
      { HibernationOptions: { Configured: true } }, "InvalidParameterCombination: The InstanceInterruptionBehavior 'stop' is not supported"],
    ['another market', {}, { InstanceMarketOptions: { MarketType: 'capacity-block' } }, 'UnsupportedOperation'],
  ])('refuses %s', async (_what, options, change, message) => {
    if (options?.MaxPrice === '0.002') for (const zone of ['a', 'b', 'c']) await pin(`us-east-1${zone}`, 4200)
    expect(await account.failure(runInstances, run(options, change))).toContain(message)
    expect(await show()).toEqual([])
  })

  it('does not know tags of requests on demand', async () => {
    const tags: RunInstancesRequest['TagSpecifications'] = [{ ResourceType: 'spot-instances-request', Tags: [{ Key: 'a', Value: 'b' }] }]
    expect(await account.failure(runInstances, run({}, { InstanceMarketOptions: undefined, TagSpecifications: tags })))
      .toBe("InvalidParameterValue: You cannot specify tags for Spot instances requests if there are no Spot instances requests being created by the request.")
  })
})

describe('RequestSpotInstances', () => {
  it('makes a request for each instance, open for a week', async () => {
    const { SpotInstanceRequests: requests = [] } = await account.call(requestSpotInstances, ask({ InstanceCount: 2, SpotPrice: '0.01' }))
    expect(requests).toHaveLength(2)
    expect(requests[0]).toMatchObject({
      State: 'open', Status: { Code: 'pending-evaluation' }, Type: 'one-time', InstanceInterruptionBehavior: 'terminate', SpotPrice: '0.010000',
      ValidUntil: new Date(NOW_MS + 7 * 86_400_000), LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro', Monitoring: { Enabled: false } },
    })
    expect(await instances()).toEqual([])
  })

  it('answers the same requests to the same token', async () => {
    const first = await account.call(requestSpotInstances, ask({ InstanceCount: 2, ClientToken: 'once' }))
    expect(await account.call(requestSpotInstances, ask({ InstanceCount: 2, ClientToken: 'once' }))).toEqual(first)
    expect(await account.failure(requestSpotInstances, ask({ InstanceCount: 3, ClientToken: 'once' }))).toMatch(/^IdempotentParameterMismatch/)
    expect(await show()).toHaveLength(2)
  })

  it.each<[string, Partial<RequestSpotInstancesRequest>, RegExp]>([
    ['without a launch', { LaunchSpecification: undefined }, /^MissingParameter/],
    ['of an image that is not there', { LaunchSpecification: { ImageId: 'ami-00000000000000001' } }, /^InvalidAMIID.NotFound/],
    ['of a key that is not there', { LaunchSpecification: { ImageId: 'x', KeyName: 'none' } }, /^Invalid/],
    ['to begin in the past', { ValidFrom: new Date(NOW_MS) }, /^InvalidParameterValue: .*ValidFrom/],
    ['to end before it begins', { ValidFrom: new Date(NOW_MS + 9), ValidUntil: new Date(NOW_MS + 8) }, /^InvalidParameterValue: .*ValidUntil/],
    ['for too many', { InstanceCount: 1001 }, /^MaxSpotInstanceCountExceeded: Max spot instance count exceeded/],
    ['one-time, to be stopped', { InstanceInterruptionBehavior: 'stop' }, /^InvalidParameterCombination/],
    ['tags of instances', { TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'a', Value: 'b' }] }] }, /^InvalidParameterValue/],
  ])('refuses requests %s', async (_what, change, error) => {
    expect(await account.failure(requestSpotInstances, ask(change))).toMatch(error)
    expect(await show()).toEqual([])
  })

  it('tells of an open request what it waits for, as price and supply are now', async () => {
    const [low, high, later] = await Promise.all([{ SpotPrice: '0.002' }, {}, { ValidFrom: new Date(NOW_MS + 60_000) }]
      .map(async (change) => (await account.call(requestSpotInstances, ask(change))).SpotInstanceRequests?.[0]?.SpotInstanceRequestId))
    const status = async (id: string | undefined) => (await show({ SpotInstanceRequestIds: [id] }))[0]?.Status
    for (const zone of ['a', 'b', 'c']) await pin(`us-east-1${zone}`, 4200)
    expect(await status(low)).toMatchObject({
      Code: 'price-too-low', Message: 'Your Spot request price of 0.002 is lower than the minimum required Spot request fulfillment price of 0.0042.',
    })
    expect(await status(high)).toMatchObject({ Code: 'pending-evaluation' })
    expect(await status(later)).toMatchObject({
      Code: 'not-scheduled-yet', Message: "Your Spot request will not be evaluated until 2026-01-01T00:01:00+0000 due to your 'Valid From' constraint.",
    })
    await cap(0)
    expect(await status(high)).toMatchObject({ Code: 'capacity-not-available', Message: 'There is no Spot capacity available that matches your request.' })
    expect((await show({ Filters: [{ Name: 'status-code', Values: ['price-too-low', 'capacity-not-available'] }] })).map((each) => each.SpotInstanceRequestId).toSorted())
      .toEqual([low, high].toSorted())
  })

  it('has tags by id', async () => {
    const { SpotInstanceRequests: [request] = [] } = await account.call(requestSpotInstances, ask())
    const id = request?.SpotInstanceRequestId ?? ''
    await account.call(createTags, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] })
    expect((await account.call(describeTags, {})).Tags).toEqual([{ Key: 'a', Value: 'b', ResourceId: id, ResourceType: 'spot-instances-request' }])
    expect((await show())[0]?.Tags).toEqual([{ Key: 'a', Value: 'b' }])
    expect(await account.failure(describeSpotInstanceRequests, { SpotInstanceRequestIds: ['sir-00000000000000000'] }))
      .toBe("InvalidSpotInstanceRequestID.NotFound: The spot instance request ID 'sir-00000000000000000' does not exist")
  })
})

describe('DescribeSpotInstanceRequests', () => {
  it('knows every documented filter', async () => {
    await account.call(runInstances, run())
    for (const Name of DOCUMENTED_FILTERS.DescribeSpotInstanceRequests) expect([Name, await show({ Filters: [{ Name, Values: ['nothing'] }] })]).toEqual([Name, []])
    expect(await account.failure(describeSpotInstanceRequests, { Filters: [{ Name: 'price', Values: ['1'] }] })).toMatch(/^InvalidParameterValue/)
  })

  it.each([
    ['spot-price', '0.010400'], ['launch.image-id', '*'], ['launch.group-name', 'default'], ['launched-availability-zone', 'us-east-1a'], ['status-message', 'Your spot*'],
    ['network-interface.device-index', '0'], ['network-interface.delete-on-termination', 'true'], ['instance-id', 'i-*'], ['create-time', '2026-01-01T*'],
    ['launch.monitoring-enabled', 'false'], ['launch.block-device-mapping.device-name', '/dev/sdf'], ['product-description', 'Linux/UNIX'],
  ])('finds a request by %s', async (Name, value) => {
    const group = Name === 'launch.group-name'
    await account.call(runInstances, run({}, {
      Placement: { AvailabilityZone: 'us-east-1a' }, BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1 } }],
      ...(group ? { SecurityGroups: ['default'] } : { NetworkInterfaces: [{ DeviceIndex: 0, DeleteOnTermination: true }] }),
    }))
    expect(await show({ Filters: [{ Name, Values: [value] }] })).toHaveLength(1)
  })
})

describe('A request that is fulfilled', () => {
  const request = async (change: Partial<RequestSpotInstancesRequest> = {}) =>
    (await account.call(requestSpotInstances, ask(change))).SpotInstanceRequests?.map((each) => each.SpotInstanceRequestId ?? '') ?? []

  it('has its instance in the zone that the market gave it', async () => {
    const [id] = await request()
    const instanceId = await fulfil(id, 'us-east-1c')
    expect(await show()).toMatchObject([{ State: 'active', Status: { Code: 'fulfilled' }, InstanceId: instanceId, LaunchedAvailabilityZone: 'us-east-1c' }])
    expect(await instances()).toMatchObject([{ InstanceId: instanceId, SpotInstanceRequestId: id, Placement: { AvailabilityZone: 'us-east-1c' } }])
    // Not twice.
    await expect(fulfil(id)).rejects.toMatchObject({ code: 'IncorrectSpotRequestState' })
    expect(await instances()).toHaveLength(1)
  })

  it('brings its whole launch group with it, or none', async () => {
    const ids = await request({ LaunchGroup: 'crew', InstanceCount: 3 })
    await cap(70_000)
    const row = await rowOf(ids[0])
    const error = await fulfil(ids[0]).then(() => new Error('fulfilled'), (failure: Error) => failure)
    await account.call((context) => noteFulfilmentFailure(context, row, error), {})
    expect((await show({ SpotInstanceRequestIds: [ids[0]] }))[0]?.Status?.Code).toBe('launch-group-constraint')
    expect(await instances()).toEqual([])
    await cap(100_000)
    await fulfil(ids[0])
    expect((await show()).map((each) => each.State)).toEqual(['active', 'active', 'active'])
  })

  it('goes where its Availability Zone group is', async () => {
    const ids = await request({ AvailabilityZoneGroup: 'near', InstanceCount: 2 })
    await fulfil(ids[0], 'us-east-1b')
    await fulfil(ids[1], 'us-east-1a')
    expect((await show()).map((each) => each.LaunchedAvailabilityZone)).toEqual(['us-east-1b', 'us-east-1b'])
    const [apart] = await request({ AvailabilityZoneGroup: 'near', LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro', Placement: { AvailabilityZone: 'us-east-1c' } } })
    const row = await rowOf(apart)
    const error = await fulfil(apart, 'us-east-1c').then(() => new Error('fulfilled'), (failure: Error) => failure)
    await account.call((context) => noteFulfilmentFailure(context, row, error), {})
    expect((await show({ SpotInstanceRequestIds: [apart] }))[0]?.Status?.Code).toBe('az-group-constraint')
  })

  it('fails for good where what it asks for is not there any more', async () => {
    const [id] = await request()
    const row = await rowOf(id)
    await account.query((db) => db.updateTable('images').set({ state: 'deregistered' as 'available' }).execute())
    const error = await fulfil(id).then(() => new Error('fulfilled'), (failure: Error) => failure)
    await account.call((context) => noteFulfilmentFailure(context, row, error), {})
    expect(await show()).toMatchObject([{
      State: 'failed', Status: { Code: 'bad-parameters', Message: 'Your Spot request failed due to bad parameters.' }, Fault: { Code: 'InvalidAMIID.Unavailable' },
    }])
  })
})

describe('CancelSpotInstanceRequests', () => {
  it('lets an instance that runs go on', async () => {
    const { Instances: [instance] = [] } = await account.call(runInstances, run())
    const id = instance?.SpotInstanceRequestId ?? ''
    expect(await account.call(cancelSpotInstanceRequests, { SpotInstanceRequestIds: [id] }))
      .toEqual({ CancelledSpotInstanceRequests: [{ SpotInstanceRequestId: id, State: 'cancelled' }] })
    expect(await show()).toMatchObject([{ State: 'cancelled', Status: { Code: 'request-canceled-and-instance-running' } }])
    expect(await instances()).toMatchObject([{ State: { Name: 'pending' } }])
    account.pass(5 * 3_600_000)
    expect(await show()).toHaveLength(1)
  })

  it('ends a request that waits, which is shown for four hours', async () => {
    const { SpotInstanceRequests: [request] = [] } = await account.call(requestSpotInstances, ask())
    const ids = { SpotInstanceRequestIds: [request?.SpotInstanceRequestId ?? ''] }
    await account.call(cancelSpotInstanceRequests, ids)
    expect(await show(ids)).toMatchObject([{
      State: 'cancelled', Status: { Code: 'canceled-before-fulfillment', Message: 'Your Spot request is canceled before it was fulfilled.' },
    }])
    expect((await account.call(cancelSpotInstanceRequests, ids)).CancelledSpotInstanceRequests?.[0]?.State).toBe('cancelled')
    account.pass(4 * 3_600_000)
    expect(await show()).toEqual([])
    expect(await account.failure(cancelSpotInstanceRequests, ids)).toMatch(/^InvalidSpotInstanceRequestID.NotFound/)
  })
})
