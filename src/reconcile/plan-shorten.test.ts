import { expect, test } from 'vitest'
import { MOST_LAYERS } from '../model/layer.ts'
import type { LayerTable } from '../store/schema.ts'
import { planShorten } from './plan-shorten.ts'

/** From the top; the lowest is the provider's image unless it is said to be the account's own. */
function chain(length: number, change: { topKey?: string; lowestKey?: string; lowestAccount?: string } = {}): LayerTable[] {
  return Array.from({ length }, (_each, index) => {
    const isLowest = index === length - 1
    const key = isLowest ? change.lowestKey : change.topKey
    return {
      layer_id: `lay-${index}`, account_id: isLowest ? change.lowestAccount ?? 'provider' : 'mine', host_id: 'h',
      parent_id: isLowest ? null : `lay-${index + 1}`, replaces_id: null, state: index === 0 ? 'open' : 'sealed', size_gib: 8,
      depth: length - 1 - index, created_ms: 0, doc: JSON.stringify(key === undefined ? {} : { kmsKeyId: key }),
    }
  })
}
const LONG = MOST_LAYERS + 1
const LOWEST = `lay-${LONG - 1}`

test('a chain that is not too long stays as it is', () => {
  expect(planShorten(chain(MOST_LAYERS), true)).toBeUndefined()
  expect(planShorten(chain(1), false)).toBeUndefined()
})

test('a long one keeps the image that others stand on, and nothing that only it needs', () => {
  expect(planShorten(chain(LONG), true)).toBe(LOWEST)
  expect(planShorten(chain(LONG), false)).toBeNull()
})

test('an encrypted volume leaves plain layers of its own account, not those that are public anyway', () => {
  expect(planShorten(chain(LONG, { topKey: 'key', lowestAccount: 'mine' }), true)).toBeNull()
  expect(planShorten(chain(LONG, { topKey: 'key' }), true)).toBe(LOWEST)
  expect(planShorten(chain(LONG, { topKey: 'key', lowestKey: 'key', lowestAccount: 'mine' }), true)).toBe(LOWEST)
  expect(planShorten(chain(LONG, { lowestAccount: 'mine' }), true)).toBe(LOWEST)
})
