import {
  DescribeInstancesCommand, DescribeSpotInstanceRequestsCommand, DescribeSpotPriceHistoryCommand, GetSpotPlacementScoresCommand,
  RequestSpotInstancesCommand, RunInstancesCommand, TerminateInstancesCommand,
  type DescribeSpotPriceHistoryRequest, type RequestSpotInstancesRequest, type SpotPrice,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { wakeMarket, type SpotMarketDoc, type SpotPricing } from '../../src/model/spot-market.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

const ZONE = 'us-east-1a'
/** An eighth of a zone. */
const TYPE = 'm5.large'
/** Its price on demand. */
const ON_DEMAND = 96_000

let cloud: TestCloud
let imageId: string

beforeEach(async () => {
  cloud = await startTestCloud({ capacity: { cpus: 16, memoryMib: 65_536, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  imageId = await tinyImageId(cloud)
  await change({ noticeMs: 0, bufferPpm: 0, background: false })
})
afterEach(() => cloud.close())

/** What `hearth market` and the settings do. */
async function change(doc: Partial<SpotMarketDoc>): Promise<void> {
  await cloud.store.transaction('test', async (db) => {
    const row = await db.selectFrom('spot_market').selectAll().executeTakeFirstOrThrow()
    await db.updateTable('spot_market').set({ doc: JSON.stringify({ ...JSON.parse(row.doc), ...doc }) }).execute()
  })
}

async function pin(priceMicroUsd: number | null, zone = ZONE): Promise<void> {
  await cloud.store.transaction('test', async (db) => {
    const row = { zone, instance_type: TYPE, at_ms: systemClock.now(), price_micro_usd: priceMicroUsd }
    await db.insertInto('spot_pins').values(row).onConflict((on) => on.columns(['zone', 'instance_type', 'at_ms']).doUpdateSet(row)).execute()
    await wakeMarket(db, row.at_ms)
  })
  await cloud.settle()
}

async function setSupply(places: number | null, zone = ZONE): Promise<void> {
  await cloud.store.transaction('test', async (db) => {
    const cap = places === null ? null : places * 125_000
    await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: cap, updated_ms: 0, doc: '{}' })
      .onConflict((on) => on.column('zone').doUpdateSet({ supply_cap_ppm: cap })).execute()
    await wakeMarket(db, systemClock.now())
  })
  await cloud.settle()
}

async function ask(change: Partial<RequestSpotInstancesRequest> = {}, zone: string | undefined = ZONE): Promise<string> {
  const { SpotInstanceRequests: [request] = [] } = await cloud.ec2.send(new RequestSpotInstancesCommand({
    LaunchSpecification: { ImageId: imageId, InstanceType: TYPE, ...(zone ? { Placement: { AvailabilityZone: zone } } : {}) }, ...change,
  }))
  await cloud.settle()
  return request?.SpotInstanceRequestId ?? ''
}

async function show(id: string) {
  const { SpotInstanceRequests: [request] = [] } = await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({ SpotInstanceRequestIds: [id] }))
  return { state: request?.State, status: request?.Status?.Code, zone: request?.LaunchedAvailabilityZone, instanceId: request?.InstanceId }
}

async function stateOf(instanceId: string | undefined) {
  const { Reservations: [found] = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId ?? ''] }))
  return found?.Instances?.[0]?.State?.Name
}

describe.each<SpotPricing>(['smoothed', 'auction'])('a spot instance of a market that is %s', (pricing) => {
  beforeEach(() => change({ pricing }))

  test('is terminated when its price passes its offer, and another one is launched when the price has come back', async () => {
    const id = await ask({ SpotPrice: '0.05', Type: 'persistent' })
    const first = await show(id)
    expect(first).toMatchObject({ state: 'active', status: 'fulfilled', zone: ZONE })
    await pin(51_000)
    expect(await stateOf(first.instanceId)).toBe('terminated')
    expect(await show(id)).toMatchObject({ state: 'open', status: 'instance-terminated-by-price' })
    await pin(50_000)
    const second = await show(id)
    expect(second).toMatchObject({ state: 'active', status: 'fulfilled' })
    expect(second.instanceId).not.toBe(first.instanceId)
  })

  test('that is to be stopped comes back by itself, the same one', async () => {
    const id = await ask({ SpotPrice: '0.05', Type: 'persistent', InstanceInterruptionBehavior: 'stop' })
    const { instanceId } = await show(id)
    await pin(60_000)
    expect(await show(id)).toMatchObject({ state: 'disabled', status: 'instance-stopped-by-price', instanceId })
    expect(await stateOf(instanceId)).toBe('stopped')
    await pin(null)
    expect(await show(id)).toMatchObject({ state: 'active', status: 'fulfilled', instanceId })
    expect(await stateOf(instanceId)).toBe('running')
  })

  test('goes when there is less room, the one that pays least first, and says so', async () => {
    const [low, high] = [await ask({ SpotPrice: '0.06' }), await ask({ SpotPrice: '0.08' })]
    await setSupply(1)
    expect(await show(high)).toMatchObject({ state: 'active', status: 'fulfilled' })
    expect(await show(low)).toMatchObject({ state: 'closed', status: 'instance-terminated-no-capacity' })
  })

  test('has to wait for room and for a price within its offer, and knows for which', async () => {
    await pin(70_000)
    const poor = await ask({ SpotPrice: '0.05' })
    expect(await show(poor)).toMatchObject({ state: 'open', status: 'price-too-low' })
    await setSupply(0)
    const late = await ask()
    expect(await show(late)).toMatchObject({ state: 'open', status: 'capacity-not-available' })
    await setSupply(null)
    expect(await show(late)).toMatchObject({ state: 'active' })
  })

  test('goes to the cheapest zone that has room', async () => {
    await pin(50_000, 'us-east-1a')
    await pin(30_000, 'us-east-1b')
    await pin(40_000, 'us-east-1c')
    await setSupply(1, 'us-east-1b')
    // "" stands for no zone.
    const zones = [await ask({}, ''), await ask({}, ''), await ask({}, '')]
    expect(await Promise.all(zones.map(async (id) => (await show(id)).zone))).toEqual(['us-east-1b', 'us-east-1c', 'us-east-1c'])
  })

  test('stays whatever it costs while the market is frozen', async () => {
    const id = await ask({ SpotPrice: '0.05' })
    await change({ freezes: [{ fromMs: systemClock.now() - 1, untilMs: null }] })
    await pin(60_000)
    expect(await show(id)).toMatchObject({ state: 'active', status: 'fulfilled' })
  })

  test('is not launched beyond what spot may have', async () => {
    await setSupply(2)
    const ids = []
    for (let each = 0; each < 4; each++) ids.push(await ask())
    const states = await Promise.all(ids.map(async (id) => (await show(id)).state))
    expect(states).toEqual(['active', 'active', 'open', 'open'])
    const { instanceId } = await show(ids[0] ?? '')
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId ?? ''] }))
    await cloud.settle()
    expect(await show(ids[2] ?? '')).toMatchObject({ state: 'active' })
  })
})

test('in an auction all pay the highest offer that has lost', async () => {
  await change({ pricing: 'auction' })
  await setSupply(1)
  await ask({ SpotPrice: '0.09' })
  await ask({ SpotPrice: '0.08' })
  const { SpotPriceHistory: [price] = [] } = await history({ InstanceTypes: [TYPE], AvailabilityZone: ZONE, StartTime: new Date() })
  expect(Number(price?.SpotPrice)).toBeCloseTo(0.08, 5)
})

const history = (input: DescribeSpotPriceHistoryRequest) => cloud.ec2.send(new DescribeSpotPriceHistoryCommand(input))
const failure = (attempt: Promise<unknown>) => attempt.then(() => 'no failure', (error: Error) => `${error.name}: ${error.message}`)

describe('the history of spot prices', () => {
  test('is the price now in each zone where it is asked for from now on', async () => {
    const { SpotPriceHistory: found = [], NextToken } = await history({ InstanceTypes: [TYPE], StartTime: new Date() })
    expect(NextToken).toBe('')
    expect(found.map((each) => each.AvailabilityZone)).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
    expect(found[0]).toMatchObject({ InstanceType: TYPE, ProductDescription: 'Linux/UNIX', AvailabilityZoneId: 'use1-az1' })
    expect(found[0]?.SpotPrice).toMatch(/^0\.\d{6}$/)
    expect(Number(found[0]?.SpotPrice)).toBeLessThan(ON_DEMAND / 1_000_000)
  })

  test('is paged, newest first, and the same in pages as in one', async () => {
    await change({ background: true })
    const StartTime = new Date(systemClock.now() - 80 * 24 * 3_600_000)
    const whole = (await history({ InstanceTypes: [TYPE, 'c5.large'], StartTime })).SpotPriceHistory ?? []
    expect(whole.map((each) => each.Timestamp?.getTime() ?? 0)).toEqual(whole.map((each) => each.Timestamp?.getTime() ?? 0).toSorted((a, b) => b - a))
    const paged: SpotPrice[] = []
    let NextToken: string | undefined
    do {
      const page = await history({ InstanceTypes: [TYPE, 'c5.large'], StartTime, MaxResults: 50, ...(NextToken ? { NextToken } : {}) })
      paged.push(...page.SpotPriceHistory ?? [])
      NextToken = page.NextToken
    } while (NextToken)
    expect(paged.slice(0, whole.length)).toEqual(whole)
  })

  test('is filtered by zone, type, product, price and time', async () => {
    await pin(50_000)
    const find = async (Name: string, ...Values: string[]) =>
      (await history({ InstanceTypes: [TYPE, 'c5.large'], StartTime: new Date(), Filters: [{ Name, Values }] })).SpotPriceHistory?.map((each) => `${each.InstanceType} ${each.AvailabilityZone}`)
    expect(await find('spot-price', '0.050000')).toEqual([`${TYPE} ${ZONE}`])
    expect(await find('availability-zone-id', 'use1-az2')).toHaveLength(2)
    expect(await find('instance-type', 'c5.*')).toHaveLength(3)
    expect(await find('availability-zone', ZONE)).toHaveLength(2)
    expect(await find('product-description', 'Linux/UNIX (Amazon VPC)')).toHaveLength(6)
    expect(await find('product-description', 'Windows')).toEqual([])
    expect(await find('timestamp', '2*')).toHaveLength(6)
    expect((await history({ ProductDescriptions: ['Windows'] })).SpotPriceHistory ?? []).toEqual([])
    expect((await history({ InstanceTypes: [TYPE], StartTime: new Date(), ProductDescriptions: ['Linux/UNIX (Amazon VPC)'] })).SpotPriceHistory).toHaveLength(3)
  })

  test('is of zones and types that there are', async () => {
    expect(await failure(history({ AvailabilityZone: 'us-east-1x' }))).toBe('InvalidParameterValue: Invalid availability zone: [us-east-1x]')
    expect(await failure(history({ AvailabilityZone: ZONE, AvailabilityZoneId: 'use1-az1' }))).toContain('InvalidParameterCombination')
    expect(await failure(history({ Filters: [{ Name: 'nothing', Values: ['1'] }] }))).toBe("InvalidParameterValue: The filter 'nothing' is invalid")
    expect(await failure(history({ NextToken: 'nobody-gave-it' }))).toContain('InvalidParameterValue')
  })
})

describe('the score of a placement', () => {
  const score = async (TargetCapacity: number, change: object = {}) =>
    (await cloud.ec2.send(new GetSpotPlacementScoresCommand({ InstanceTypes: [TYPE, 'm5a.large', 'm5d.large'], TargetCapacity, ...change })))
      .SpotPlacementScores?.map((each) => each.Score ?? 0) ?? []

  test('is high where there is room at a low price, and low where there is none', async () => {
    const [roomy = 0] = await score(1)
    expect(roomy).toBeGreaterThanOrEqual(8)
    const [full = 0] = await score(1000)
    expect(full).toBe(1)
    expect(await score(1, { SingleAvailabilityZone: true })).toHaveLength(3)
    expect((await score(1, { InstanceTypes: [TYPE] }))[0]).toBeLessThanOrEqual(3)
    await setSupply(0)
    expect(Math.min(...await score(1, { SingleAvailabilityZone: true }))).toBe(1)
  })

  test('falls as instances take the room', async () => {
    const before = await score(4, { SingleAvailabilityZone: true })
    await cloud.ec2.send(new RunInstancesCommand({
      ImageId: imageId, InstanceType: TYPE, MinCount: 6, MaxCount: 6, Placement: { AvailabilityZone: ZONE },
    }))
    const after = await score(4, { SingleAvailabilityZone: true })
    expect(Math.min(...after)).toBeLessThan(Math.min(...before))
  })

  test('asks for types or their attributes, and for a target', async () => {
    const wanted = { InstanceRequirements: { VCpuCount: { Min: 2, Max: 2 }, MemoryMiB: { Min: 8192, Max: 8192 } } }
    expect((await score(4, { InstanceTypes: undefined, InstanceRequirementsWithMetadata: wanted, TargetCapacityUnitType: 'vcpu' }))[0]).toBeGreaterThan(4)
    expect(await failure(score(1, { InstanceRequirementsWithMetadata: wanted }))).toContain('InvalidParameterCombination')
    expect(await failure(score(0))).toContain('InvalidParameterValue')
    expect(await failure(score(1, { InstanceTypes: ['no.type'] }))).toContain('InvalidParameterValue')
    expect(await failure(score(1, { RegionNames: ['mars-east-1'] }))).toContain('InvalidParameterValue')
  })
})
