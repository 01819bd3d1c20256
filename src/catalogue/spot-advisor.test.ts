import { describe, expect, it } from 'vitest'
import { instanceTypeNames } from './instance-types.ts'
import { spotAdvice } from './spot-advisor.ts'

describe('the spot advisor', () => {
  it('knows what a type saves, and how often it is interrupted, region by region', () => {
    expect(spotAdvice('us-east-1', 'm5.large')).toEqual({ savingPercent: 66, band: 3 })
    expect(spotAdvice('eu-west-1', 'm5.large')).toEqual({ savingPercent: 57, band: 1 })
  })

  it('takes another region for us-east-1', () => {
    expect(spotAdvice('ap-south-1', 'm5.large')).toEqual(spotAdvice('us-east-1', 'm5.large'))
  })

  it('takes a type that it does not list for one of its family, and one of an unknown family for any', () => {
    const m5 = spotAdvice('us-east-1', 'm5.gigantic')
    expect(m5.savingPercent).toBeGreaterThan(50)
    expect(m5.savingPercent).toBeLessThan(80)
    expect(spotAdvice('us-east-1', 'zz9.large')).toEqual({ savingPercent: 66, band: 3 })
    expect(spotAdvice('__proto__', 'constructor')).toEqual({ savingPercent: 66, band: 3 })
  })

  it('says something possible of each type that there is', () => {
    for (const region of ['us-east-1', 'eu-west-1']) {
      for (const name of instanceTypeNames()) {
        const { savingPercent, band } = spotAdvice(region, name)
        expect(savingPercent >= 0 && savingPercent < 100 && [0, 1, 2, 3, 4].includes(band), name).toBe(true)
      }
    }
  })
})
