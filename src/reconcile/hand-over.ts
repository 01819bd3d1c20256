import type { Clock } from '../core/clock.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, WorkKind } from '../store/schema.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from './loop.ts'

/** How often a node looks whether a host has come for what earlier versions left with it. */
const ADOPTION_LOOK_MS = 60_000

/** Who runs a reconciler. */
export interface Self {
  hostId: string
  /** It carries the network, and runs no instances. */
  isNode: boolean
}

/** Work on something that is another host's by now goes on to that; until here it was nobody else's. */
export function handOver({ clock }: { clock: Clock }, kind: WorkKind, id: string, ownerId: string): Outcome {
  return recording('work.handed-over', (db) => enqueue(db, { kind, id, hostId: ownerId }, clock.now()))
}

/** On a host: what only the node does goes on to the node. */
export function forNode(options: { clock: Clock; nodeId: string }, kind: WorkKind): Reconciler {
  return { reconcile: async (id) => handOver(options, kind, id, options.nodeId) }
}

const rowOf = prepared((db, instanceId: string) =>
  db.selectFrom('instances').select(['host_id', 'doc']).where('instance_id', '=', instanceId))

/**
 * An instance that was started on another host: nothing of what this one did with its machine is under way any more, so
 * the other may begin.
 */
export function handOverInstance({ clock }: { clock: Clock }, { hostId }: Pick<Self, 'hostId'>, instanceId: string): Outcome {
  return recording('instance.handed-over', async (db) => {
    const [row] = await rowOf(db, instanceId)
    if (!row) return
    if (instanceDoc(row).movedFrom === hostId) await changeInstanceDoc(db, instanceId, { movedFrom: null })
    await enqueue(db, { kind: 'instance', id: instanceId, hostId: row.host_id }, clock.now())
  })
}

/**
 * The reconciler of something that is done with machines, for the instances of this host alone. `instanceOf` finds the
 * instance that a work id is about; undefined where there is none any more.
 */
export function forOwnInstances(
  { store, clock, hostId, isNode }: { store: Store; clock: Clock } & Self,
  kind: WorkKind,
  reconciler: Reconciler,
  instanceOf: (db: Db, id: string) => Promise<string | undefined> = async (_db, id) => id,
): Reconciler {
  return {
    async reconcile(id) {
      const ownerId = await store.read(async (db) => {
        const instanceId = await instanceOf(db, id)
        return instanceId === undefined ? undefined : (await rowOf(db, instanceId))[0]?.host_id
      })
      if (ownerId !== undefined && ownerId !== hostId) return handOver({ clock }, kind, id, ownerId)
      return isNode && ownerId === hostId ? again(ADOPTION_LOOK_MS) : reconciler.reconcile(id)
    },
  }
}

/**
 * What a node has to do with instances: it removes machines that are nobody's, and looks after terminated instances of
 * zones that are no more. What is a host's goes to the host.
 */
export function createNodeInstances(
  { store, clock, hostId }: { store: Store; clock: Clock; hostId: string },
  instances: Reconciler,
): Reconciler {
  return {
    async reconcile(id) {
      const row = await store.read((db): Promise<Pick<InstanceTable, 'host_id' | 'state'> | undefined> =>
        db.selectFrom('instances').select(['host_id', 'state']).where('instance_id', '=', id).executeTakeFirst())
      if (row && row.host_id !== hostId) return handOverInstance({ clock }, { hostId }, id)
      if (row && row.state !== 'terminated') return again(ADOPTION_LOOK_MS)
      return instances.reconcile(id)
    },
  }
}

/** On a node: volumes are a host's, and those that are its own wait for one to take them over. */
export function createNodeVolumes({ store, clock, hostId }: { store: Store; clock: Clock; hostId: string }): Reconciler {
  return {
    async reconcile(id) {
      const row = await store.read((db) =>
        db.selectFrom('volumes').select('host_id').where('volume_id', '=', id).executeTakeFirst())
      if (!row) return DONE
      return row.host_id === hostId ? again(ADOPTION_LOOK_MS) : handOver({ clock }, 'volume', id, row.host_id)
    },
  }
}
