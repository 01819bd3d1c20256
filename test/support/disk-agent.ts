import type { CrashPoints } from '../../src/core/crash-points.ts'
import { withCrashPoints } from '../../src/core/crash-points.ts'
import { CrashError, messageOf } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { VirtualClock } from '../../src/core/virtual-clock.ts'
import type { Context } from '../../src/ec2/context.ts'
import { createSimWorld, type SimWorld } from '../../src/hypervisor/sim-world.ts'
import { createSimHypervisor } from '../../src/hypervisor/sim.ts'
import { createMemoryKeys } from '../../src/keys/memory-keys.ts'
import { chainOf, insertLayer, layerDoc } from '../../src/model/layer.ts'
import { insertSnapshot } from '../../src/model/snapshot.ts'
import { hostZone } from '../../src/model/zone.ts'
import { createSimNetwork, createSimNetworkWorld } from '../../src/network/sim.ts'
import { Gate } from '../../src/reconcile/gate.ts'
import { createInstanceReconciler } from '../../src/reconcile/instance.ts'
import { MemoryTurns } from '../../src/reconcile/memory-turns.ts'
import { createLayerReconciler } from '../../src/reconcile/layer.ts'
import { DONE, type Reconciler } from '../../src/reconcile/loop.ts'
import { createVolumeReconciler } from '../../src/reconcile/volume.ts'
import { createZoneReconciler } from '../../src/reconcile/zone.ts'
import { withCommitCrashPoints } from '../../src/store/crash-points.ts'
import type { InstanceTable, VolumeTable, WorkTable } from '../../src/store/schema.ts'
import type { Db, Store } from '../../src/store/store.ts'
import { completeWork, enqueue, nextWork, nextWorkOf, postponeWork } from '../../src/store/work.ts'
import { createSimVolumes } from '../../src/volumes/sim.ts'
import { HOST_ID, insertInstance, insertVolume, NOW_MS, openTestStore, testContext } from './rows.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { newId } from '../../src/core/ids.ts'
import { ensureSlot } from '../../src/model/slot.ts'

/** Dies at one of its crash points, counted from the moment that it was told to. */
class Fate implements CrashPoints {
  hits = 0
  dieAt = 0

  hit(point: string): void {
    this.hits += 1
    if (this.hits === this.dieAt) throw new CrashError(point)
  }
}

/** More runs than any of these tests needs: something goes round in circles. */
const MOST_RUNS = 2000

const RUNS_OF_ONE_AGENT = 15

export type DiskAgent = Awaited<ReturnType<typeof openDiskAgent>>

/**
 * The reconcilers of instances, volumes, layers and of the host's zone over a simulated host, which work off what is due one
 * after the other, and start anew where they die. Time passes as far as there is something to wait for.
 */
export async function openDiskAgent(fate = new Fate(), seed = 1) {
  const { store, random } = await openTestStore(seed)
  const clock = new VirtualClock(random, NOW_MS)
  const delays = { startMs: [0, 0], stopMs: [0, 0], createMs: [0, 0], deleteMs: [0, 0], importMs: [0, 0] } as Record<string, [number, number]>
  const world = createSimWorld({ clock, random, delays: { bootMs: [0, 0], shutdownMs: [10, 10], unplugMs: [50, 50] } })
  const failures: string[] = []
  /** Changes what a driver does, and what happens where the agent dies; for tests of failures. */
  const wrapped: {
    hypervisor?: (driver: ReturnType<typeof createSimHypervisor>) => void
    volumes?: (driver: ReturnType<typeof createSimVolumes>) => void
    atCrash?: () => void
    /** The disks of another region, which may be copied from. */
    other?: { region: string; store: Store; world: SimWorld }
  } = {}
  let gate = new Gate()
  let reconcilers = startAgent()

  function startAgent(): Partial<Record<WorkTable['kind'], Reconciler>> & { store: Store } {
    const ambient = { clock, random, world }
    const hypervisor = createSimHypervisor({ ...ambient, delays: delays as never })
    const { other } = wrapped
    const volumes = createSimVolumes({ ...ambient, delays: delays as never, otherWorlds: () => (other ? [other.world] : []) })
    wrapped.hypervisor?.(hypervisor)
    wrapped.volumes?.(volumes)
    const network = createSimNetwork({ clock, random, world: createSimNetworkWorld(), delays: { syncMs: [0, 0] } } as never)
    const own = withCommitCrashPoints(store, fate)
    const common = {
      store: own, clock, random, log: silentLogger, network, keys: createMemoryKeys(), hostId: HOST_ID,
      hypervisor: withCrashPoints('hypervisor', hypervisor, fate), volumes: withCrashPoints('volumes', volumes, fate),
    }
    return {
      store: own,
      instance: createInstanceReconciler({ ...common, limits: { vcpus: 2, memoryMib: 1024 }, hostBootId: 'run-1', memoryTurns: new MemoryTurns(clock), awakeSinceMs: () => gate.openSinceMs }),
      volume: createVolumeReconciler(common),
      layer: createLayerReconciler({
        ...common,
        otherRegions: (region) => Promise.resolve(region === other?.region ? { store: other.store, volumes, keys: createMemoryKeys() } : undefined),
      }),
      zone: {
        reconcile: (id) => createZoneReconciler({
          ...common, hostId: HOST_ID, isNode: false, gate, instancesInWork: () => 0, vpc: { reconcile: async () => DONE },
          resync: () => own.transaction('resync', enqueueInstances),
        }).reconcile(id),
      },
    }
  }

  const query = <T>(body: (db: Db) => Promise<T>) => store.read(body)
  const run = <T>(body: (context: Context) => Promise<T>) =>
    store.transaction('test', (db) => body({ ...testContext(db, random), nowMs: clock.now() }))

  async function enqueueInstances(db: Db): Promise<void> {
    const rows = await db.selectFrom('instances').select('instance_id').where('state', '<>', 'terminated').execute()
    for (const { instance_id: id } of rows) await enqueue(db, { kind: 'instance', id, hostId: HOST_ID }, clock.now())
  }

  /** As an agent that starts after it died. */
  async function startAnew(): Promise<void> {
    gate = new Gate()
    gate.begin(await query((db) => hostZone(db, HOST_ID)))
    reconcilers = startAgent()
  }

  async function work(row: WorkTable): Promise<void> {
    try {
      const outcome = await reconcilers[row.kind]?.reconcile(row.id)
      await reconcilers.store.transaction(outcome?.observed?.name ?? 'work', async (db) => {
        await outcome?.observed?.write(db)
        if (outcome?.kind === 'again') await postponeWork(db, row, clock.now() + outcome.afterMs, null)
        else await completeWork(db, row)
      })
    } catch (error) {
      if (error instanceof CrashError) {
        wrapped.atCrash?.()
        return startAnew()
      }
      failures.push(messageOf(error))
      await store.transaction('work', (db) => postponeWork(db, row, clock.now() + 1000, messageOf(error)))
    }
  }

  /** Until nothing is left to do within `horizonMs`, however long that takes. */
  async function settle(horizonMs = 60_000): Promise<void> {
    for (let runs = 0; runs < MOST_RUNS; runs++) {
      const [next] = await query((db) =>
        (gate.isClosed ? nextWorkOf(db, HOST_ID, 'zone', 1) : nextWork(db, HOST_ID, clock.now(), 1)))
      const untilMs = clock.now() + horizonMs
      if (!next || next.due_ms > untilMs) {
        // A guest may be about to do something.
        const atMs = clock.nextAt()
        if (atMs === undefined || atMs > untilMs) return
        await clock.advance(atMs - clock.now())
        continue
      }
      if (next.due_ms > clock.now()) await clock.advance(next.due_ms - clock.now())
      else await work(next)
    }
    throw new Error(`nothing settles: ${failures.slice(-3).join('; ')}`)
  }

  world.watch((id) => void store.transaction('hint', (db) => enqueue(db, { kind: 'instance', id, hostId: HOST_ID }, clock.now())))
  return {
    store, clock, world, query, run, settle, failures, fate, wrapped,
    restart: () => void (reconcilers = startAgent()),
    /** One look at an instance, beside what `settle` does; what that saw is not written down. */
    reconcile: (instanceId: string) => reconcilers.instance?.reconcile(instanceId),
    close: () => store.close(),
  }
}

/**
 * Runs `scenario` once for each crash point that `mortal` passes in it, dying there; and once without. Each run is
 * about things of its own; the host and the database are the same. (New ones now and then: what earlier runs leave
 * behind makes later ones slow.)
 *
 * @returns how many points there are.
 */
export async function crashEverywhere(
  scenario: (agent: DiskAgent, mortal: <T>(body: () => Promise<T>) => Promise<T>) => Promise<void>,
): Promise<number> {
  let agent = await openDiskAgent()
  const { fate } = agent
  let points = 0
  try {
    for (let dieAt = 0; ; dieAt++) {
      if (dieAt % RUNS_OF_ONE_AGENT === RUNS_OF_ONE_AGENT - 1) {
        await agent.close()
        agent = await openDiskAgent(fate)
      }
      const mortal = async <T>(body: () => Promise<T>) => {
        fate.hits = 0
        fate.dieAt = dieAt
        const result = await body()
        points = fate.hits
        fate.dieAt = 0
        return result
      }
      await scenario(agent, mortal).catch((error: unknown) => {
        throw new Error(`with a crash at point ${dieAt}: ${messageOf(error)}`, { cause: error })
      })
      if (dieAt > points) return points
    }
  } finally {
    await agent.close()
  }
}

/** An instance that was just launched, with a place on the host and a root volume, encrypted under `kmsKeyId` if given. */
export async function addInstance(agent: DiskAgent, kmsKeyId?: string): Promise<{ instance: InstanceTable; root: VolumeTable }> {
  const made = await agent.run(async (context) => {
    const id = newId(context.random, 'i')
    const slot = await ensureSlot(context.db, context.random, HOST_ID, 'machine', id)
    const instance = await insertInstance(context, { instance_id: id, state: 'pending', slot, holds_capacity: 0 }, { hasRun: false })
    await ensureSlot(context.db, context.random, HOST_ID, 'vpc', instance.vpc_id)
    await enqueue(context.db, { kind: 'instance', id, hostId: HOST_ID }, context.nowMs)
    return { instance, root: await addVolumeRow(context, instance, {}, kmsKeyId) }
  })
  await agent.settle()
  return made
}

/** A volume that is to be made; attached when an instance is given. */
export async function addVolume(agent: DiskAgent, instance?: InstanceTable, change: Partial<Omit<VolumeTable, 'doc'>> = {}): Promise<VolumeTable> {
  const volume = await agent.run((context) => addVolumeRow(context, instance, change))
  await agent.settle()
  return volume
}

/** The row of such a volume, for a transaction. */
export async function addVolumeRow(
  context: Context,
  instance?: InstanceTable,
  change: Partial<Omit<VolumeTable, 'doc'>> = {},
  kmsKeyId?: string,
): Promise<VolumeTable> {
  const parent = change.layer_id ? (await chainOf(context.db, change.layer_id))[0] ?? null : null
  const layer = await insertLayer(context, {
    account: DEFAULT_ACCOUNT, hostId: HOST_ID, parent, state: 'making', sizeGib: 8, ...(kmsKeyId ? { doc: { kmsKeyId } } : {}),
  })
  const volume = await insertVolume(context, instance, {
    state: 'creating', ready: 0, synced_revision: 0, ...change, layer_id: layer.layer_id,
  })
  await enqueue(context.db, { kind: 'volume', id: volume.volume_id, hostId: HOST_ID }, context.nowMs)
  return volume
}

/** A pending snapshot of the volume, as CreateSnapshot writes it. */
export async function addSnapshot(context: Context, volume: VolumeTable, layerId: string): Promise<string> {
  const id = newId(context.random, 'snap')
  await insertSnapshot(
    context.db,
    { snapshot_id: id, account_id: volume.account_id, size_gib: volume.size_gib, volume_id: volume.volume_id, encrypted: 0, created_ms: context.nowMs },
    { layer_id: layerId, state: 'open' }, {},
  )
  return id
}

export const volumeRow = (agent: DiskAgent, id: string) =>
  agent.query((db) => db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirst())
export const snapshotRow = (agent: DiskAgent, id: string) =>
  agent.query((db) => db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', id).executeTakeFirst())
export const layerRows = (agent: DiskAgent) =>
  agent.query((db) => db.selectFrom('layers').selectAll().orderBy('layer_id').execute())

/** What must hold when all has come to rest: files are what the rows say. */
export async function problemsAtRest(agent: DiskAgent): Promise<string[]> {
  const rows = await layerRows(agent)
  const files = agent.world.layers
  return [
    ...rows.filter((row) => row.state !== 'failed' && !files.has(row.layer_id)).map((row) => `${row.state} layer without a file`),
    ...[...files.keys()].filter((id) => !rows.some((row) => row.layer_id === id)).map((id) => `the file of ${id} is left`),
    ...rows.filter((row) => (row.state === 'sealed') !== files.get(row.layer_id)?.isSealed && row.state !== 'failed').map((row) => `a ${row.state} layer is not`),
    ...rows.filter((row) => ['making', 'filling', 'sealing', 'deleting'].includes(row.state)).map((row) => `a layer is still ${row.state}`),
    ...rows.filter((row) => layerDoc(row).frozenFor !== undefined).map((row) => `${row.layer_id} is still being switched`),
  ]
}
