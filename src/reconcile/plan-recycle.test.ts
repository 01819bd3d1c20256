import { describe, expect, test } from 'vitest'
import { isNearlyFull, planRecycle, type BinnedItem, type RecycleWorld } from './plan-recycle.ts'

const item = (id: string, binnedMs: number, layerIds: string[], change: Partial<BinnedItem> = {}): BinnedItem => ({
  kind: id.startsWith('ami') ? 'image' : id.startsWith('vol') ? 'volume' : 'snapshot', id, binnedMs, exitMs: binnedMs + 100,
  layerIds, imageIds: [], ...change,
})

/** A world of layers of 10 bytes each, `over` naming which is over which. */
const plan = (items: BinnedItem[], change: Partial<RecycleWorld> & { over?: Record<string, string> } = {}) => {
  const { over = {}, ...rest } = change
  const layers = [...new Set([...items.flatMap((each) => each.layerIds), ...Object.keys(over), ...Object.values(over)])]
  const { expired, evicted, ...told } = planRecycle({
    nowMs: 50, budgetBytes: 1000, items, inUse: [], parentOf: new Map(layers.map((layer) => [layer, over[layer] ?? null])),
    bytesOf: new Map(layers.map((layer) => [layer, 10])), ...rest,
  })
  return { ...told, expired: expired.map((each) => each.id), evicted: evicted.map((each) => each.id) }
}

describe('what has expired', () => {
  test('goes, and the others are looked at when the next one does', () => {
    const items = [item('snap-1', 0, ['a']), item('snap-2', 10, ['b']), item('vol-1', -60, ['c'])]
    expect(plan(items)).toEqual({ expired: ['vol-1'], evicted: [], heldBytes: 20, nextExitMs: 100 })
    expect(plan(items, { nowMs: 100 })).toEqual({ expired: ['vol-1', 'snap-1'], evicted: [], heldBytes: 10, nextExitMs: 110 })
    expect(plan(items, { nowMs: 110 })).toEqual({ expired: ['vol-1', 'snap-1', 'snap-2'], evicted: [], heldBytes: 0, nextExitMs: undefined })
  })

  test('is an image before its snapshots, and a snapshot never before its image', () => {
    const items = [item('snap-1', 0, ['a'], { imageIds: ['ami-1'] }), item('ami-1', 0, [], { exitMs: 200 })]
    expect(plan(items, { nowMs: 150 })).toEqual({ expired: [], evicted: [], heldBytes: 10, nextExitMs: 200 })
    expect(plan(items, { nowMs: 200 }).expired).toEqual(['ami-1', 'snap-1'])
  })

  test('is nothing in an empty bin', () => {
    expect(plan([])).toEqual({ expired: [], evicted: [], heldBytes: 0, nextExitMs: undefined })
  })
})

describe('beyond the budget', () => {
  test('the oldest goes first, and no more than must', () => {
    const items = [item('snap-3', 30, ['c']), item('snap-1', 10, ['a']), item('vol-2', 20, ['b'])]
    expect(plan(items, { budgetBytes: 30 }).evicted).toEqual([])
    expect(plan(items, { budgetBytes: 29 })).toEqual({ expired: [], evicted: ['snap-1'], heldBytes: 20, nextExitMs: 120 })
    expect(plan(items, { budgetBytes: 10 })).toMatchObject({ evicted: ['snap-1', 'vol-2'], heldBytes: 10 })
    expect(plan(items, { budgetBytes: 0 })).toMatchObject({ evicted: ['snap-1', 'vol-2', 'snap-3'], heldBytes: 0 })
  })

  test('what has expired goes before anything else', () => {
    const items = [item('snap-1', 0, ['a'], { exitMs: 500 }), item('snap-2', 20, ['b'], { exitMs: 40 })]
    expect(plan(items, { budgetBytes: 10 })).toMatchObject({ expired: ['snap-2'], evicted: [], heldBytes: 10 })
  })

  test('what is in use outside the bin does not count, nor what is under it', () => {
    const items = [item('snap-1', 10, ['a']), item('snap-2', 20, ['b'])]
    // A volume writes into c, which is over a: snap-1 holds nothing, and deleting it would free nothing.
    expect(plan(items, { over: { c: 'a' }, inUse: ['c'], budgetBytes: 9 })).toMatchObject({ evicted: ['snap-2'], heldBytes: 0 })
  })

  test('what several share is freed with the last of them', () => {
    const items = [item('snap-1', 10, ['a']), item('snap-2', 20, ['b']), item('snap-3', 30, ['c'])]
    const shared = { over: { b: 'a', c: 'a' } }
    expect(plan(items, { ...shared, budgetBytes: 30 }).heldBytes).toBe(30)
    // The base is still under the two others.
    expect(plan(items, { ...shared, budgetBytes: 25 })).toMatchObject({ evicted: ['snap-1', 'snap-2'], heldBytes: 20 })
  })

  test('a snapshot takes the images along that cannot be without it', () => {
    const items = [
      item('snap-1', 10, ['a'], { imageIds: ['ami-1'] }), item('ami-1', 15, []), item('ami-2', 5, []), item('snap-2', 20, ['b']),
    ]
    expect(plan(items, { budgetBytes: 10 })).toMatchObject({ evicted: ['ami-1', 'snap-1'], heldBytes: 10 })
  })
})

test.each([
  [0, 0, false], [79, 100, false], [80, 100, true], [100, 100, true], [1, 0, true],
])('a bin that holds %i of %i bytes is nearly full: %s', (held, budget, expected) => {
  expect(isNearlyFull(held, budget)).toBe(expected)
})
