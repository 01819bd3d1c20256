import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Heap } from './heap.ts'

it('a heap gives its items in order, whenever they came', () => {
  fc.assert(fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 20 }))), (steps) => {
    const heap = new Heap<number>((a, b) => a - b)
    const kept: number[] = []
    for (const step of steps) {
      if (step === null) {
        kept.sort((a, b) => a - b)
        expect(heap.pop()).toBe(kept.shift())
      } else {
        heap.push(step)
        kept.push(step)
      }
      expect(heap.size).toBe(kept.length)
    }
  }))
})
