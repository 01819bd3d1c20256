import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { insertInstance, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { loadSpotPrices } from '../ec2/spot-prices.ts'
import { instanceDoc } from '../model/instance.ts'
import { ensureMarket, loadMarket } from '../model/spot-market.ts'
import type { SpotRequestDoc } from '../model/spot-request.ts'
import { formatMarket } from './market-format.ts'
import { interruptInstance, readPercent, readUsd, setFrozen, setPrice, setSupply } from './market-orders.ts'
import { readMarket } from './market-view.ts'
import { readSpot, spotLines } from './market-status.ts'

let cloud: TestStore
beforeEach(async () => {
  cloud = await openTestStore()
  await cloud.run(({ db, random }) => ensureMarket(db, { region: REGION, random, nowMs: NOW_MS }))
})
afterEach(() => cloud.store.close())

const orders = (nowMs = NOW_MS + 1000) => ({ store: cloud.store, region: REGION, zones: ['a', 'b', 'c'], nowMs })

/** A t3.micro on spot that runs in zone a, and pays so much. */
const runSpot = (maxPriceMicroUsd: number) => cloud.run(async (context) => {
  const requestId = `sir-${context.random.bytes(9).toString('hex').slice(0, 17)}`
  const row = await insertInstance(
    context, { lifecycle: 'spot', spot_request_id: requestId }, { spot: { behavior: 'stop', rebalanceMs: null, interruption: null } })
  await context.db.updateTable('hosts').set((eb) => ({ vcpus_used: eb('vcpus_used', '+', 2), memory_mib_used: eb('memory_mib_used', '+', 1024) }))
    .where('zone', '=', row.zone).execute()
  const doc: Partial<SpotRequestDoc> = { behavior: 'stop', statusMessage: 'Your Spot request is fulfilled.', zones: null, launchedZone: row.zone }
  await context.db.insertInto('spot_requests').values({
    request_id: requestId, account_id: context.account, state: 'active', status_code: 'fulfilled', type: 'persistent', instance_type: 't3.micro',
    zone: null, max_price_micro_usd: maxPriceMicroUsd, bid_ppm: Math.floor((maxPriceMicroUsd / 10_400) * 1_000_000), instance_id: row.instance_id,
    launch_group: null, az_group: null, fleet_id: null, valid_from_ms: null, valid_until_ms: null, created_ms: NOW_MS, status_ms: NOW_MS,
    doc: JSON.stringify(doc),
  }).execute()
  return row.instance_id
})

const read = (types: string[] = ['t3.micro'], zone?: string, nowMs = NOW_MS + 2000) =>
  cloud.store.read((db) => readMarket(db, REGION, { types, zone, sinceMs: nowMs - 86_400_000 }, nowMs))

describe('hearth market', () => {
  test('set-price says whose offer is passed, and the price is that from then on', async () => {
    const [cheap] = [await runSpot(6000), await runSpot(10_400)]
    expect(await setPrice(orders(), ['t3.micro', 'a', '0.008'])).toEqual({
      zone: 'us-east-1a', done: 't3.micro in us-east-1a costs $0.008 per hour from now on', hasChanged: true, noticed: [cheap],
    })
    const view = await read()
    expect(view.prices.map(({ zone, priceMicroUsd, isPinned }) => [zone, priceMicroUsd, isPinned])).toMatchObject([
      ['us-east-1a', 8000, true], ['us-east-1b', expect.any(Number), false], ['us-east-1c', expect.any(Number), false],
    ])
    await setPrice(orders(NOW_MS + 3000), ['t3.micro', 'us-east-1a', 'auto'])
    const prices = await cloud.store.read((db) => loadSpotPrices(db, REGION, NOW_MS + 4000, NOW_MS))
    expect([prices.priceMicroUsd('t3.micro', 'us-east-1a', NOW_MS + 2000), prices.priceMicroUsd('t3.micro', 'us-east-1a')]).not.toEqual([8000, 8000])
  })

  test('set-supply says who loses his room, those that offer least first', async () => {
    const [cheap] = [await runSpot(6000), await runSpot(10_400)]
    // One of the two has room in a twentieth of 64 vCPUs.
    expect((await setSupply(orders(), ['a', '5%'])).noticed).toEqual([cheap])
    expect((await setSupply(orders(), ['a', '0'])).noticed).toHaveLength(2)
    expect((await setSupply(orders(), ['us-east-1a', 'auto'])).noticed).toEqual([])
    expect((await read()).supplies[0]).toMatchObject({ zone: 'us-east-1a', supplyPercent: 93.75, heldPercent: 6.25, othersPercent: 0, capPercent: null })
  })

  test('interrupt gives notice, once', async () => {
    const id = await runSpot(10_400)
    expect(await interruptInstance(orders(), id, 30_000)).toMatchObject({ instanceId: id, action: 'stop', goesAt: '2026-01-01T00:00:31.000Z' })
    const row = await cloud.store.read((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
    expect(instanceDoc(row).spot?.interruption).toEqual({ action: 'stop', cause: 'no-capacity', noticeMs: NOW_MS + 1000, actionMs: NOW_MS + 31_000 })
    await expect(interruptInstance(orders(), id, undefined)).rejects.toThrow(/has had notice already: stop at 2026-01-01T00:00:31/)
    expect((await read()).bids).toMatchObject([{ place: 1, status: 'marked-for-stop', goesAt: '2026-01-01T00:00:31.000Z' }])
    const spot = await cloud.store.read((db) => readSpot(db, REGION))
    expect(spot && spotLines(spot)).toEqual([`spot      1 instance, 1 under notice (${id})`])
    await cloud.store.transaction('test', (db) => db.updateTable('instances').set({ state: 'stopped' }).where('instance_id', '=', id).execute())
    expect((await read()).bids).toMatchObject([{ place: 1, goesAt: null }])
  })

  test('interrupt is for spot instances that run', async () => {
    const plain = await cloud.run((context) => insertInstance(context))
    await expect(interruptInstance(orders(), plain.instance_id, undefined)).rejects.toThrow(/is not a spot instance/)
    await expect(interruptInstance(orders(), 'web', undefined)).rejects.toThrow(/no instance has the id or the Name "web"/)
    const id = await runSpot(10_400)
    await cloud.run(({ db }) => db.updateTable('instances').set({ state: 'stopped' }).where('instance_id', '=', id).execute())
    await expect(interruptInstance(orders(), id, undefined)).rejects.toThrow(/is stopped; only what runs/)
  })

  test('freeze and unfreeze have it stand still and go on', async () => {
    expect(await setFrozen(orders(), true)).toMatchObject({ hasChanged: true })
    expect(await setFrozen(orders(NOW_MS + 2000), true)).toMatchObject({ hasChanged: false })
    expect((await read()).frozenSince).toBe('2026-01-01T00:00:01.000Z')
    expect(await setFrozen(orders(NOW_MS + 5000), false)).toMatchObject({ hasChanged: true })
    expect((await cloud.store.read((db) => loadMarket(db, REGION)))?.freezes).toEqual([{ fromMs: NOW_MS + 1000, untilMs: NOW_MS + 5000 }])
  })

  test.each([
    ['a type that there is not', () => setPrice(orders(), ['t9.tiny', 'a', '1']), /"t9.tiny" is no instance type that is had on spot/],
    ['a zone that there is not', () => setPrice(orders(), ['t3.micro', 'x', '0.01']), /there is no zone "x" here; there are: us-east-1a, /],
    ['what is no price', () => setPrice(orders(), ['t3.micro', 'a', 'cheap']), /"cheap" is not a price/],
    ['a price beyond on demand', () => setPrice(orders(), ['t3.micro', 'a', '0.02']), /can be from \$0.000001 to \$0.0104, its price on demand/],
    ['a price of nothing', () => setPrice(orders(), ['t3.micro', 'a', '0']), /can be from/],
    ['more than a whole zone', () => setSupply(orders(), ['a', '101']), /is no part of a zone/],
  ])('refuses %s, and changes nothing', async (_what, order, message) => {
    await expect(order()).rejects.toThrow(message)
    const left = await cloud.store.read(async (db) => [...await db.selectFrom('spot_pins').selectAll().execute(), ...await db.selectFrom('spot_zones').selectAll().execute()])
    expect(left).toEqual([])
  })

  test('reads prices and parts as people write them', () => {
    expect([readUsd('0.05'), readUsd('$1.25'), readPercent('12.5 %'), readPercent('100')]).toEqual([50_000, 1_250_000, 125_000, 1_000_000])
  })

  test('fits a terminal without colours and Unicode', async () => {
    await runSpot(6000)
    const text = formatMarket(await read([], 'b'), { columns: 72, isTerminal: false, isUnicode: false, hasColour: false })
    expect(text).toMatch(/^us-east-1, smoothed prices/)
    expect(text).toContain('t3.micro in us-east-1b')
    expect([...text].every((each) => each.charCodeAt(0) < 128)).toBe(true)
    const drawn = text.split('\n').filter((line) => /^[\s$\d.]*[|+]/.test(line))
    expect(Math.max(...drawn.map((line) => line.length))).toBeLessThanOrEqual(72)
  })
})
