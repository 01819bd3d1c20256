import { afterEach, beforeEach, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID, insertInstance, insertInterface, NOW_MS } from '../../test/support/rows.ts'
import type { InstanceDoc, InstanceState } from '../model/instance.ts'
import { synced } from './vpc-synced.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

it.each<[InstanceState, Partial<InstanceDoc>, string]>([
  ['running', {}, 'pending'], ['stopping', { hibernate: true }, 'pending'],
  ['stopping', { hibernate: true, force: true }, 'in-use'], ['stopping', {}, 'in-use'], ['pending', {}, 'in-use'],
])('an interface whose port comes up for a guest that is %s %j is %s: a guest that is up, or will be again, gets it first', async (state, doc, status) => {
  const row = await account.call(async (context) => {
    const instance = await insertInstance(context, { state }, doc)
    return insertInterface(context, instance, { device_index: 1, status: 'pending', ready: 0 })
  }, {})
  const outcome = synced({ hostId: HOST_ID, nowMs: () => NOW_MS }, { vpcId: row.vpc_id, interfaces: [row], groups: [] })
  await account.store.transaction('vpc.synced', async (db) => void (await outcome.observed?.write(db)))
  const now = await account.store.read((db) =>
    db.selectFrom('interfaces').selectAll().where('interface_id', '=', row.interface_id).executeTakeFirstOrThrow())
  expect([now.status, now.ready]).toEqual([status, 1])
})
