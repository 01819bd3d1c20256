import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { watchSleep } from './sleep.ts'

test('a machine that slept is noticed when it wakes, and one that is busy is not taken for one', async () => {
  const clock = new VirtualClock(seededRandom(1))
  const slept: number[] = []
  const watch = watchSleep(clock, (ms) => slept.push(ms))
  await clock.advance(60_000)
  clock.suspend(10_000)
  await clock.advance(60_000)
  expect(slept).toEqual([])
  expect(watch.awakeSinceMs()).toBe(0)

  clock.suspend(8 * 3_600_000)
  await clock.advance(5_000)
  expect(slept).toEqual([8 * 3_600_000])
  expect(watch.awakeSinceMs()).toBeGreaterThan(clock.now() - 5_001)
  watch.stop()
  expect(clock.nextAt()).toBeUndefined()
})
