import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { contains, formatCidr, formatIpv4, netmask, overlaps, parseCidr, parseIpv4, sizeOf } from './cidr.ts'
import { isWellFormedId, newId } from './ids.ts'
import { seededRandom } from './random.ts'
import { VirtualClock } from './virtual-clock.ts'

describe('addresses', () => {
  test('read what they write', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (value) => parseIpv4(formatIpv4(value)) === value))
  })
  test.each(['', '1.2.3', '1.2.3.4.5', '256.1.1.1', '1.2.3.-4', '1.2.3.4 ', '01x.2.3.4'])('refuse %j', (text) => {
    expect(parseIpv4(text)).toBeUndefined()
  })
  test('a block is taken for its network', () => {
    expect(formatCidr(parseCidr('10.1.2.3/16') ?? { base: 0, prefix: 0 })).toBe('10.1.0.0/16')
    expect(netmask(20)).toBe('255.255.240.0')
    expect(netmask(0)).toBe('0.0.0.0')
  })
  test.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/x', '10.0.0.0/8/8', '/8'])('refuses the block %j', (text) => {
    expect(parseCidr(text)).toBeUndefined()
  })
  test('blocks overlap exactly when they share an address', () => {
    const block = fc.tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 0, max: 32 }))
      .map(([base, prefix]) => ({ base: base - (base % sizeOf(prefix)), prefix }))
    fc.assert(fc.property(block, block, (a, b) => {
      const last = (cidr: { base: number; prefix: number }) => cidr.base + sizeOf(cidr.prefix) - 1
      const share = Math.max(a.base, b.base) <= Math.min(last(a), last(b))
      return overlaps(a, b) === share && contains(a, a.base) && contains(a, last(a)) && !contains(a, last(a) + 1)
    }))
  })
})

test('ids have their prefix and 17 hexadecimal digits', () => {
  const id = newId(seededRandom(1), 'vol')
  expect(id).toMatch(/^vol-[0-9a-f]{17}$/)
  expect(isWellFormedId('vol', id)).toBe(true)
  expect(isWellFormedId('i', id)).toBe(false)
  expect(isWellFormedId('i', 'i-1234abcd')).toBe(true)
})

describe('virtual time', () => {
  test('runs timers in the order of their time, and those of one moment in an order of the seed', async () => {
    const orderOf = async (seed: number) => {
      const clock = new VirtualClock(seededRandom(seed))
      const seen: string[] = []
      for (const name of ['a', 'b', 'c', 'd']) clock.after(10, () => seen.push(name))
      clock.after(5, () => seen.push('first'))
      clock.after(20, () => seen.push('never')).cancel()
      await clock.advance(30)
      return seen.join('')
    }
    expect(await orderOf(1)).toBe(await orderOf(1))
    expect(await orderOf(1)).toMatch(/^first[abcd]{4}$/)
    const orders = new Set(await Promise.all([1, 2, 3, 4, 5, 6].map(orderOf)))
    expect(orders.size).toBeGreaterThan(1)
  })
  test('a sleep ends when its signal aborts', async () => {
    const clock = new VirtualClock(seededRandom(1))
    const ending = new AbortController()
    const sleep = clock.sleep(1000, ending.signal)
    ending.abort(new Error('enough'))
    await expect(sleep).rejects.toThrow('enough')
    expect(clock.nextAt()).toBeUndefined()
  })
})
