import type { Clock } from './core/clock.ts'
import { messageOf } from './core/errors.ts'
import type { Logger } from './core/logger.ts'
import type { Random } from './core/random.ts'
import type { ImportFiles } from './disk-formats/import-folder.ts'
import type { Hypervisor } from './hypervisor/driver.ts'
import type { Network } from './network/driver.ts'
import { createConsoleReconciler } from './reconcile/console.ts'
import { createEventReconciler } from './reconcile/event.ts'
import type { RegionSources } from './reconcile/fill-layer.ts'
import type { Keys } from './keys/keys.ts'
import { createImagesReconciler, type ImageSource } from './reconcile/images.ts'
import { createImportReconciler } from './reconcile/import.ts'
import { createInstanceReconciler } from './reconcile/instance.ts'
import { createInterruptReconciler } from './reconcile/interrupt.ts'
import { createLayerReconciler } from './reconcile/layer.ts'
import { isFatal, ReconcileLoop } from './reconcile/loop.ts'
import { createPushedKeyReconciler } from './reconcile/pushed-key.ts'
import { createRecycleReconciler } from './reconcile/recycle.ts'
import { resync } from './reconcile/resync.ts'
import { createResyncTimer, type ResyncTimer } from './reconcile/resync-timer.ts'
import type { HostLimits } from './reconcile/shrink.ts'
import { watchSleep, type SleepWatch } from './reconcile/sleep.ts'
import { createStatusChecks, type StatusChecks } from './reconcile/status-checks.ts'
import { createScreenshotReconciler } from './reconcile/screenshot.ts'
import { createVolumeReconciler } from './reconcile/volume.ts'
import { createVpcReconcilers } from './reconcile/vpc.ts'
import { fenced, registerHost, type HostRegistration } from './model/host.ts'
import { CHECK_INTERVAL_MS } from './model/status-check.ts'
import type { Store } from './store/store.ts'
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
  host: HostRegistration
  limits: HostLimits
  /** Which run of the host this is: another one after each restart, in which nothing that ran before is there any more. */
  hostBootId: string
  /** How often running instances are checked, milliseconds. */
  checkIntervalMs?: number
  /** Other regions of this cloud, to copy snapshots from; none unless given. */
  otherRegions?: RegionSources | undefined
  /** What the recycle bin may hold of the disk; null for the default. */
  recycleBudgetGib: number | null
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
}

/** The agent of one host: everything a guest touches is its business, and nobody else's. */
export function createAgent(options: AgentOptions): Agent {
  const { clock, random, log, hypervisor, network, volumes, keys, host, onFatal } = options
  let loop: ReconcileLoop | undefined
  let resyncs: ResyncTimer | undefined
  let sleep: SleepWatch | undefined
  let checks: StatusChecks | undefined
  let isStopped = false

  const start = async () => {
    const { hostBootId } = options
    const epoch = await registerHost(options.store, { ...host, doc: { ...host.doc, bootId: hostBootId } }, clock.now())
    const store = fenced(options.store, host.hostId, epoch)
    await network.ensureHost()
    const common = { store, clock, log, hypervisor, network, volumes, keys }
    const running = new ReconcileLoop({
      store, clock, log, hostId: host.hostId, onFatal,
      reconcilers: {
        instance: createInstanceReconciler({
          ...common, random, hostBootId, limits: options.limits, awakeSinceMs: () => sleep?.awakeSinceMs() ?? 0,
        }),
        volume: createVolumeReconciler({ ...common, random }),
        layer: createLayerReconciler({ ...common, random, otherRegions: options.otherRegions }),
        import: createImportReconciler({ ...common, random, imports: options.imports }),
        recycle: createRecycleReconciler({ ...common, hostId: host.hostId, budgetGib: options.recycleBudgetGib }),
        ...createVpcReconcilers({ ...common, random, hostId: host.hostId }),
        console: createConsoleReconciler(common),
        screenshot: createScreenshotReconciler(common),
        event: createEventReconciler(common),
        interrupt: createInterruptReconciler(common),
        'pushed-key': createPushedKeyReconciler(common),
        images: createImagesReconciler({ ...common, images: options.images, hostId: host.hostId }),
      },
    })
    loop = running
    const reporting = (message: string) => (error: unknown) => {
      if (isFatal(error)) onFatal(error)
      else log.error(message, { error: messageOf(error) })
    }
    const report = reporting('resync failed')
    hypervisor.onChange((instanceId) => {
      if (isStopped) return
      store
        .transaction('hint', (db) => enqueue(db, { kind: 'instance', id: instanceId, hostId: host.hostId }, clock.now()))
        .catch(report)
    })
    resyncs = createResyncTimer({
      store, clock, hostId: host.hostId, onError: report, resync: () => resync({ ...common, hostId: host.hostId }),
    })
    await resyncs.run()
    running.start()
    checks = createStatusChecks({
      ...common, hostId: host.hostId, nodeId: host.nodeId, intervalMs: options.checkIntervalMs ?? CHECK_INTERVAL_MS,
      onError: reporting('the status checks failed'),
    })
    checks.start()
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
      loop?.abandon()
    },
    async settled(horizonMs) {
      await loop?.settled(horizonMs)
    },
  }
}
