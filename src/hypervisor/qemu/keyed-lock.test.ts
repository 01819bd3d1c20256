import { expect, test } from 'vitest'
import { KeyedLock } from './keyed-lock.ts'

test('tasks of one key follow each other, also after one that failed; other keys do not wait', async () => {
  const lock = new KeyedLock()
  const seen: string[] = []
  let release: (() => void) | undefined
  const gate = new Promise<void>((resolve) => (release = resolve))
  const first = lock.run('a', async () => {
    await gate
    seen.push('first')
    throw new Error('failed')
  })
  const second = lock.run('a', async () => void seen.push('second'))
  await lock.run('b', async () => void seen.push('other'))
  release?.()
  await expect(first).rejects.toThrow('failed')
  await second
  expect(seen).toEqual(['other', 'first', 'second'])
})
