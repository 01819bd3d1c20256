import { readHosts } from '../home.ts'
import type { HostTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** The row of the node that this home makes of the machine, beside which a database may hold other nodes; undefined before its first `up`. */
export async function nodeOfHome(db: Db, home: string): Promise<HostTable | undefined> {
  const ids = await readHosts(home)
  return ids && db.selectFrom('hosts').selectAll().where('host_id', '=', ids.nodeId).executeTakeFirst()
}
