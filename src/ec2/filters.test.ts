import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileFilters, exactValues, matchesWildcard, withoutValue, type FilterFields } from './filters.ts'

interface Item {
  name: string
  groups: (string | undefined)[]
  tags: { key: string; value: string }[]
}

const FIELDS: FilterFields<Item> = {
  name: (item) => item.name,
  group: (item) => item.groups,
  ...withoutValue('kernel-id'),
}

const item: Item = { name: 'web', groups: ['a', undefined, 'b'], tags: [{ key: 'Env', value: 'prod' }] }
const matches = (filters: { Name?: string; Values?: string[] }[]) =>
  compileFilters(filters, FIELDS, (each) => each.tags)(item)

const filters = (count: number) => Array.from({ length: count }, () => ({ Name: 'name', Values: ['web'] }))
const values = (count: number) => [{ Name: 'name', Values: Array.from({ length: count }, () => 'web') }]

describe('compileFilters', () => {
  it('lets everything through without filters', () => {
    expect(compileFilters(undefined, FIELDS)(item)).toBe(true)
    expect(compileFilters([], FIELDS)(item)).toBe(true)
  })

  it('wants every filter and any value', () => {
    expect(matches([{ Name: 'name', Values: ['db', 'web'] }])).toBe(true)
    expect(matches([{ Name: 'name', Values: ['web'] }, { Name: 'group', Values: ['b'] }])).toBe(true)
    expect(matches([{ Name: 'name', Values: ['web'] }, { Name: 'group', Values: ['c'] }])).toBe(false)
  })

  it('is case-sensitive', () => {
    expect(matches([{ Name: 'name', Values: ['Web'] }])).toBe(false)
    expect(() => matches([{ Name: 'Name', Values: ['web'] }])).toThrow("The filter 'Name' is invalid")
  })

  it('matches nothing without values, and by a documented filter that has none here', () => {
    expect(matches([{ Name: 'name', Values: [] }])).toBe(false)
    expect(matches([{ Name: 'name' }])).toBe(false)
    expect(matches([{ Name: 'kernel-id', Values: ['*'] }])).toBe(false)
  })

  it.each([
    ['tag:Env', 'prod', true], ['tag:Env', 'pr*', true], ['tag:env', 'prod', false], ['tag:Env', 'test', false],
    ['tag-key', 'Env', true], ['tag-key', 'prod', false], ['tag-value', 'prod', true], ['tag', 'Env=prod', true],
    ['tag', 'Env', false],
  ])('reads %s = %s', (name, value, expected) => {
    expect(matches([{ Name: name, Values: [value] }])).toBe(expected)
  })

  it('knows no tag filters where the noun has no tags', () => {
    const filter = { Name: 'tag:Env', Values: ['x'] }
    expect(() => compileFilters([filter], FIELDS)).toThrow("The filter 'tag:Env' is invalid")
  })

  it.each(['nonsense', '__proto__', 'constructor', 'toString'])('refuses %s', (name) => {
    expect(() => matches([{ Name: name, Values: ['x'] }])).toThrow(
      expect.objectContaining({ code: 'InvalidParameterValue', message: `The filter '${name}' is invalid` }),
    )
  })

  it('calls a filter without a name null, as EC2 does', () => {
    expect(() => matches([{ Values: ['x'] }])).toThrow("The filter 'null' is invalid")
  })

  it('limits filters, values and their length', () => {
    expect(matches(filters(50))).toBe(true)
    expect(() => matches(filters(51))).toThrow(expect.objectContaining({ code: 'FilterLimitExceeded' }))
    expect(matches(values(200))).toBe(true)
    expect(() => matches(values(201))).toThrow(
      expect.objectContaining({
        code: 'FilterLimitExceeded', message: 'The maximum number of filter values specified on a single call is 200',
      }),
    )
    expect(matches([{ Name: 'name', Values: ['x'.repeat(255)] }])).toBe(false)
    expect(() => matches([{ Name: 'name', Values: ['x'.repeat(256)] }])).toThrow(
      expect.objectContaining({ code: 'InvalidParameterValue' }),
    )
  })
})

describe('exactValues', () => {
  it('answers unescaped values when none needs matching', () => {
    expect(exactValues([{ Name: 'a', Values: ['x', String.raw`y\*`] }], 'a')).toEqual(['x', 'y*'])
  })

  it('answers undefined for a wildcard, no values or no filter', () => {
    expect(exactValues([{ Name: 'a', Values: ['x', 'y?'] }], 'a')).toBeUndefined()
    expect(exactValues([{ Name: 'a', Values: [] }], 'a')).toBeUndefined()
    expect(exactValues([{ Name: 'b', Values: ['x'] }], 'a')).toBeUndefined()
    expect(exactValues(undefined, 'a')).toBeUndefined()
  })
})

describe('matchesWildcard', () => {
  it.each([
    ['*', '', true], ['*', 'anything', true], ['?', '', true], ['?', 'a', true], ['?', 'ab', false],
    ['a*b', 'ab', true], ['a*b', 'axxb', true], ['a*b', 'axxbc', false], ['a?b', 'ab', true], ['a?b', 'axb', true],
    ['a?b', 'axxb', false], [String.raw`\*`, '*', true], [String.raw`\*`, 'a', false], [String.raw`\?`, '?', true],
    [String.raw`\\`, '\\', true], ['a\\', 'a\\', true], ['a.b', 'axb', false], ['', '', true], ['', 'a', false],
    [String.raw`\*amazon\?\\`, '*amazon?\\', true],
  ])('%s against %s: %s', (pattern, text, expected) => {
    expect(matchesWildcard(pattern, text)).toBe(expected)
  })

  it('agrees with the definition', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?', '\\'), maxLength: 9 })
    fc.assert(fc.property(text, text, (pattern, candidate) => {
      expect(matchesWildcard(pattern, candidate)).toBe(matchesByDefinition(pattern, candidate))
    }), { numRuns: 5_000, seed: 1 })
  })

  it('does the work of pattern times text however many wildcards there are', () => {
    // A backtracking matcher would not come back before the test's time is over.
    const pattern = '*a?'.repeat(85)
    expect(matchesWildcard(pattern, 'b'.repeat(20_000))).toBe(false)
    expect(matchesWildcard(`${pattern.slice(0, -2)}c`, 'a'.repeat(2_000))).toBe(false)
  })
})

/** The meaning of each character, tried in turn; exponential, for short texts only. */
function matchesByDefinition(pattern: string, text: string): boolean {
  if (pattern === '') return text === ''
  const [first = '', rest] = [pattern[0], pattern.slice(1)]
  if (first === '*' || first === '?') {
    const after = first === '*' ? pattern : rest
    return matchesByDefinition(rest, text) || (text !== '' && matchesByDefinition(after, text.slice(1)))
  }
  const isEscape = first === '\\' && rest !== ''
  const literal = isEscape ? rest[0] : first
  return text[0] === literal && text !== '' && matchesByDefinition(isEscape ? rest.slice(1) : rest, text.slice(1))
}
