import type { Random } from '../core/random.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** Slots name kernel objects (taps, uids, namespaces); seven digits keep interface names short. */
const SLOT_LIMIT = 9_999_999

const slotOf = prepared((db, hostId: string, kind: 'machine' | 'vpc', ownerId: string) =>
  db.selectFrom('slots').select('slot').where('host_id', '=', hostId).where('kind', '=', kind).where('owner_id', '=', ownerId))

/** The owner's slot on the host: the one it has, else a free one. */
export async function ensureSlot(
  db: Db,
  random: Random,
  hostId: string,
  kind: 'machine' | 'vpc',
  ownerId: string,
): Promise<number> {
  const [owned] = await slotOf(db, hostId, kind, ownerId)
  if (owned) return owned.slot
  for (;;) {
    const slot = 1 + random.int(SLOT_LIMIT)
    const inserted = await db
      .insertInto('slots')
      .values({ host_id: hostId, kind, slot, owner_id: ownerId })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (inserted.numInsertedOrUpdatedRows === 1n) return slot
  }
}

/** Gives the owner's slot back. */
export async function releaseSlot(db: Db, hostId: string, kind: 'machine' | 'vpc', ownerId: string): Promise<void> {
  await db
    .deleteFrom('slots')
    .where('host_id', '=', hostId).where('kind', '=', kind).where('owner_id', '=', ownerId)
    .execute()
}
