import { readHostId } from '../home.ts'
import type { HostTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** The row of the node that this home makes of the machine, beside which a database may hold other nodes; undefined before its first `up`. */
export async function nodeOfHome(db: Db, home: string): Promise<HostTable | undefined> {
  const nodeId = await readHostId(home)
  return nodeId === undefined ? undefined : db.selectFrom('hosts').selectAll().where('host_id', '=', nodeId).executeTakeFirst()
}
