import { describe, expect, it } from 'vitest'
import { ApiError } from '../core/errors.ts'
import { fulfil, type FleetMeans } from './create-fleet-fulfil.ts'
import { tiersOf, type Pool } from './create-fleet-pools.ts'

/** A pool by a name, such as "t3.micro a", of which there are so many instances. */
interface Stock {
  pool: Pool
  room: number
}

const stock = (name: string, room: number, change: Partial<Pool> = {}): Stock => {
  const [typeName = '', zone = ''] = name.split(' ')
  return {
    room,
    pool: {
      source: {}, template: { id: 'lt-1', version: 1 }, input: {}, typeName, zone, weight: 1, priority: Number.POSITIVE_INFINITY, price: 1,
      problem: null, maxSpotMicroUsd: null, serves: { onDemand: true, spot: true }, ...change,
    },
  }
}

const nameOf = ({ typeName, zone }: Pool) => `${typeName} ${zone}`

/** Launches from the stocks and tells how many came from where, and where there were too few. */
async function launch(
  stocks: Stock[],
  { total, ...more }: { total: number; strategy?: 'lowest-price' | 'prioritized'; maxTotalPrice?: number } & Partial<Pick<FleetMeans, 'placement' | 'reserved'>>,
) {
  const target = { TotalTargetCapacity: total }
  const rooms = new Map(stocks.map(({ pool, room }) => [pool, room]))
  const outcome = await fulfil(tiersOf(stocks.map(({ pool }) => pool), { strategy: more.strategy ?? 'lowest-price', target }), {
    request: { target: { ...target }, maxTotalPrice: more.maxTotalPrice ?? null }, placement: more.placement ?? 'spread',
    ...(more.reserved ? { reserved: more.reserved } : {}),
    async launch(pool, count) {
      const room = rooms.get(pool) ?? 0
      const ids = Array.from({ length: Math.min(room, count) }, (_, index) => `${nameOf(pool)} ${room - index}`)
      rooms.set(pool, room - ids.length)
      return { ids, error: ids.length < count ? new ApiError('InsufficientInstanceCapacity', 'no room') : null }
    },
  })
  return {
    fulfilled: outcome.fulfilled,
    launched: Object.fromEntries([...outcome.launched].map(([pool, ids]) => [nameOf(pool), ids.length])),
    short: outcome.errors.map(({ pool }) => nameOf(pool)),
  }
}

describe('a fleet by the lowest price', () => {
  it('takes the cheapest pool, and the next where there is no room', async () => {
    const stocks = [stock('m5.large a', 9, { price: 0.096 }), stock('t3.micro a', 2, { price: 0.0104 })]
    expect(await launch(stocks, { total: 3 })).toEqual({ fulfilled: 3, launched: { 't3.micro a': 2, 'm5.large a': 1 }, short: ['t3.micro a'] })
    expect(await launch(stocks, { total: 2 })).toEqual({ fulfilled: 2, launched: { 't3.micro a': 2 }, short: [] })
  })

  it('counts prices per unit, unless every instance is more than the fleet', async () => {
    const stocks = [stock('small a', 9, { price: 1 }), stock('large a', 9, { price: 3, weight: 4 })]
    expect((await launch(stocks, { total: 9 })).launched).toEqual({ 'large a': 3 })
    const large = [stock('four a', 9, { price: 2, weight: 4 }), stock('eight a', 9, { price: 3, weight: 8 })]
    expect((await launch(large, { total: 2 })).launched).toEqual({ 'four a': 1 })
    expect((await launch(large, { total: 4 })).launched).toEqual({ 'eight a': 1 })
  })

  it('takes what has no known price last', async () => {
    const stocks = [stock('x a', 9, { price: undefined }), stock('y a', 1, { price: 100 })]
    expect((await launch(stocks, { total: 2 })).launched).toEqual({ 'y a': 1, 'x a': 1 })
  })

  it('divides what is missing among equal pools, and gives the others what one has no room for', async () => {
    const zones = (...rooms: number[]) => rooms.map((room, index) => stock(`t3.micro ${'abc'[index]}`, room))
    expect((await launch(zones(9, 9, 9), { total: 4 })).launched).toEqual({ 't3.micro a': 2, 't3.micro b': 1, 't3.micro c': 1 })
    expect(await launch(zones(9, 1, 0), { total: 6 })).toEqual({
      fulfilled: 6, launched: { 't3.micro a': 5, 't3.micro b': 1 }, short: ['t3.micro b', 't3.micro c'],
    })
    expect((await launch(zones(9, 9, 9), { total: 4, placement: 'pack' })).launched).toEqual({ 't3.micro a': 4 })
    expect(await launch(zones(1, 1, 1), { total: 5 })).toMatchObject({ fulfilled: 3, short: ['t3.micro a', 't3.micro b', 't3.micro c'] })
  })

  it('stops before it costs more than it may', async () => {
    const stocks = [stock('a a', 1, { price: 0.1 }), stock('b a', 9, { price: 0.2 }), stock('c a', 9, { price: undefined })]
    expect(await launch(stocks, { total: 5, maxTotalPrice: 0.5 })).toEqual({ fulfilled: 3, launched: { 'a a': 1, 'b a': 2 }, short: ['a a'] })
    expect((await launch([stock('a a', 9, { price: 0.1 })], { total: 5, maxTotalPrice: 0.3 })).launched).toEqual({ 'a a': 3 })
    expect(await launch(stocks, { total: 5, maxTotalPrice: 0.05 })).toEqual({ fulfilled: 0, launched: {}, short: [] })
  })

  it('uses room in capacity reservations first, where that is asked for', async () => {
    const stocks = [stock('cheap a', 9, { price: 1 }), stock('dear a', 9, { price: 2 }), stock('dear b', 9, { price: 2 })]
    const reserved = async (pool: Pool) => (nameOf(pool) === 'dear b' ? 2 : 0)
    expect((await launch(stocks, { total: 3, reserved })).launched).toEqual({ 'dear b': 2, 'cheap a': 1 })
  })
})

describe('a fleet by priority', () => {
  it('takes the lowest number first, and what has none last', async () => {
    const stocks = [stock('none a', 9, { price: 0.1 }), stock('second a', 2, { priority: 1 }), stock('first a', 1, { priority: 0 })]
    expect(await launch(stocks, { total: 4, strategy: 'prioritized' })).toEqual({
      fulfilled: 4, launched: { 'first a': 1, 'second a': 2, 'none a': 1 }, short: ['first a', 'second a'],
    })
  })
})
