import { expect, test } from 'vitest'
import { seededRandom } from './random.ts'
import { VirtualClock } from './virtual-clock.ts'

test('time that stands still is an error, and no test that never ends', () => {
  const clock = new VirtualClock(seededRandom(1))
  const again = () => void clock.soon(again)
  again()
  expect(() => {
    while (clock.step()) continue
  }).toThrow('time stands still at 2026-01-01T00:00:00.000Z: something is due again and again')
})
