import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'

const list = (items: string[], maxResults?: number, nextToken?: string, operation = 'DescribeThings') =>
  paginate(items, { maxResults, nextToken, keyOf: (item) => item, operation })

describe('paginate', () => {
  it('answers everything, sorted, when no limit is asked for', () => {
    expect(list(['b', 'c', 'a'])).toEqual({ page: ['a', 'b', 'c'], nextToken: undefined })
  })

  it('gives no token with the last page', () => {
    expect(list(['a', 'b', 'c', 'd', 'e'], 5).nextToken).toBeUndefined()
    expect(list([], 5)).toEqual({ page: [], nextToken: undefined })
  })

  it('shows each item once, whatever comes and goes between pages', () => {
    const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6 }), { minLength: 6, maxLength: 40 })
    fc.assert(fc.property(ids, ids, fc.integer({ min: 5, max: 8 }), (stable, passing, size) => {
      const others = passing.filter((id) => !stable.includes(id))
      const seen: string[] = []
      let token: string | undefined
      let round = 0
      do {
        const present = others.filter((_, index) => (index + round) % 2 === 0)
        const { page, nextToken } = list([...stable, ...present], size, token)
        seen.push(...page.filter((id) => stable.includes(id)))
        token = nextToken
        round++
      } while (token !== undefined)
      expect(seen).toEqual(stable.toSorted())
    }), { seed: 1 })
  })

  it('refuses a MaxResults below five, with EC2\'s words', () => {
    for (const maxResults of [-1, 0, 4]) {
      expect(() => list(['a'], maxResults)).toThrow(expect.objectContaining({
        code: 'InvalidParameterValue',
        message: `Value ( ${maxResults} ) for parameter maxResults is invalid. Expecting a value greater than 5.`,
      }))
    }
    expect(() => list(['a'], Number.NaN)).toThrow(expect.objectContaining({ code: 'InvalidParameterValue' }))
  })

  it('refuses more than a documented maximum, and cuts to 1000 where there is none', () => {
    const options = { keyOf: (item: string) => item, operation: 'X' }
    expect(() => paginate(['a'], { ...options, maxResults: 101, max: 100 })).toThrow('Expecting a value less than 100.')
    const many = Array.from({ length: 1_001 }, (_, index) => timeKey(index))
    expect(list(many, 5_000).page).toHaveLength(1_000)
  })

  it('refuses a token that it did not give', () => {
    const token = list(['a', 'b', 'c', 'd', 'e', 'f'], 5).nextToken ?? ''
    expect(list(['e', 'f'], 5, token).page).toEqual(['f'])
    const altered = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A')
    for (const bad of ['nonsense', altered, `${token}A`, token.slice(0, 4), '\u0000', 'é', '='.repeat(10)]) {
      expect(() => list(['a'], 5, bad)).toThrow(
        expect.objectContaining({
          code: 'InvalidParameterValue', message: expect.stringContaining('The token is invalid.'),
        }),
      )
    }
    expect(() => list(['a'], 5, token, 'DescribeOthers')).toThrow('The token is invalid.')
  })

  it('takes an empty token for none', () => {
    expect(list(['a'], 5, '').page).toEqual(['a'])
  })
})

describe('refuseIdsWithMaxResults', () => {
  it('refuses both, with EC2\'s words', () => {
    expect(() => refuseIdsWithMaxResults(['i-1'], 5, 'instancesSet')).toThrow(expect.objectContaining({
      code: 'InvalidParameterCombination',
      message: 'The parameter instancesSet cannot be used with the parameter maxResults',
    }))
    expect(() => refuseIdsWithMaxResults([], 5, 'instancesSet')).not.toThrow()
    expect(() => refuseIdsWithMaxResults(['i-1'], undefined, 'instancesSet')).not.toThrow()
  })
})

describe('timeKey', () => {
  it('sorts as its parts do', () => {
    const keys = [timeKey(9, 'r-b', 0), timeKey(10, 'r-a', 2), timeKey(10, 'r-a', 10), timeKey(10, 'r-b', 0)]
    expect(keys.toSorted()).toEqual(keys)
  })
})
