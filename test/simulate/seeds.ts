import { describe, test } from 'vitest'
import { simulate } from '../../src/simulate/run.ts'

const STEPS = 500
const GROUP = 20

/** Runs every seed of a range; a failure names its seed and how to replay it. */
export function describeSeeds(from: number, to: number): void {
  describe('a simulated cloud under random calls and crashes', () => {
    for (let first = from; first <= to; first += GROUP) {
      const last = Math.min(to, first + GROUP - 1)
      test(`seeds ${first} to ${last}: nothing is lost, nothing leaks, everything converges`, async () => {
        for (let seed = first; seed <= last; seed++) await simulate(seed, STEPS)
      })
    }
  })
}
