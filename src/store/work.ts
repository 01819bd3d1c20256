import { prepared } from './prepared.ts'
import type { Db } from './store.ts'
import type { WorkKind, WorkTable } from './schema.ts'

/** One thing that a host's agent should look at. */
export interface WorkItem {
  kind: WorkKind
  id: string
  hostId: string
}

const insertWork = prepared((db, kind: WorkKind, id: string, hostId: string, dueMs: number) =>
  db
    .insertInto('work')
    .values({ kind, id, host_id: hostId, generation: 1, due_ms: dueMs, attempts: 0, last_error: null })
    .onConflict((conflict) =>
      conflict.columns(['host_id', 'kind', 'id']).doUpdateSet((eb) => ({
        generation: eb('work.generation', '+', 1),
        due_ms: eb.case().when('work.due_ms', '<', eb.ref('excluded.due_ms')).then(eb.ref('work.due_ms'))
          .else(eb.ref('excluded.due_ms')).end(),
        attempts: 0,
      }))))

const NO_HOSTS: ReadonlySet<string> = new Set()
const marked = new WeakMap<Db, Set<string>>()

/** The hosts that were given work in this transaction, for those who wait for its commit; asked again, it begins anew. */
export function takeHostsWithNewWork(db: Db): ReadonlySet<string> {
  const hosts = marked.get(db) ?? NO_HOSTS
  marked.delete(db)
  return hosts
}

/** Marks a thing due at `dueMs`; a mark that is there already moves forward, never back. */
export async function enqueue(db: Db, item: WorkItem, dueMs: number): Promise<void> {
  const hosts = marked.get(db)
  if (hosts) hosts.add(item.hostId)
  else marked.set(db, new Set([item.hostId]))
  await insertWork(db, item.kind, item.id, item.hostId, dueMs)
}

/** By their limits, which are part of their texts. */
const nextWorkUpTo = new Map<number, (db: Db, hostId: string, nowMs: number) => Promise<WorkTable[]>>()

/**
 * The host's work that is due, most overdue first; when nothing is, what is due next: at least `limit` rows, where there are. What is
 * due later is not read: the loop looks after every commit, and a busy host has much that waits.
 */
export function nextWork(db: Db, hostId: string, nowMs: number, limit: number): Promise<WorkTable[]> {
  // Few texts serve all limits.
  const most = 2 ** Math.ceil(Math.log2(limit))
  let query = nextWorkUpTo.get(most)
  if (!query) {
    query = prepared((database, host: string, now: number) =>
      database.selectFrom('work').selectAll().where('host_id', '=', host)
        .where('due_ms', '<=', (eb) =>
          eb.selectFrom('work as first').where('first.host_id', '=', host).select((each) => {
            const first = each.fn.min('first.due_ms')
            return each.case().when(first, '>', now).then(first).else(now).end().as('until_ms')
          }))
        .orderBy('due_ms').limit(most))
    nextWorkUpTo.set(most, query)
  }
  return query(db, hostId, nowMs)
}

/** The host's work of one kind, most overdue first, whether it is due or not. */
export const nextWorkOf = prepared((db, hostId: string, kind: WorkKind, limit: number) =>
  db.selectFrom('work').selectAll().where('host_id', '=', hostId).where('kind', '=', kind).orderBy('due_ms').limit(limit))

const deleteWork = prepared((db, hostId: string, kind: WorkKind, id: string, generation: number) =>
  db.deleteFrom('work')
    .where('host_id', '=', hostId).where('kind', '=', kind).where('id', '=', id).where('generation', '=', generation))

/** Forgets work that is done, unless it was asked for again since `row` was read. */
export async function completeWork(db: Db, row: WorkTable): Promise<void> {
  await deleteWork(db, row.host_id, row.kind, row.id, row.generation)
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
