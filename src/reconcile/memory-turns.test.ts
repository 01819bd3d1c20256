import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { again, DONE } from './loop.ts'
import { MemoryTurns } from './memory-turns.ts'

const clock = new VirtualClock(seededRandom(1), 0)
const row = (id: string, stateMs = 0) => ({ instance_id: id, state_ms: stateMs })

/** Instances that want a turn; those that have one work until they are told to end. */
function open() {
  const turns = new MemoryTurns(clock)
  const ends = new Map<string, () => void>()
  const asks = async (id: string) => {
    const outcome = turns.take(row(id), async () => {
      await new Promise<void>((resolve) => ends.set(id, resolve))
      ends.delete(id)
      return DONE
    })
    return Promise.race([outcome, clock.advance(0).then(() => 'at work' as const)])
  }
  const end = async (id: string) => {
    ends.get(id)?.()
    await clock.advance(0)
  }
  return { turns, asks, end }
}

test('two have their turn at a time, and others wait', async () => {
  const { asks, end } = open()
  expect([await asks('a'), await asks('b'), await asks('c')]).toEqual(['at work', 'at work', again(500)])
  await end('a')
  expect([await asks('c'), await asks('d')]).toEqual(['at work', again(500)])
})

test('those that wait have their turn in the order in which they came, whoever asks first then', async () => {
  const { asks, end } = open()
  for (const id of ['a', 'b', 'c', 'd', 'e']) await asks(id)
  await end('a')
  expect([await asks('d'), await asks('new'), await asks('c'), await asks('d')]).toEqual([again(500), again(500), 'at work', again(500)])
  await end('c')
  await end('b')
  expect([await asks('e'), await asks('d'), await asks('new')]).toEqual(['at work', 'at work', again(500)])
})

test('one that does not ask any more keeps nobody waiting', async () => {
  const { asks, end } = open()
  for (const id of ['a', 'b', 'gone', 'c']) await asks(id)
  await end('a')
  expect(await asks('c')).toEqual(again(500))
  for (let ms = 0; ms < 5000; ms += 500) {
    await clock.advance(500)
    expect(await asks('c')).toEqual(again(500))
  }
  await clock.advance(500)
  expect(await asks('c')).toBe('at work')
})

test('one whose work fails has ended its turn', async () => {
  const turns = new MemoryTurns(clock)
  for (const id of ['a', 'b', 'c']) {
    await expect(turns.take(row(id), () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  }
})

test('the time of failures counts from the first one, without the time that was waited for a turn', async () => {
  const { turns, asks, end } = open()
  expect(turns.failedForMs(row('x'), 0)).toBe(0)
  await clock.advance(3000)
  expect(turns.failedForMs(row('x'), 0)).toBe(3000)
  await asks('a')
  await asks('b')
  for (let ms = 0; ms < 60_000; ms += 500) {
    expect(await asks('x')).toEqual(again(500))
    await clock.advance(500)
  }
  await end('a')
  expect(await asks('x')).toBe('at work')
  await clock.advance(1000)
  expect(turns.failedForMs(row('x'), 0)).toBe(4000)
  // After a sleep of the host, and when it is asked for anew.
  expect(turns.failedForMs(row('x'), clock.now() - 100)).toBe(100)
  expect(turns.failedForMs(row('x', 7), 0)).toBe(0)
})
