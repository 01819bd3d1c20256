import { describe, expect, it } from 'vitest'
import { openTestStore } from '../../test/support/rows.ts'
import { prepared, preparedIn } from './prepared.ts'
import type { Db } from './store.ts'

const valueOf = prepared((db: Db, key: string) => db.selectFrom('meta').select('value').where('key', '=', key))
const valuesOf = preparedIn((db, keys, least: string) =>
  db.selectFrom('meta').select(['key', 'value']).where('key', 'in', keys).where('value', '>=', least).orderBy('key'))

async function storeWith(count: number) {
  const { store } = await openTestStore()
  const keys = Array.from({ length: count }, (_none, index) => `k-${index}`)
  await store.transaction('test', async (db) => {
    for (const key of keys) await db.insertInto('meta').values({ key, value: `of ${key}` }).execute()
  })
  return { store, keys }
}

describe('prepared', () => {
  it('answers for the values of each call, in every store', async () => {
    for (const { store } of [await storeWith(2), await storeWith(2)]) {
      expect(await store.read((db) => valueOf(db, 'k-0'))).toEqual([{ value: 'of k-0' }])
      expect(await store.read((db) => valueOf(db, 'k-1'))).toEqual([{ value: 'of k-1' }])
      expect(await store.read((db) => valueOf(db, 'none'))).toEqual([])
    }
  })
})

describe('preparedIn', () => {
  it.each([0, 1, 2, 3, 511, 512, 513, 1100])('finds %i ids, each once', async (count) => {
    const { store, keys } = await storeWith(count)
    const found = await store.read((db) => valuesOf(db, [...keys, ...keys], ''))
    expect(found.map((row) => row.key).toSorted()).toEqual(keys.toSorted())
  })

  it('takes further values', async () => {
    const { store, keys } = await storeWith(3)
    expect(await store.read((db) => valuesOf(db, keys, 'of k-2'))).toEqual([{ key: 'k-2', value: 'of k-2' }])
  })
})
