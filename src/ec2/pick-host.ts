import { nodeOf } from '../model/layer.ts'
import type { HostTable, LayerTable } from '../store/schema.ts'
import type { Context } from './context.ts'

type Region = Pick<Context, 'db' | 'region'>

/** The node of the region whose hosts have the most room; undefined where there is none. */
export async function pickNode(context: Region): Promise<string | undefined> {
  const rows = await hostsOf(context)
  const nodes = rows.filter((row) => row.zone === null).map((node) => {
    const shares = rows.filter((row) => row.node_id === node.host_id)
    const sum = (of: (row: HostTable) => number) => shares.reduce((total, row) => total + of(row), 0)
    return { hostId: node.host_id, freeMib: sum((row) => row.memory_mib - row.memory_mib_used) }
  })
  return emptiest(nodes)
}

/**
 * The host that has the files of a new volume made: one of the zone, with the most room; of the node where the layer is
 * that it is to stand on. Undefined where there is none.
 */
export async function pickHost(context: Region, zone: string, layer: LayerTable | null): Promise<string | undefined> {
  const nodeId = layer && (await nodeOf(context.db, layer.host_id))
  const hosts = (await hostsOf(context)).filter((row) => row.zone === zone && (nodeId === null || row.node_id === nodeId))
  return emptiest(hosts.map((row) => ({ hostId: row.host_id, freeMib: row.memory_mib - row.memory_mib_used })))
}

function emptiest(hosts: { hostId: string; freeMib: number }[]): string | undefined {
  return hosts.toSorted((a, b) => b.freeMib - a.freeMib)[0]?.hostId
}

function hostsOf({ db, region }: Region): Promise<HostTable[]> {
  return db.selectFrom('hosts').selectAll().where('region', '=', region).orderBy('host_id').execute()
}
