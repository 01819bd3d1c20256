import type { Db } from './store.ts'
import type { WorkKind, WorkTable } from './schema.ts'

/** One thing that a host's agent should look at. */
export interface WorkItem {
  kind: WorkKind
  id: string
  hostId: string
}

/** Marks a thing due at `dueMs`; a mark that is there already moves forward, never back. */
export async function enqueue(db: Db, item: WorkItem, dueMs: number): Promise<void> {
  await db
    .insertInto('work')
    .values({
      kind: item.kind, id: item.id, host_id: item.hostId, generation: 1, due_ms: dueMs, attempts: 0, last_error: null,
    })
    .onConflict((conflict) =>
      conflict.columns(['host_id', 'kind', 'id']).doUpdateSet((eb) => ({
        generation: eb('work.generation', '+', 1),
        due_ms: eb.case().when('work.due_ms', '<', dueMs).then(eb.ref('work.due_ms')).else(dueMs).end(),
        attempts: 0,
      })),
    )
    .execute()
}

/** The host's work that is due first, most overdue first; due or not. */
export function nextWork(db: Db, hostId: string, limit: number): Promise<WorkTable[]> {
  return db.selectFrom('work').selectAll().where('host_id', '=', hostId).orderBy('due_ms').limit(limit).execute()
}

/** When the host's next work is due; undefined when there is none. */
export async function nextDueMs(db: Db, hostId: string): Promise<number | undefined> {
  const row = await db
    .selectFrom('work').select('due_ms').where('host_id', '=', hostId).orderBy('due_ms').limit(1).executeTakeFirst()
  return row?.due_ms
}

/** Forgets work that is done, unless it was asked for again since `row` was read. */
export async function completeWork(db: Db, row: WorkTable): Promise<void> {
  await db
    .deleteFrom('work')
    .where('host_id', '=', row.host_id).where('kind', '=', row.kind).where('id', '=', row.id)
    .where('generation', '=', row.generation)
    .execute()
}

/** Puts work off until `dueMs`, unless it was asked for again since `row` was read. */
export async function postponeWork(db: Db, row: WorkTable, dueMs: number, error: string | null): Promise<void> {
  await db
    .updateTable('work')
    .set({ due_ms: dueMs, attempts: error === null ? 0 : row.attempts + 1, last_error: error })
    .where('host_id', '=', row.host_id).where('kind', '=', row.kind).where('id', '=', row.id)
    .where('generation', '=', row.generation)
    .execute()
}
