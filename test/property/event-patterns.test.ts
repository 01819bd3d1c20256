import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseEventPattern } from '../../src/events/pattern.ts'

// Patterns against a model that says of each value alone what a test of it means, over all paths of an event.

const NAMES = ['a', 'b', 'c'] as const
const text = fc.string({ unit: fc.constantFrom('a', 'b', 'A', '.'), maxLength: 4 })
const number = fc.integer({ min: -3, max: 3 })
const leaf = fc.oneof(text, number, fc.boolean(), fc.constant(null))
type Leaf = string | number | boolean | null

const { event } = fc.letrec<{ event: object; value: unknown }>((tie) => ({
  event: fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 3 }),
  value: fc.oneof({ depthSize: 'small' }, leaf, fc.array(leaf, { maxLength: 3 }), tie('event')),
}))

interface Test {
  pattern: unknown
  of: (leaf: Leaf) => boolean
}
const wildcard = (parts: string[]): Test => ({
  pattern: { wildcard: parts.join('*') },
  of: (value) => typeof value === 'string' && new RegExp(`^${parts.map((part) => part.replaceAll('.', '\\.')).join('.*')}$`).test(value),
})
const test: fc.Arbitrary<Test> = fc.oneof(
  leaf.map((wanted) => ({ pattern: wanted, of: (value: Leaf) => value === wanted })),
  text.map((end) => ({ pattern: { prefix: end }, of: (value: Leaf) => typeof value === 'string' && value.slice(0, end.length) === end })),
  text.map((end) => ({ pattern: { suffix: end }, of: (value: Leaf) => typeof value === 'string' && value.slice(value.length - end.length) === end && value.length >= end.length })),
  text.map((all) => ({ pattern: { 'equals-ignore-case': all }, of: (value: Leaf) => typeof value === 'string' && value.toLowerCase() === all.toLowerCase() })),
  fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '.'), minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 4 }).map(wildcard),
  fc.uniqueArray(text, { minLength: 1, maxLength: 3 }).map((texts) => ({ pattern: { 'anything-but': texts }, of: (value: Leaf) => !texts.includes(value as string) })),
  fc.tuple(number, number).filter(([low, high]) => low < high).map(([low, high]) => ({
    pattern: { numeric: ['>', low, '<=', high] }, of: (value: Leaf) => typeof value === 'number' && value > low && value <= high,
  })),
  fc.constant({ pattern: { exists: true }, of: () => true }),
)

function leavesAt(value: unknown, path: readonly string[]): Leaf[] {
  const [name, ...rest] = path
  if (Array.isArray(value)) return value.flatMap((each) => leavesAt(each, path))
  if (name === undefined) return typeof value === 'object' && value !== null ? [] : [value as Leaf]
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? leavesAt(Reflect.get(value, name), rest) : []
}

const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 })
const nest = (names: readonly string[], inner: unknown): object => names.reduceRight<unknown>((value, name) => ({ [name]: value }), inner) as object

describe('event patterns', () => {
  it('match what their model does', () => {
    fc.assert(fc.property(event, path, fc.array(test, { minLength: 1, maxLength: 3 }), (event, path, tests) => {
      const pattern = parseEventPattern(JSON.stringify(nest(path, tests.map((each) => each.pattern))))
      expect(pattern.matches(event)).toBe(leavesAt(event, path).some((value) => tests.some((each) => each.of(value))))
    }), { numRuns: 2000 })
  })

  it('know what is absent', () => {
    fc.assert(fc.property(event, path, (event, path) => {
      const pattern = parseEventPattern(JSON.stringify(nest(path, [{ exists: false }])))
      expect(pattern.matches(event)).toBe(leavesAt(event, path).length === 0)
    }))
  })

  it('take a branch of $or where any of them would match alone', () => {
    const part = fc.tuple(path, test).map(([path, { pattern }]) => nest(path, [pattern]))
    fc.assert(fc.property(event, fc.array(part, { minLength: 2, maxLength: 4 }), (event, branches) => {
      const matches = (pattern: object) => parseEventPattern(JSON.stringify(pattern)).matches(event)
      expect(matches({ $or: branches })).toBe(branches.some(matches))
    }))
  })

  it('end in an answer or in EventBridge\'s error, whatever they are given', () => {
    fc.assert(fc.property(fc.jsonValue(), fc.object(), (pattern, event) => {
      try {
        expect(typeof parseEventPattern(JSON.stringify(pattern)).matches(event)).toBe('boolean')
      } catch (error) {
        expect((error as Error).message).toMatch(/^Event pattern is not valid\. Reason: ./)
      }
    }))
  })
})
