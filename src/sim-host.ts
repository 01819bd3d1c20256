import { combineAgents, createAgent, type Agent } from './agent.ts'
import type { Cidr } from './core/cidr.ts'
import type { Clock } from './core/clock.ts'
import type { Logger } from './core/logger.ts'
import type { Random } from './core/random.ts'
import { createImportFolder, type ImportFiles } from './disk-formats/import-folder.ts'
import type { Delivery } from './events/delivery.ts'
import { systemDelivery } from './events/system-delivery.ts'
import type { Hypervisor } from './hypervisor/driver.ts'
import { createSimHypervisor } from './hypervisor/sim.ts'
import { createSimWorld, type SimWorld } from './hypervisor/sim-world.ts'
import type { BuiltImage } from './images/build.ts'
import { createMemoryKeys } from './keys/memory-keys.ts'
import { createSimNetwork, createSimNetworkWorld, type SimNetworkWorld } from './network/sim.ts'
import { homeIdOf } from './home.ts'
import { zonesOf } from './model/zone.ts'
import { createRegional } from './market/index.ts'
import type { Realm } from './realm.ts'
import type { ImageSource } from './reconcile/images.ts'
import { MemoryTurns } from './reconcile/memory-turns.ts'
import { registration, sharesOf, type HostShare } from './registration.ts'
import { importFolderOf, publicPoolOf, spotMarketSettings, type Settings } from './settings.ts'
import type { Store } from './store/store.ts'
import { createSimVolumes } from './volumes/sim.ts'

/** What stands for a computer and outlives its agents: its machines, disks and network. */
export interface SimHost {
  world: SimWorld
  network: SimNetworkWorld
  /** Which run of the host it is. */
  readonly bootId: string
  /** As a power cut: no machine and no network is left, the disks are. */
  restart(): void
}

/** How long things take in a simulated cloud, milliseconds; about what EC2's users see, shortened. */
export const REALISTIC = {
  guest: { bootMs: [1500, 4000], shutdownMs: [800, 2500], unplugMs: [200, 800], streamMs: [2000, 8000] },
  hypervisor: { startMs: [300, 900], stopMs: [20, 80], saveMs: [200, 800], loadMs: [200, 600] },
  volumes: { createMs: [50, 200], deleteMs: [20, 80], importMs: [50, 100] },
  network: { syncMs: [20, 120] },
} as const satisfies SimDelays

export const INSTANT = {
  guest: { bootMs: [0, 0], shutdownMs: [0, 0], unplugMs: [0, 0], streamMs: [0, 0] },
  hypervisor: { startMs: [0, 0], stopMs: [0, 0], saveMs: [0, 0], loadMs: [0, 0] },
  volumes: { createMs: [0, 0], deleteMs: [0, 0], importMs: [0, 0] },
  network: { syncMs: [0, 0] },
} as const satisfies SimDelays

type Range = readonly [number, number]

export interface SimDelays {
  guest: { bootMs: Range; shutdownMs: Range; unplugMs: Range; streamMs: Range }
  hypervisor: { startMs: Range; stopMs: Range; saveMs: Range; loadMs: Range }
  volumes: { createMs: Range; deleteMs: Range; importMs: Range }
  network: { syncMs: Range }
}

/** A simulated zone promises as good as anything. */
const SIM_CAPACITY = { cpus: 1_000_000, memoryMib: 4_000_000_000, guestLimits: { vcpus: 1024, memoryMib: 2 ** 25 } }

/** All who mark anything due are in this process, so that every agent hears of it. */
const SCAN_INTERVAL_MS = 10_000

/** The image that simulated instances boot. */
const SIM_IMAGE: BuiltImage = {
  name: 'hearth-tiny-sim-x86_64', description: 'Simulated tiny image: boots nothing', recipe: 'tiny',
  recipeHash: 'sim', file: '/dev/null', sha256: '', sizeGib: 1, architecture: 'x86_64', rootDeviceName: '/dev/xvda',
  bootMode: 'legacy-bios', user: 'root', packages: {}, builtAtMs: Date.UTC(2026, 0, 1),
}

const simImages: ImageSource = { list: async () => [SIM_IMAGE], disk: async () => SIM_IMAGE.file }

/** A new simulated host with nothing on it. */
export function createSimHost(ambient: { clock: Clock; random: Random }, delays: SimDelays): SimHost {
  const world = createSimWorld({ ...ambient, delays: mutable(delays.guest) })
  const network = createSimNetworkWorld()
  let runs = 1
  return {
    world, network,
    get bootId() {
      return `run-${runs}`
    },
    restart() {
      for (const instanceId of world.machines.keys()) world.processDies(instanceId)
      network.vpcs.clear()
      runs += 1
    },
  }
}

/** The regions of a simulated cloud by name: each reads the disks of the others when it copies from there. */
export type SimRegions = ReadonlyMap<string, { store: Pick<Store, 'read'>; world: SimWorld }>

/** The agent of one host, or of the node, over a simulated computer. `wrap` puts crash points around the drivers. */
export function createSimAgent(options: SimAgentOptions & { share: HostShare }): SimAgent {
  const { settings, store, clock, random, log, host, onFatal, share, wrap = (_name, driver) => driver } = options
  const delays = mutable(options.delays)
  const { cpus, memoryMib, guestLimits } = options.capacity ?? SIM_CAPACITY
  const zones = settings.zones.length
  const hypervisor = createSimHypervisor({ world: host.world, clock, random, delays: delays.hypervisor })
  const network = createSimNetwork({
    world: host.network, clock, random, delays: delays.network, answering: (interfaceIds) => host.world.answering(interfaceIds),
  })
  const regions: SimRegions = options.regions ?? new Map()
  const volumes = createSimVolumes({
    world: host.world, clock, random, delays: delays.volumes, otherWorlds: () => [...regions.values()].map(({ world }) => world),
  })
  const agent = createAgent({
    memoryTurns: options.memoryTurns ?? new MemoryTurns(clock), store, clock, random, log, onFatal, recycleBudgetGib: settings.recycleBudgetGib, hostBootId: host.bootId,
    scanIntervalMs: SCAN_INTERVAL_MS,
    ...(options.checkIntervalMs === undefined ? {} : { checkIntervalMs: options.checkIntervalMs }),
    hypervisor: wrap('hypervisor', hypervisor),
    network: wrap('network', network),
    volumes: wrap('volumes', volumes),
    keys: createMemoryKeys(),
    async otherRegions(region) {
      const other = regions.get(region)
      return other && { store: other.store, volumes, keys: createMemoryKeys() }
    },
    images: { ...simImages, region: settings.isHome === false ? settings.region : undefined },
    // Simulated disks have no content, but files that are imported are judged as they are.
    imports: options.imports ?? createImportFolder(importFolderOf(settings)),
    regional: (fenced) => createRegional({
      region: settings.region, zones: zonesOf(settings), placement: settings.placement,
      publicPool: options.publicPool ?? publicPoolOf(settings, homeIdOf(settings.home)), settings: spotMarketSettings(settings),
      store: fenced, clock, random, log, delivery: options.delivery ?? systemDelivery,
    }),
    host: registration(share, settings, { engine: 'sim', accelerator: 'sim', reason: 'simulated' }, {
      cpus: cpus * zones, memoryMib: memoryMib * zones, guestLimits, architectures: ['x86_64', 'arm64'],
    }),
    limits: guestLimits,
  })
  return {
    agent,
    hypervisor,
    // What the drivers of a dead agent were doing must not go on.
    closeDrivers() {
      void hypervisor.close()
      void network.close()
      void volumes.close()
    },
  }
}

/** All agents of a simulated node, which start, end and settle as one: its own, and one for each of its hosts. */
export function createSimNode(options: SimAgentOptions & { nodeId?: string }): SimAgent {
  const { node, hosts } = sharesOf(options.nodeId ?? SIM_NODE_ID, options.settings)
  const common = { ...options, memoryTurns: new MemoryTurns(options.clock) }
  const own = createSimAgent({ ...common, share: node })
  const all = [own, ...hosts.map((share) => createSimAgent({ ...common, share }))]
  return {
    agent: combineAgents(all.map((each) => each.agent)),
    hypervisor: own.hypervisor,
    closeDrivers() {
      for (const each of all) each.closeDrivers()
    },
  }
}

/** The node where nothing else has given it an id. */
export const SIM_NODE_ID = 'h-sim'

export interface SimAgent {
  agent: Agent
  hypervisor: Hypervisor
  closeDrivers: () => void
}

export interface SimAgentOptions {
  settings: Settings & Partial<Pick<Realm, 'isHome' | 'regionShare'>>
  store: Store
  clock: Clock
  random: Random
  log: Logger
  host: SimHost
  delays: SimDelays
  /** Files to import; those of the settings' folder unless given. */
  imports?: ImportFiles
  /** How events leave the cloud; this machine's network and files unless given. */
  delivery?: Delivery
  /** Of each zone, which its hosts share; endless unless given. */
  capacity?: { cpus: number; memoryMib: number; guestLimits: { vcpus: number; memoryMib: number } }
  wrap?: <T extends object>(name: string, driver: T) => T
  /** Where agents live and die together; its own unless given. */
  memoryTurns?: MemoryTurns
  /** EC2's pace unless given. */
  checkIntervalMs?: number
  /** Where the cloud has more than one. */
  regions?: SimRegions
  /** That of the settings unless given. */
  publicPool?: Cidr
  onFatal: (error: unknown) => void
}

/** The drivers' types want ranges that may be written to; these are constants. */
function mutable<T>(value: T): Mutable<T> {
  return structuredClone(value) as Mutable<T>
}

type Mutable<T> = T extends readonly [infer A, infer B] ? [A, B] : { -readonly [K in keyof T]: Mutable<T[K]> }

