import type { Clock } from './core/clock.ts'
import { messageOf } from './core/errors.ts'
import type { Logger } from './core/logger.ts'
import type { Random } from './core/random.ts'
import type { ImportFiles } from './disk-formats/import-folder.ts'
import type { Hypervisor } from './hypervisor/driver.ts'
import type { Network } from './network/driver.ts'
import type { Regional, RegionalKind } from './market/index.ts'
import { createConsoleReconciler } from './reconcile/console.ts'
import { createEventReconciler } from './reconcile/event.ts'
import type { RegionSources } from './reconcile/fill-layer.ts'
import type { Keys } from './keys/keys.ts'
import { createImagesReconciler, type ImageSource } from './reconcile/images.ts'
import { createImportReconciler } from './reconcile/import.ts'
import { createNodeInstances, createNodeVolumes, forNode, forOwnInstances } from './reconcile/hand-over.ts'
import { createInstanceReconciler } from './reconcile/instance.ts'
import { createInterruptReconciler } from './reconcile/interrupt.ts'
import { createLayerReconciler } from './reconcile/layer.ts'
import { Gate } from './reconcile/gate.ts'
import { isFatal, ReconcileLoop, type Reconciler } from './reconcile/loop.ts'
import type { MemoryTurns } from './reconcile/memory-turns.ts'
import { createPushedKeyReconciler } from './reconcile/pushed-key.ts'
import { createRecycleReconciler } from './reconcile/recycle.ts'
import { createReservationReconciler } from './reconcile/reservation.ts'
import { resync, resyncZones, type ResyncOptions } from './reconcile/resync.ts'
import { createResyncTimer, type ResyncTimer } from './reconcile/resync-timer.ts'
import type { HostLimits } from './reconcile/shrink.ts'
import { watchSleep, type SleepWatch } from './reconcile/sleep.ts'
import { createStatusChecks, type StatusChecks } from './reconcile/status-checks.ts'
import { createScreenshotReconciler } from './reconcile/screenshot.ts'
import { createVolumeReconciler } from './reconcile/volume.ts'
import { createVpcReconcilers } from './reconcile/vpc.ts'
import { createZoneReconciler } from './reconcile/zone.ts'
import { fenced, registerHost, type HostRegistration } from './model/host.ts'
import { instanceOfEvent } from './model/instance-event.ts'
import { instanceOfPushedKey } from './model/pushed-key.ts'
import { screenshotOrder } from './model/screenshot.ts'
import { CHECK_INTERVAL_MS } from './model/status-check.ts'
import { hostZone } from './model/zone.ts'
import type { Db, Store } from './store/store.ts'
import { enqueue } from './store/work.ts'
import type { Volumes } from './volumes/driver.ts'

export interface AgentOptions {
  store: Store
  clock: Clock
  random: Random
  log: Logger
  hypervisor: Hypervisor
  network: Network
  volumes: Volumes
  keys: Keys
  images: ImageSource
  imports: ImportFiles
  /** The host that it is the agent of, or the node. */
  host: HostRegistration
  limits: HostLimits
  /** All agents of one process save and load memory in the same turns. */
  memoryTurns: MemoryTurns
  /** Which run of the node this is: another one after each restart, in which nothing that ran before is there any more. */
  hostBootId: string
  /** How often running instances are checked, milliseconds. */
  checkIntervalMs?: number
  /** Other regions of this cloud, to copy snapshots from; none unless given. */
  otherRegions?: RegionSources | undefined
  /** Longest time without a look at what is due; only where every process that marks anything due is this one. */
  scanIntervalMs?: number
  /** What the recycle bin may hold of the disk; null for the default. */
  recycleBudgetGib: number | null
  /** Of a node: what the leading one does for its region. A store that fences is given to it. */
  regional?: (store: Store) => Regional
  /** The agent cannot go on: a crash point, or another agent has taken the host. */
  onFatal: (error: unknown) => void
}

export interface Agent {
  /** Registers the host and starts reconciling; resolves when the network of the host is ready. */
  start(): Promise<void>
  /** Stops reconciling and lets go of sockets; machines, taps and rules stay as they are. */
  stop(): Promise<void>
  /** As a killed process: nothing is waited for, nothing is let go. */
  abandon(): void
  /** Resolves when nothing is left to do within the next `horizonMs`. */
  settled(horizonMs: number): Promise<void>
  /** Whether that is so now. */
  isSettled(horizonMs: number): boolean
}

/** Things that are worked on at the same time on a node and, together, on its hosts; of each host at least so many. */
const RUNS = { inAll: 16, ofHostAtLeast: 4 }

/** How many things an agent works on at the same time. */
export function concurrencyOf({ zone, hosts }: Pick<HostRegistration, 'zone' | 'hosts'>): number {
  return zone === null ? RUNS.inAll : Math.max(RUNS.ofHostAtLeast, Math.ceil(RUNS.inAll / hosts.length))
}

/**
 * The agent of one host: everything that its guests touch is its business, and nobody else's. That of a node carries the
 * network of all hosts of the node, and what is regional: images, imports, the recycle bin, and what is nobody's.
 */
export function createAgent(options: AgentOptions): Agent {
  const { clock, random, log, hypervisor, network, volumes, keys, host, onFatal } = options
  let loop: ReconcileLoop | undefined
  let resyncs: ResyncTimer | undefined
  let sleep: SleepWatch | undefined
  let checks: StatusChecks | undefined
  let regional: Regional | undefined
  let isStopped = false

  const start = async () => {
    const { hostBootId } = options
    const epoch = await registerHost(options.store, { ...host, doc: { ...host.doc, bootId: hostBootId } }, clock.now())
    const store = fenced(options.store, host.hostId, epoch)
    const isNode = host.zone === null
    if (isNode) await network.ensureHost()
    const { hostId, nodeId } = host
    const gate = new Gate()
    gate.begin(await store.read((db) => hostZone(db, hostId)))
    const common = { store, clock, log, hypervisor, network, volumes, keys, hostId, isNode, gate }
    const instances = createInstanceReconciler({
      ...common, random, hostBootId, limits: options.limits, memoryTurns: options.memoryTurns,
      awakeSinceMs: () => Math.max(gate.openSinceMs, sleep?.awakeSinceMs() ?? 0),
    })
    const known = new Set<string>()
    const resyncHost = () => resyncAndForget(common, known)
    const vpcs = createVpcReconcilers({ ...common, random })
    regional = isNode ? options.regional?.(store) : undefined
    await regional?.begin()
    const running = new ReconcileLoop({
      store, clock, log, hostId, gate, onFatal, concurrency: concurrencyOf(host),
      ...(options.scanIntervalMs === undefined ? {} : { scanIntervalMs: options.scanIntervalMs }),
      reconcilers: {
        instance: isNode ? createNodeInstances(common, instances) : remembering(known, instances),
        volume: isNode ? createNodeVolumes(common) : createVolumeReconciler({ ...common, random }),
        layer: createLayerReconciler({ ...common, random, otherRegions: options.otherRegions }),
        import: createImportReconciler({ ...common, random, imports: options.imports }),
        recycle: createRecycleReconciler({ ...common, budgetGib: options.recycleBudgetGib }),
        ...vpcs,
        console: forOwnInstances(common, 'console', createConsoleReconciler(common)),
        screenshot: forOwnInstances(
          common, 'screenshot', createScreenshotReconciler(common), async (_db, id) => screenshotOrder(id).instanceId),
        event: forOwnInstances(common, 'event', createEventReconciler(common), instanceOfEvent),
        reservation: createReservationReconciler(common),
        interrupt: forOwnInstances(common, 'interrupt', createInterruptReconciler(common)),
        'pushed-key': forOwnInstances(common, 'pushed-key', createPushedKeyReconciler(common), instanceOfPushedKey),
        zone: createZoneReconciler({
          ...common, vpc: vpcs.vpc, instancesInWork: () => loop?.runsOf('instance') ?? 0, resync: resyncHost,
        }),
        images: createImagesReconciler({ ...common, images: options.images }),
        ...(regional ? regional.reconcilers : notRegional({ clock, nodeId })),
        ...(isNode ? {} : handedToNode({ clock, nodeId })),
      },
    })
    loop = running
    const reporting = (message: string) => (error: unknown) => {
      if (isFatal(error)) onFatal(error)
      else log.error(message, { error: messageOf(error) })
    }
    const report = reporting('resync failed')
    hypervisor.onChange((instanceId) => {
      // A driver may see the machines of every host of the node.
      if (isStopped || !known.has(instanceId)) return
      store.transaction('hint', (db) => wakeOwn(db, { instanceId, hostId, nowMs: clock.now() })).catch(report)
    })
    resyncs = createResyncTimer({
      store, clock, hostId, onError: report, resync: () => (gate.isClosed ? resyncZones(common) : resyncHost()),
    })
    await resyncs.run()
    running.start()
    if (!isNode) {
      checks = createStatusChecks({
        ...common, nodeId, intervalMs: options.checkIntervalMs ?? CHECK_INTERVAL_MS, onError: reporting('the status checks failed'),
      })
      checks.start()
    }
    sleep = watchSleep(clock, (sleptMs) => {
      log.warn('the machine slept; everything is looked at again', { sleptMs })
      void resyncs?.run()
    })
  }

  return {
    start,
    async stop() {
      isStopped = true
      resyncs?.stop()
      checks?.stop()
      sleep?.stop()
      regional?.stop()
      await loop?.stop()
      await hypervisor.close()
      await network.close()
      await volumes.close()
    },
    abandon() {
      isStopped = true
      resyncs?.stop()
      checks?.stop()
      sleep?.stop()
      regional?.stop()
      loop?.abandon()
    },
    async settled(horizonMs) {
      await loop?.settled(horizonMs)
    },
    isSettled: (horizonMs) => loop?.isSettled(horizonMs) ?? true,
  }
}

/** What only a node does, for its hosts. */
function handedToNode(
  options: { clock: Clock; nodeId: string },
): Record<'vpc' | 'ports' | 'images' | 'import' | 'recycle', Reconciler> {
  return {
    vpc: forNode(options, 'vpc'), ports: forNode(options, 'ports'), images: forNode(options, 'images'),
    import: forNode(options, 'import'), recycle: forNode(options, 'recycle'),
  }
}

/** What only the leading node does, for its region. */
function notRegional(options: { clock: Clock; nodeId: string }): Record<RegionalKind, Reconciler> {
  return {
    market: forNode(options, 'market'), 'spot-request': forNode(options, 'spot-request'), fleet: forNode(options, 'fleet'),
    'event-target': forNode(options, 'event-target'),
  }
}

/** Several agents of one process as one; those of hosts after that of their node. */
export function combineAgents(agents: readonly Agent[]): Agent {
  return {
    async start() {
      for (const agent of agents) await agent.start()
    },
    async stop() {
      await Promise.all(agents.map((agent) => agent.stop()))
    },
    abandon() {
      for (const agent of agents) agent.abandon()
    },
    async settled(horizonMs) {
      // What one does may give another something to do.
      while (!this.isSettled(horizonMs)) {
        for (const agent of agents) if (!agent.isSettled(horizonMs)) await agent.settled(horizonMs)
      }
    },
    isSettled: (horizonMs) => agents.every((agent) => agent.isSettled(horizonMs)),
  }
}

/** Notes whose machines it has had to do with: of all others it wants no hints. */
function remembering(known: Set<string>, instances: Reconciler): Reconciler {
  return {
    async reconcile(id) {
      known.add(id)
      return instances.reconcile(id)
    },
  }
}

/** What was remembered before, and is not there any more, needs no hints. */
async function resyncAndForget(options: ResyncOptions, known: Set<string>): Promise<void> {
  const before = [...known]
  const living = await resync(options)
  for (const id of before) if (!living.has(id)) known.delete(id)
}

async function wakeOwn(db: Db, { instanceId, hostId, nowMs }: { instanceId: string; hostId: string; nowMs: number }): Promise<void> {
  const row = await db.selectFrom('instances').select('host_id').where('instance_id', '=', instanceId).executeTakeFirst()
  if (!row || row.host_id === hostId) await enqueue(db, { kind: 'instance', id: instanceId, hostId }, nowMs)
}
