import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { onDemandMicroUsd } from '../catalogue/on-demand-prices.ts'
import { seededRandom } from '../core/random.ts'
import { ensureMarket, type SpotMarketDoc } from '../model/spot-market.ts'
import { loadSpotPrices, type SpotPrices } from './spot-prices.ts'

const TYPE = 'm5.large'
const ZONE = 'us-east-1a'
const HOUR_MS = 3_600_000
const onDemand = onDemandMicroUsd(TYPE) ?? 0

let lab: TestStore

beforeEach(async () => {
  lab = await openTestStore()
  await lab.store.transaction('test', (db) => ensureMarket(db, { region: REGION, random: seededRandom(1), nowMs: NOW_MS, settings: undefined }))
})

afterEach(() => lab.store.close())

const prices = (nowMs = NOW_MS, fromMs?: number): Promise<SpotPrices> => lab.store.read((db) => loadSpotPrices(db, REGION, nowMs, fromMs))

async function pin(atMs: number, priceMicroUsd: number | null): Promise<void> {
  await lab.store.transaction('test', (db) =>
    db.insertInto('spot_pins').values({ zone: ZONE, instance_type: TYPE, at_ms: atMs, price_micro_usd: priceMicroUsd }).execute())
}

async function clear(atMs: number, clearingPpm: number): Promise<void> {
  await lab.store.transaction('test', async (db) => {
    await db.insertInto('spot_clearings').values({ zone: ZONE, at_ms: atMs, clearing_ppm: clearingPpm }).execute()
    const row = { zone: ZONE, clearing_ppm: clearingPpm, supply_cap_ppm: null, updated_ms: atMs, doc: '{}' }
    await db.insertInto('spot_zones').values(row).onConflict((conflict) => conflict.column('zone').doUpdateSet(row)).execute()
  })
}

async function change(doc: Partial<SpotMarketDoc>): Promise<void> {
  await lab.store.transaction('test', async (db) => {
    const row = await db.selectFrom('spot_market').selectAll().executeTakeFirstOrThrow()
    await db.updateTable('spot_market').set({ doc: JSON.stringify({ ...JSON.parse(row.doc), ...doc }) }).execute()
  })
}

describe('a spot price', () => {
  it('is below the price on demand where nobody else bids, and differs from nothing between two looks', async () => {
    const price = (await prices()).priceMicroUsd(TYPE, ZONE) ?? 0
    expect(price).toBeGreaterThan(0)
    expect(price).toBeLessThan(onDemand)
    expect((await prices()).priceMicroUsd(TYPE, ZONE)).toBe(price)
  })

  it('is there for no type without a known price on demand', async () => {
    const found = await prices()
    expect(found.priceMicroUsd('x9.huge', ZONE)).toBeUndefined()
    expect(found.points('x9.huge', ZONE, NOW_MS, NOW_MS)).toEqual([])
  })

  it('is what own demand makes of it where that is higher, and at most the price on demand', async () => {
    await clear(NOW_MS, 900_000)
    expect((await prices()).priceMicroUsd(TYPE, ZONE)).toBe(Math.round(onDemand * 0.9))
    expect((await prices()).priceMicroUsd(TYPE, 'us-east-1b')).toBeLessThan(onDemand * 0.9)
    await clear(NOW_MS + 1, 1_500_000)
    expect((await prices(NOW_MS + 1)).priceMicroUsd(TYPE, ZONE)).toBe(onDemand)
  })

  it('is a constant without the market of others', async () => {
    await change({ background: false })
    const found = await prices(NOW_MS, NOW_MS - 80 * 24 * HOUR_MS)
    expect(found.points(TYPE, ZONE, NOW_MS - 80 * 24 * HOUR_MS, NOW_MS)).toHaveLength(1)
  })

  it('is what it was set to, until it is let go', async () => {
    const before = (await prices()).priceMicroUsd(TYPE, ZONE)
    await pin(NOW_MS, 50_000)
    await pin(NOW_MS + HOUR_MS, null)
    const found = await prices(NOW_MS + 2 * HOUR_MS, NOW_MS - HOUR_MS)
    expect(found.priceMicroUsd(TYPE, ZONE, NOW_MS)).toBe(50_000)
    expect(found.priceMicroUsd('m5.xlarge', ZONE, NOW_MS)).not.toBe(50_000)
    expect(found.priceMicroUsd(TYPE, ZONE, NOW_MS - 1)).toBe(before)
    expect(found.points(TYPE, ZONE, NOW_MS, NOW_MS + HOUR_MS - 1)).toEqual([{ atMs: NOW_MS, priceMicroUsd: 50_000 }])
    expect(found.priceMicroUsd(TYPE, ZONE, NOW_MS + HOUR_MS)).not.toBe(50_000)
  })

  it('stands still while the market is frozen, and goes on from there', async () => {
    const day = 24 * HOUR_MS
    const free = (await prices(NOW_MS + 3 * day)).points(TYPE, ZONE, NOW_MS, NOW_MS + 3 * day)
    await change({ freezes: [{ fromMs: NOW_MS + day, untilMs: NOW_MS + 2 * day }] })
    const found = await prices(NOW_MS + 4 * day, NOW_MS)
    const at = (ms: number) => found.priceMicroUsd(TYPE, ZONE, ms)
    expect(at(NOW_MS + 2 * day - 1)).toBe(at(NOW_MS + day))
    expect(found.points(TYPE, ZONE, NOW_MS + day, NOW_MS + 2 * day)).toHaveLength(1)
    const shifted = free.map((point) => (point.atMs > NOW_MS + day ? { ...point, atMs: point.atMs + day } : point))
    expect(found.points(TYPE, ZONE, NOW_MS, NOW_MS + 4 * day).slice(0, shifted.length)).toEqual(shifted)
    expect((await prices(NOW_MS + day)).nextBackgroundMs(TYPE, ZONE, NOW_MS + day, NOW_MS + day + 1)).toBeUndefined()
  })

  it('has a history that begins with the price in force, and agrees with every price of that time', async () => {
    await clear(NOW_MS - 20 * HOUR_MS, 800_000)
    await clear(NOW_MS - 10 * HOUR_MS, 850_000)
    await clear(NOW_MS - 5 * HOUR_MS, 0)
    const fromMs = NOW_MS - 12 * HOUR_MS
    const found = await prices(NOW_MS, fromMs)
    const points = found.points(TYPE, ZONE, fromMs, NOW_MS)
    expect(points[0]?.priceMicroUsd).toBe(Math.round(onDemand * 0.8))
    expect(points[0]?.atMs).toBeLessThanOrEqual(fromMs)
    for (const { atMs, priceMicroUsd } of points) expect(found.priceMicroUsd(TYPE, ZONE, Math.max(fromMs, atMs))).toBe(priceMicroUsd)
  })
})
