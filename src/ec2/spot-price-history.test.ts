import type { DescribeSpotPriceHistoryRequest, SpotPrice } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NOW_MS, openTestStore, REGION, testContext, type TestStore } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { ensureMarket, type SpotMarketDoc } from '../model/spot-market.ts'
import { priceText, readSpotPriceHistory } from './spot-price-history.ts'
import { loadSpotPrices } from './spot-prices.ts'

const DAY_MS = 24 * 3_600_000
const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c']
const TYPES = ['m5.large', 'c5.large'] as const

let lab: TestStore

beforeEach(async () => {
  lab = await openTestStore()
  await lab.store.transaction('test', (db) => ensureMarket(db, { region: REGION, random: seededRandom(1), nowMs: NOW_MS - 10 * DAY_MS, settings: undefined }))
})

afterEach(() => lab.store.close())

/** One page, as it is served. */
async function page(input: DescribeSpotPriceHistoryRequest, nowMs = NOW_MS) {
  const { db: _db, ...context } = await lab.run((inside) => Promise.resolve(testContext(inside.db, lab.random)))
  return readSpotPriceHistory({ ...context, nowMs, read: (body) => lab.store.read(body) }, input)
}

async function allPages(input: DescribeSpotPriceHistoryRequest): Promise<{ found: SpotPrice[]; pages: number }> {
  const found: SpotPrice[] = []
  let NextToken: string | undefined
  let pages = 0
  do {
    const next = await page({ ...input, ...(NextToken ? { NextToken } : {}) })
    found.push(...next.SpotPriceHistory ?? [])
    NextToken = next.NextToken
    pages += 1
  } while (NextToken)
  return { found, pages }
}

const textOf = (each: SpotPrice) => `${each.Timestamp?.toISOString()} ${each.AvailabilityZone} ${each.InstanceType} ${each.SpotPrice}`

/** The same, of the series of each type by itself. */
async function expected(fromMs: number, untilMs = NOW_MS): Promise<string[]> {
  const prices = await lab.store.read((db) => loadSpotPrices(db, REGION, NOW_MS, fromMs))
  return ZONES.flatMap((zone) => TYPES.flatMap((type) => prices.points(type, zone, fromMs, untilMs).map(({ atMs, priceMicroUsd }) =>
    ({ atMs, zone, type, price: priceText(priceMicroUsd) }))))
    .toSorted((a, b) => b.atMs - a.atMs || (a.zone < b.zone ? -1 : Number(a.zone > b.zone)) || (a.type < b.type ? -1 : 1))
    .map(({ atMs, zone, type, price }) => `${new Date(atMs).toISOString()} ${zone} ${type} ${price}`)
}

async function clearAndPin(): Promise<void> {
  await lab.store.transaction('test', async (db) => {
    for (let day = 1; day < 40; day++) {
      await db.insertInto('spot_clearings').values({ zone: ZONES[day % 3] ?? '', at_ms: NOW_MS - day * DAY_MS, clearing_ppm: (day * 271_000) % 1_000_000 }).execute()
    }
    const pin = { zone: 'us-east-1b', instance_type: 'm5.large' }
    await db.insertInto('spot_pins').values([
      { ...pin, at_ms: NOW_MS - 9 * DAY_MS, price_micro_usd: 50_000 }, { ...pin, at_ms: NOW_MS - 8 * DAY_MS, price_micro_usd: 50_000 },
      { ...pin, at_ms: NOW_MS - 7 * DAY_MS, price_micro_usd: null },
    ]).execute()
  })
}

describe('the history of spot prices in pages', () => {
  it.each([1, 7, 1000])('is all changes of all series, newest first, %i to a page', async (MaxResults) => {
    await clearAndPin()
    const fromMs = NOW_MS - 12 * DAY_MS
    const { found } = await allPages({ InstanceTypes: [...TYPES], StartTime: new Date(fromMs), MaxResults })
    expect(found.length).toBeGreaterThan(40)
    expect(found.map(textOf)).toEqual(await expected(fromMs))
  })

  it('is the same after the market stood still for a while', async () => {
    await lab.store.transaction('test', async (db) => {
      const row = await db.selectFrom('spot_market').selectAll().executeTakeFirstOrThrow()
      const freezes = [{ fromMs: NOW_MS - 6 * DAY_MS, untilMs: NOW_MS - 4 * DAY_MS }, { fromMs: NOW_MS - DAY_MS, untilMs: null }]
      await db.updateTable('spot_market').set({ doc: JSON.stringify({ ...JSON.parse(row.doc) as SpotMarketDoc, freezes }) }).execute()
    })
    const fromMs = NOW_MS - 12 * DAY_MS
    expect((await allPages({ InstanceTypes: [...TYPES], StartTime: new Date(fromMs), MaxResults: 5 })).found.map(textOf)).toEqual(await expected(fromMs))
  })

  it('goes back 90 days unless a time is named', async () => {
    const { found } = await allPages({ InstanceTypes: ['m5.large'], AvailabilityZone: 'us-east-1a' })
    const oldestMs = found.at(-1)?.Timestamp?.getTime() ?? 0
    expect(oldestMs).toBeLessThanOrEqual(NOW_MS - 90 * DAY_MS)
    expect(oldestMs).toBeGreaterThan(NOW_MS - 92 * DAY_MS)
  })

  it('is the price in force where it begins now', async () => {
    const { found } = await allPages({ InstanceTypes: ['m5.large'], StartTime: new Date(NOW_MS), MaxResults: 2 })
    expect(found.map((each) => each.AvailabilityZone).toSorted()).toEqual(ZONES)
  })

  it('ends where it is asked to, and is empty where that is before it begins', async () => {
    const [fromMs, untilMs] = [NOW_MS - 20 * DAY_MS, NOW_MS - 15 * DAY_MS]
    const { found } = await allPages({ InstanceTypes: [...TYPES], StartTime: new Date(fromMs), EndTime: new Date(untilMs), MaxResults: 4 })
    expect(found.map(textOf)).toEqual(await expected(fromMs, untilMs))
    expect((await page({ InstanceTypes: ['m5.large'], EndTime: new Date(NOW_MS - 100 * DAY_MS) })).SpotPriceHistory).toEqual([])
  })

  it('of all types lets others have their turn while a page is made, also where hardly any price is meant', async () => {
    for (const Filters of [[], [{ Name: 'spot-price', Values: ['0.000000'] }]]) {
      let turns = 0
      let isDone = false
      const count = () => {
        turns += 1
        if (!isDone) setImmediate(count)
      }
      setImmediate(count)
      const { SpotPriceHistory: found = [], NextToken } = await page({ Filters })
      isDone = true
      expect(found).toHaveLength(Filters.length === 0 ? 1000 : 0)
      expect(NextToken).not.toBe('')
      expect(turns).toBeGreaterThanOrEqual(8)
    }
  })

  it('of what a filter names is in full pages, whatever else there is', async () => {
    const { found, pages } = await allPages({ StartTime: new Date(NOW_MS), Filters: [{ Name: 'instance-type', Values: ['m5.*'] }, { Name: 'availability-zone', Values: ['us-east-1b'] }] })
    expect(found.length).toBeGreaterThan(5)
    expect(pages).toBe(1)
    expect(await page({ Filters: [{ Name: 'product-description', Values: ['Windows'] }] })).toEqual({ SpotPriceHistory: [], NextToken: '' })
  })

  it('reads no more changes of an auction than a page may need', async () => {
    const count = 12_000
    await lab.store.transaction('test', async (db) => {
      for (let first = 0; first < count; first += 200) {
        await db.insertInto('spot_clearings').values(Array.from({ length: 200 }, (_, at) =>
          ({ zone: 'us-east-1a', at_ms: NOW_MS - (first + at) * 1000, clearing_ppm: 900_000 + ((first + at) % 2) * 50_000 }))).execute()
      }
    })
    const { found, pages } = await allPages({ InstanceTypes: ['m5.large'], AvailabilityZone: 'us-east-1a', StartTime: new Date(NOW_MS - DAY_MS) })
    expect(found.length).toBeGreaterThanOrEqual(count)
    expect(new Set(found.map(textOf)).size).toBe(found.length)
    expect(pages).toBeGreaterThanOrEqual(12)
  })
})
