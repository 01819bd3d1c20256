import type { Random } from '../core/random.ts'
import { prepared } from '../store/prepared.ts'
import type { Db } from '../store/store.ts'

/** Slots name kernel objects (taps, uids, namespaces); seven digits keep interface names short. */
const SLOT_LIMIT = 9_999_999

const slotOf = prepared((db, hostId: string, kind: 'machine' | 'vpc', ownerId: string) =>
  db.selectFrom('slots').select('slot').where('host_id', '=', hostId).where('kind', '=', kind).where('owner_id', '=', ownerId))

const insertSlot = prepared((db, hostId: string, kind: 'machine' | 'vpc', slot: number, ownerId: string) =>
  db.insertInto('slots').values({ host_id: hostId, kind, slot, owner_id: ownerId })
    .onConflict((conflict) => conflict.doNothing()).returning('slot'))

/** The owner's slot on the host: the one it has, else a free one. */
export async function ensureSlot(
  db: Db,
  random: Random,
  hostId: string,
  kind: 'machine' | 'vpc',
  ownerId: string,
): Promise<number> {
  const [owned] = await slotOf(db, hostId, kind, ownerId)
  return owned ? owned.slot : takeSlot(db, random, hostId, kind, ownerId)
}

/** A free slot of the host, for an owner that has none there yet. */
export async function takeSlot(
  db: Db,
  random: Random,
  hostId: string,
  kind: 'machine' | 'vpc',
  ownerId: string,
): Promise<number> {
  for (;;) {
    const slot = 1 + random.int(SLOT_LIMIT)
    if ((await insertSlot(db, hostId, kind, slot, ownerId)).length > 0) return slot
  }
}

/** Gives the owner's slot back. */
export async function releaseSlot(db: Db, hostId: string, kind: 'machine' | 'vpc', ownerId: string): Promise<void> {
  await db
    .deleteFrom('slots')
    .where('host_id', '=', hostId).where('kind', '=', kind).where('owner_id', '=', ownerId)
    .execute()
}
