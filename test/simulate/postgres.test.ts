import { describe, test } from 'vitest'
import { simulate } from '../../src/simulate/run.ts'
import { hasPostgres, openTestPostgres } from '../support/postgres.ts'

const STEPS = 300

describe.runIf(hasPostgres())('a simulated cloud on PostgreSQL, over several connections at once', () => {
  // Several seeds at once: each waits for the server most of its time.
  test.concurrent.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])('seed %d: nothing is lost, nothing leaks, everything converges', async (seed) => {
    await simulate(seed, STEPS, await openTestPostgres())
  })
})
