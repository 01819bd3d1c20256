import { expect, it } from 'vitest'
import { instanceDoc } from '../model/instance.ts'
import { fixedClock, insertInstance, insertInterface, NOW_MS, openTestStore } from '../../test/support/rows.ts'
import { noteContact } from './contact.ts'

it('notes the first time after each start that the guest asks for its address', async () => {
  const { store, run } = await openTestStore()
  const { instance, mac } = await run(async (context) => {
    const row = await insertInstance(context)
    return { instance: row, mac: (await insertInterface(context, row)).mac }
  })
  const contact = (nowMs: number, from = mac) =>
    noteContact({ store, clock: { ...fixedClock, now: () => nowMs } }, instance.vpc_id, from)
  const seen = () => run(async ({ db }) => {
    const row = await db.selectFrom('instances').select('doc').where('instance_id', '=', instance.instance_id).executeTakeFirstOrThrow()
    return instanceDoc(row).contactMs
  })
  await contact(NOW_MS + 5, '0a:ff:ff:ff:ff:ff')
  expect(await seen()).toBeNull()
  await contact(NOW_MS + 5, mac.toUpperCase())
  await contact(NOW_MS + 9)
  expect(await seen()).toBe(NOW_MS + 5)
  await run(({ db }) =>
    db.updateTable('instances').set({ launch_ms: NOW_MS + 100 }).where('instance_id', '=', instance.instance_id).execute())
  await contact(NOW_MS + 101)
  expect(await seen()).toBe(NOW_MS + 101)
})
