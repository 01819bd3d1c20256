import { describe, expect, test } from 'vitest'
import { simulate } from '../../src/simulate/run.ts'

describe('a simulated cloud', () => {
  test('replays the same history from the same seed', async () => {
    const first = await simulate(5, 200)
    const second = await simulate(5, 200)
    expect(second).toEqual(first)
    expect(first.crashes).toBeGreaterThan(0)
    expect((await simulate(1, 200)).trace).not.toBe(first.trace)
  })
})
