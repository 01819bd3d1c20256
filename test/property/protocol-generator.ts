import fc, { type GeneratorValue } from 'fast-check'
import type { NormalizedSchema } from '@smithy/core/schema'

/** How one direction of the wire treats values. */
export interface Direction {
  /** Shortest string to generate; the wire has no empty members in requests. */
  minStringLength: number
  /** Fewest items of a list. */
  minItems: number
}

export const request: Direction = { minStringLength: 1, minItems: 1 }
export const answer: Direction = { minStringLength: 0, minItems: 0 }

// Everything that a form or XML has to escape, and some that only look as if.
const hostile = [...'<>&"\'%+=;.#/\\?*~!()[]{} \té漢🦄\r', '__proto__', 'constructor', '&amp;', ']]>', '%00', '\u0085']
const character = fc.oneof(fc.constantFrom(...hostile), fc.string({ minLength: 1, maxLength: 1 }))
// The schemas do not tell whole numbers from doubles; every double member takes a whole one, too.
const numbers = fc.oneof(fc.integer(), fc.maxSafeInteger())
const dates = fc.date({ min: new Date('1970-01-01T00:00:00Z'), max: new Date('2199-12-31T23:59:59Z'), noInvalidDate: true })
const blobs = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => new Uint8Array(bytes))

/** A random value of one of the SDK's own schemas: members come and go, but those of `required` stay. */
export function randomValue(g: GeneratorValue, schema: NormalizedSchema, direction: Direction, depth = 0): unknown {
  const { minStringLength, minItems } = direction
  if (schema.isStringSchema()) return g(fc.string, { unit: character, minLength: minStringLength, maxLength: 8 })
  if (schema.isNumericSchema()) return g(() => numbers)
  if (schema.isBooleanSchema()) return g(fc.boolean)
  if (schema.isTimestampSchema()) return g(() => dates)
  if (schema.isBlobSchema()) return g(() => blobs)
  if (schema.isListSchema()) {
    const length = g(fc.integer, { min: minItems, max: depth > 2 ? 1 : 3 })
    return Array.from({ length }, () => randomValue(g, schema.getValueSchema(), direction, depth + 1))
  }
  if (schema.isMapSchema()) {
    const keys = g(fc.uniqueArray, fc.string({ minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 3 })
    const entries = keys.map((key) => [key, randomValue(g, schema.getValueSchema(), direction, depth + 1)])
    return Object.fromEntries(entries) as unknown
  }
  return randomStructure(g, schema, direction, depth)
}

/** As randomValue; a structure always has a member, since the wire cannot tell an empty one from none. */
function randomStructure(g: GeneratorValue, schema: NormalizedSchema, direction: Direction, depth: number): object {
  const members = [...schema.structIterator()]
  const requiredCount = (schema.getSchema() as unknown[])[6] ?? 0
  const chosen = g(fc.integer, { min: 0, max: Math.max(0, members.length - 1) })
  // Deep structures of wide ones would be megabytes; the tokens that the SDK fills in are always given.
  const share = [60, 40, 25][depth] ?? 10
  const value: Record<string, unknown> = {}
  for (const [index, [name, member]] of members.entries()) {
    const isWanted = index < Number(requiredCount) || index === chosen || member.isIdempotencyToken()
    if (isWanted || g(fc.integer, { min: 0, max: 99 }) < share) {
      value[name] = randomValue(g, member, direction, depth + 1)
    }
  }
  return value
}
