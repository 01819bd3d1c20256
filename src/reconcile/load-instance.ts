import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Keys } from '../keys/keys.ts'
import { instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { inDiskOrder } from '../model/volume.ts'
import { hostZone, type HostZone } from '../model/zone.ts'
import type { Network } from '../network/driver.ts'
import { prepared, preparedIn } from '../store/prepared.ts'
import type { InstanceTable, InterfaceTable, VolumeTable } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import type { Volumes } from '../volumes/driver.ts'
import type { AttachedVolume } from './attached-volumes.ts'
import type { MemoryTurns } from './memory-turns.ts'
import type { HostLimits } from './shrink.ts'

export interface InstanceReconcilerOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  hypervisor: Hypervisor
  /** Only for names and paths; interfaces have a reconciler of their own. */
  network: Pick<Network, 'tapOf' | 'netnsPathOf'>
  /** Names and paths, and more room for a volume whose machine does not run; all else is the volumes' reconciler's. */
  volumes: Pick<Volumes, 'pathOf' | 'ensureSize'>
  keys: Keys
  limits: HostLimits
  hostId: string
  /** Which run of the node this is; machines of another one ended with it. */
  hostBootId: string
  /** When the machine last woke from sleep, or its zone was healed; deadlines of guests that were under way begin anew then. */
  awakeSinceMs: () => number
  /** For what takes as long as memory is large; all hosts of a process take the same turns. */
  memoryTurns: MemoryTurns
}

/** An instance with all that its machine is made of. */
export interface LoadedInstance {
  row: InstanceTable
  doc: InstanceDoc
  interfaces: InterfaceTable[]
  /** In the order of its disks, the root first. */
  volumes: AttachedVolume[]
  vpcSlot: number | undefined
  /** The zone of its host. */
  zone: HostZone
}

const instanceOf = prepared((db, instanceId: string) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId))
const interfacesOf = prepared((db, instanceId: string) =>
  db.selectFrom('interfaces').selectAll().where('instance_id', '=', instanceId).orderBy('device_index'))
const volumesOf = prepared((db, instanceId: string) =>
  db.selectFrom('volumes').selectAll().where('instance_id', '=', instanceId))
const layersIn = preparedIn((db, ids) => db.selectFrom('layers').selectAll().where('layer_id', 'in', ids))
const vpcSlotOf = prepared((db, hostId: string, vpcId: string) =>
  db.selectFrom('slots').select('slot').where('host_id', '=', hostId).where('kind', '=', 'vpc').where('owner_id', '=', vpcId))

export async function loadInstance(db: Db, instanceId: string): Promise<LoadedInstance | undefined> {
  const [row] = await instanceOf(db, instanceId)
  if (!row) return undefined
  const [slot] = row.vpc_id === null ? [] : await vpcSlotOf(db, row.node_id, row.vpc_id)
  const doc = instanceDoc(row)
  return {
    row,
    doc,
    interfaces: await interfacesOf(db, instanceId),
    volumes: await withLayers(db, inDiskOrder(await volumesOf(db, instanceId), doc.rootDeviceName)),
    vpcSlot: slot?.slot,
    zone: await hostZone(db, row.host_id),
  }
}

/** The volumes with what they write into now and next. */
export async function withLayers(db: Db, rows: readonly VolumeTable[]): Promise<AttachedVolume[]> {
  if (rows.length === 0) return []
  const ids = rows.flatMap((row) => (row.next_layer_id === null ? row.layer_id : [row.layer_id, row.next_layer_id]))
  const layers = await layersIn(db, ids)
  return rows.map((row) => {
    const head = layers.find((each) => each.layer_id === row.layer_id)
    if (!head) throw new Error(`${row.volume_id} has no layer`)
    return { row, head, next: layers.find((each) => each.layer_id === row.next_layer_id) ?? null }
  })
}
