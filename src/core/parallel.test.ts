import { expect, test } from 'vitest'
import { inParallel } from './parallel.ts'

test('runs no more at once than it may, and answers in the order of the items', async () => {
  let now = 0
  let most = 0
  const doubled = await inParallel([5, 1, 4, 2, 3], 2, async (item) => {
    most = Math.max(most, ++now)
    for (let turn = 0; turn < item; turn++) await Promise.resolve()
    now -= 1
    return item * 2
  })
  expect(doubled).toEqual([10, 2, 8, 4, 6])
  expect(most).toBe(2)
  expect(await inParallel([], 2, async () => 1)).toEqual([])
  await expect(inParallel([1], 2, async () => Promise.reject(new Error('no')))).rejects.toThrow('no')
})

test('throws a failure when nothing is under way any more, and begins nothing after it', async () => {
  const ended: number[] = []
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const all = inParallel([1, 2, 3], 2, async (item) => {
    if (item === 1) throw new Error('no')
    await held
    ended.push(item)
  })
  let hasFailed = false
  const failed = all.catch((error: unknown) => {
    hasFailed = true
    return error
  })
  await new Promise(setImmediate)
  expect(hasFailed).toBe(false)
  release()
  expect(await failed).toEqual(new Error('no'))
  expect(ended).toEqual([2])
})
