import { CreateTagsCommand, RequestSpotInstancesCommand, RunInstancesCommand, TerminateInstancesCommand } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GROUPINGS } from '../../src/billing/bill.ts'
import { dayStartMs, DAY_MS } from '../../src/billing/charge.ts'
import { formatBill, formatCsv, readBill } from '../../src/cli/bill.ts'
import { formatMarket } from '../../src/cli/market-format.ts'
import { interruptInstance, setFrozen, setPrice, setSupply } from '../../src/cli/market-orders.ts'
import { readMarket } from '../../src/cli/market-view.ts'
import { systemClock } from '../../src/core/clock.ts'
import { sealUsage } from '../../src/market/seal-usage.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

const REGION = 'us-east-1'
const ZONE = 'us-east-1a'
const TYPE = 'm5.large'

let cloud: TestCloud
let onDemand: string
let onSpot: string

beforeEach(async () => {
  cloud = await startTestCloud({ capacity: { cpus: 16, memoryMib: 65_536, guestLimits: { vcpus: 16, memoryMib: 16_384 } } })
  const ImageId = await tinyImageId(cloud)
  const launch = async (input: object) => (await cloud.ec2.send(new RunInstancesCommand({
    ImageId, InstanceType: TYPE, MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: ZONE }, ...input,
  }))).Instances?.[0]?.InstanceId ?? ''
  onDemand = await launch({ TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'team', Value: 'red' }] }] })
  onSpot = await launch({ InstanceMarketOptions: { MarketType: 'spot', SpotOptions: { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'stop' } } })
  await cloud.ec2.send(new CreateTagsCommand({ Resources: [onSpot], Tags: [{ Key: 'team', Value: 'blue' }, { Key: 'Name', Value: 'worker' }] }))
  await cloud.ec2.send(new RequestSpotInstancesCommand({ SpotPrice: '0.0011', LaunchSpecification: { ImageId, InstanceType: TYPE } }))
  await cloud.settle()
})
afterEach(() => cloud.close())

const bill = (by: Parameters<typeof readBill>[2]['by'], nowMs = systemClock.now()) =>
  readBill(cloud.store, REGION, { by, period: { fromMs: dayStartMs(nowMs) - 40 * DAY_MS, untilMs: dayStartMs(nowMs) + DAY_MS } }, nowMs)
const market = (types: string[] = [], zone?: string) => {
  const nowMs = systemClock.now()
  return cloud.store.read((db) => readMarket(db, REGION, { types, zone, sinceMs: nowMs - DAY_MS }, nowMs))
}
const orders = () => ({ store: cloud.store, region: REGION, zones: ['a', 'b', 'c'], nowMs: systemClock.now() })

describe('the bill of a cloud', () => {
  test('is the same sum whatever it is made by, sealed or not', async () => {
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [onDemand] }))
    await cloud.settle()
    const laterMs = systemClock.now() + 2 * DAY_MS
    const before = await bill('instance', laterMs)
    expect(before.lines.map((line) => [line.key, line.instance?.name, line.instance?.lifecycle, line.isRunning]).toSorted()).toEqual([
      [onDemand, null, 'on-demand', false], [onSpot, 'worker', 'spot', true],
    ].toSorted())
    expect(before.byLifecycle['on-demand'].costMicroUsd).toBe(1600)
    expect(before.byLifecycle.spot.costMicroUsd).toBeGreaterThan(0)
    expect(before.byLifecycle.spot.costMicroUsd).toBeLessThan(before.byLifecycle.spot.onDemandMicroUsd)
    await sealUsage(cloud.store, REGION, laterMs)
    for (const by of [...GROUPINGS, 'tag:team'] as const) {
      const report = await bill(by, laterMs)
      expect(report.total).toEqual(before.total)
      expect(formatBill(report)).toContain('total')
      expect(formatCsv(report).split('\n')).toHaveLength(report.lines.length + 1)
    }
    expect((await bill('tag:team', laterMs)).lines.map((line) => line.key).toSorted()).toEqual(['blue', 'red'])
    expect(await cloud.store.read((db) => db.selectFrom('usage_runs').select('instance_id').where('unsealed_from_ms', 'is', null).execute()))
      .toEqual([{ instance_id: onDemand }])
  })
})

describe('the view of the market', () => {
  test('has prices, supply and bids, and what orders do to them', async () => {
    const view = await market()
    expect(view.prices.map(({ type, zone }) => `${type} ${zone}`)).toContain(`${TYPE} ${ZONE}`)
    expect(view.supplies.find((each) => each.zone === ZONE)).toMatchObject({ othersPercent: 12.5, heldPercent: 12.5, capPercent: null })
    expect(view.bidCount).toEqual({ running: 1, waiting: 1 })
    expect(view.bids.map(({ state, instanceId, name }) => [state, instanceId, name])).toEqual([['active', onSpot, 'worker'], ['open', null, null]])
    expect(formatMarket(view, { isTerminal: false, isUnicode: true, hasColour: false, columns: 100 })).toContain(ZONE)
    await setPrice(orders(), [TYPE, ZONE, '0.05'])
    expect((await setSupply(orders(), [ZONE, '0'])).noticed).toEqual([onSpot])
    expect(await setFrozen(orders(), true)).toMatchObject({ hasChanged: true })
    await cloud.settle()
    const after = await market([TYPE], 'a')
    expect(after.prices).toMatchObject([{ zone: ZONE, priceMicroUsd: 50_000, isPinned: true }])
    expect(after.supplies).toMatchObject([{ zone: ZONE, supplyPercent: 0, capPercent: 0 }])
    expect(after.frozenSince).not.toBeNull()
    expect(after.bids[0]).toMatchObject({ status: 'marked-for-stop', instanceId: onSpot, goesAt: expect.any(String) })
  })

  test('tells who was told to go by hand', async () => {
    expect((await interruptInstance(orders(), 'worker', 60_000)).noticed).toEqual([onSpot])
    await cloud.settle()
    expect((await market()).bids.find((each) => each.instanceId === onSpot)).toMatchObject({ status: 'marked-for-stop' })
  })
})
