import { expect, it } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { steadyProgress } from './steady-progress.ts'

it('whoever waits hears something every four seconds, from the first line to the end', async () => {
  const clock = new VirtualClock(seededRandom(1))
  const lines: string[] = []
  const progress = steadyProgress(clock, (line) => lines.push(line))
  await clock.advance(10_000)
  progress.say('downloading')
  await clock.advance(3_900)
  progress.say('installing')
  await clock.advance(9_000)
  progress.say('packing')
  progress.end()
  await clock.advance(60_000)
  expect(lines).toEqual(['downloading', 'installing', 'installing … 4 s', 'installing … 8 s', 'packing'])
})
