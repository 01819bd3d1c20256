import { expect, test } from 'vitest'
import { concurrencyOf } from './agent.ts'

const hosts = (count: number) => Array.from({ length: count }, (_, index) => ({ hostId: `h-${index}`, zone: 'us-east-1a' }))

test('a node works on sixteen things at a time, and so do its hosts together, each on four at least', () => {
  expect(concurrencyOf({ zone: null, hosts: hosts(3) })).toBe(16)
  expect([1, 3, 6, 18].map((count) => concurrencyOf({ zone: 'us-east-1a', hosts: hosts(count) }))).toEqual([16, 6, 4, 4])
})
