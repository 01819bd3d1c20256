import { describe, expect, it } from 'vitest'
import { instanceTypeNames } from './instance-types.ts'
import { onDemandPrice } from './on-demand-prices.ts'

describe('prices on demand', () => {
  it('are known for nearly all types', () => {
    const names = instanceTypeNames()
    expect(names.filter((name) => onDemandPrice(name) === undefined).length).toBeLessThan(names.length / 20)
    expect(onDemandPrice('t3.micro')).toBe(0.0104)
  })

  it.each(['', 't3.gigantic', '__proto__', 'constructor'])('are not known for "%s"', (name) => {
    expect(onDemandPrice(name)).toBeUndefined()
  })
})
