import { describe, expect, it } from 'vitest'
import { NOW_MS, ZONES } from '../../test/support/rows.ts'
import { openSpotLab, type SpotLab } from '../../test/support/spot-lab.ts'
import { ApiError } from '../core/errors.ts'
import { pinPrice } from '../model/market-orders.ts'
import { NOTICE_MS } from '../model/spot-market.ts'
import { moveSpotRequest, toStatus } from '../model/spot-request.ts'
import { moveZone } from '../model/zone.ts'
import { noticeInstance } from './market-acts.ts'
import { Market } from './market.ts'

const ZONE = 'us-east-1a'
const TYPE = 't3.micro'
const MINUTE_MS = 60_000

const imageOf = (lab: SpotLab) =>
  lab.store.read(async (db) => (await db.selectFrom('images').select('image_id').executeTakeFirstOrThrow()).image_id)

/** A persistent request for one zone. */
const askFor = async (lab: SpotLab, SpotPrice: string) => lab.ask({
  SpotPrice, Type: 'persistent', LaunchSpecification: { ImageId: await imageOf(lab), InstanceType: TYPE, Placement: { AvailabilityZone: ZONE } },
})
const pin = (lab: SpotLab, priceMicroUsd: number | null) =>
  lab.run(({ db, nowMs }) => pinPrice(db, { zone: ZONE, instanceType: TYPE, priceMicroUsd }, nowMs))
const running = async (lab: SpotLab) => (await lab.instances()).filter((each) => each.state === 'running').length

describe('The market of an agent that dies anywhere', () => {
  /** Two places; a third request that pays more; a price that passes all offers, and comes back. */
  const life = async (lab: SpotLab) => {
    await lab.cap(70_000)
    for (const offer of ['0.005', '0.006', '0.009']) {
      await askFor(lab, offer)
      await lab.pass(1000)
    }
    await lab.pass(NOTICE_MS + MINUTE_MS)
    await pin(lab, 9500)
    await lab.pass(NOTICE_MS + MINUTE_MS)
    const between = await running(lab)
    await pin(lab, null)
    await lab.pass(NOTICE_MS + MINUTE_MS)
    const told = await lab.store.read((db) => db
      .selectFrom('cloud_events').select('detail_type').where('detail_type', 'in', ['EC2 Spot Instance Interruption Warning', 'EC2 Instance Rebalance Recommendation'])
      .execute())
    const clearings = await lab.store.read((db) => db.selectFrom('spot_clearings').select(['zone', 'clearing_ppm']).orderBy('at_ms').execute())
    const { vcpus } = await lab.store.read((db) => db.selectFrom('hosts').select((eb) => eb.fn.sum<number>('vcpus_used').as('vcpus')).executeTakeFirstOrThrow())
    return {
      between, vcpus, clearings, told: told.map((each) => each.detail_type).toSorted(),
      requests: (await lab.show()).map((each) => `${each.SpotPrice} ${each.State}`).toSorted(),
      states: (await lab.instances()).map((each) => each.state).toSorted(),
    }
  }

  it.each(['auction', 'smoothed'] as const)('ends as it would: launches, notices, advice and prices are each there once (%s)', async (pricing) => {
    const whole = await openSpotLab({ pricing })
    const expected = await life(whole)
    expect(expected.requests.filter((each) => each.endsWith('active'))).toHaveLength(2)
    expect(expected.between).toBe(0)
    expect(expected.told.length).toBeGreaterThanOrEqual(4)
    const points = whole.hits()
    expect(points).toBeGreaterThan(40)
    // Every fifth commit, for all take most of a minute; of each kind there are many.
    for (let dieAt = 1; dieAt <= points; dieAt += 5) {
      const lab = await openSpotLab({ pricing, dieAt })
      expect({ dieAt, ...await life(lab) }).toEqual({ dieAt, ...expected })
      await lab.store.close()
    }
  }, 60_000)
})

describe('A launch that fails as none should', () => {
  const failing = (error: () => Error | undefined) => openSpotLab({ failAt: (point) => (point === 'commit:market.launch:before' ? error() : undefined) })

  it.each([
    ['a fault', () => new Error('nobody thought of this')],
    ['a database that has no turn', () => new ApiError('RequestLimitExceeded', 'Request limit exceeded: market.launch found no turn among too many others; nothing was done.')],
    ['a database that does not answer, or a zone that has failed', () => new ApiError('Unavailable', 'The database of this cloud does not answer; nothing was done.')],
  ])('for %s is tried again, and the request fulfilled when that is over', async (_what, error) => {
    let isBroken = true
    const lab = await failing(() => (isBroken ? error() : undefined))
    await lab.ask()
    await lab.pass(MINUTE_MS * 4)
    expect((await lab.states())[0]).toMatch(/^open (pending-evaluation|capacity-not-available)$/)
    isBroken = false
    await lab.pass(MINUTE_MS * 10)
    expect(await lab.states()).toEqual(['active fulfilled'])
  })

  it('is not tried for ever: its request is told of a system error', async () => {
    let tries = 0
    const lab = await failing(() => {
      tries += 1
      return new Error('nobody thought of this')
    })
    await lab.ask()
    await lab.pass(MINUTE_MS * 30)
    expect(await lab.states()).toEqual(['closed system-error'])
    expect(tries).toBe(5)
  })

  it('keeps no other request from its launch', async () => {
    let tries = 0
    const lab = await failing(() => (++tries % 2 === 1 && tries < 6 ? new Error('nobody thought of this') : undefined))
    await lab.ask({ InstanceCount: 2 })
    await lab.pass(1000)
    expect((await lab.show()).filter((each) => each.State === 'active')).toHaveLength(1)
    await lab.pass(MINUTE_MS * 20)
    expect((await lab.show()).filter((each) => each.State === 'active')).toHaveLength(2)
  })
})

it('A notice by price is given only while the price is no less than the offer: somebody may have set it meanwhile', async () => {
  const lab = await openSpotLab()
  const [id = ''] = await askFor(lab, '0.006')
  await lab.pass(1000)
  const market = new Market(ZONES)
  await lab.store.read((db) => market.fill(db))
  const participant = market.get(id)
  const notice = () => (participant ? noticeInstance(lab.options, participant, { cause: 'by-price', noticeMs: NOTICE_MS }) : Promise.reject(new Error(id)))
  await notice()
  expect(await lab.states()).toEqual(['active fulfilled'])
  await pin(lab, 6001)
  await notice()
  expect(await lab.states()).toEqual(['active marked-for-termination'])
})

describe('A request that waits', () => {
  it('for a constraint is evaluated again every few minutes, for hosts and zones may have come', async () => {
    const lab = await openSpotLab()
    await lab.cap(0)
    await lab.ask()
    await lab.pass(1000)
    await lab.run(async ({ db, nowMs }) => {
      const row = await db.selectFrom('spot_requests').selectAll().executeTakeFirstOrThrow()
      await moveSpotRequest(db, row, toStatus('open', 'constraint-not-fulfillable'), nowMs)
    })
    await lab.cap(1_000_000)
    await lab.pass(2 * MINUTE_MS)
    expect(await lab.states()).toEqual(['open constraint-not-fulfillable'])
    await lab.pass(4 * MINUTE_MS)
    expect(await lab.states()).toEqual(['active fulfilled'])
  })

  it('tells why as it is when it is asked, whatever the market has written down', async () => {
    const lab = await openSpotLab()
    await lab.cap(0)
    await askFor(lab, '0.006')
    await lab.pass(1000)
    expect(await lab.states()).toEqual(['open capacity-not-available'])
    await pin(lab, 9000)
    expect(await lab.states()).toEqual(['open price-too-low'])
    await pin(lab, 5000)
    expect(await lab.states()).toEqual(['open capacity-not-available'])
  })

  it('is launched at once when its zone is healed', async () => {
    const lab = await openSpotLab()
    for (const zone of ZONES) await lab.run(({ db, nowMs }) => moveZone({ db, nowMs }, zone, 'impaired'))
    await lab.ask()
    await lab.pass(1000)
    expect(await lab.instances()).toEqual([])
    await lab.run(({ db, nowMs }) => moveZone({ db, nowMs }, ZONE, 'available'))
    await lab.pass(1000)
    expect(await running(lab)).toBe(1)
  })
})

it('Prices that were set longer ago than anybody is told of are forgotten, but for the last', async () => {
  const lab = await openSpotLab()
  const day = 86_400_000
  for (const ago of [200, 150, 100, 10]) {
    await lab.run(({ db }) => pinPrice(db, { zone: ZONE, instanceType: TYPE, priceMicroUsd: 1000 + ago }, NOW_MS - ago * day))
  }
  await pin(lab, null)
  const kept = await lab.store.read((db) => db.selectFrom('spot_pins').select('price_micro_usd').orderBy('at_ms').execute())
  expect(kept.map((each) => each.price_micro_usd)).toEqual([1100, 1010, null])
})
