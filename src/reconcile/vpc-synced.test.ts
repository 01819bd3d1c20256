import { expect, test } from 'vitest'
import { HOST_ID, insertInstance, insertInterface, NOW_MS, openTestStore } from '../../test/support/rows.ts'
import { synced } from './vpc-synced.ts'

test.each([{ taken: false, left: 0 }, { taken: true, left: 1 }])(
  'the row of a deleted interface goes with its port, unless it was taken back meanwhile ($taken)', async ({ taken, left }) => {
    const { run, store } = await openTestStore()
    const row = await run(async (context) => {
      const instance = await insertInstance(context)
      return insertInterface(context, instance, { status: 'removing', instance_id: null, wanted: 0, ready: 0, revision: 2 })
    })
    const { observed } = synced({ hostId: HOST_ID, nowMs: () => NOW_MS }, { vpcId: row.vpc_id, interfaces: [row], groups: [] })
    if (taken) await run(({ db }) => db.updateTable('interfaces').set({ status: 'in-use', revision: 3 }).execute())
    await store.transaction('test', async (db) => observed?.write(db))
    const rows = await store.read((db) => db.selectFrom('interfaces').select(['revision', 'synced_revision']).execute())
    expect(rows).toHaveLength(left)
    // Its port is still to go.
    for (const each of rows) expect(each).toEqual({ revision: 3, synced_revision: 1 })
  })
