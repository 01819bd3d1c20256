import { randomUUID } from 'node:crypto'
import { link, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import path from 'node:path'
import { combineAgents, createAgent, type Agent, type AgentOptions } from './agent.ts'
import { formatCidr } from './core/cidr.ts'
import { systemClock, waitFor } from './core/clock.ts'
import { processCrashPoints, withCrashPoints, type CrashPoints } from './core/crash-points.ts'
import { silentLogger, type Logger } from './core/logger.ts'
import { systemRandom } from './core/random.ts'
import { createImportFolder } from './disk-formats/import-folder.ts'
import { ensureHome, ensureHostId, homeIdOf, homePaths } from './home.ts'
import { readHostBootId } from './host-boot.ts'
import { systemDelivery } from './events/system-delivery.ts'
import type { Hypervisor } from './hypervisor/driver.ts'
import { bootableArchitectures } from './hypervisor/qemu/architecture.ts'
import { createQemuHypervisor } from './hypervisor/qemu/index.ts'
import { listBuiltImages } from './images/build.ts'
import { publishCertificate } from './imds/certificate-file.ts'
import { ensureIdentityKey } from './imds/identity-key.ts'
import type { NamedRegion } from './imds/names.ts'
import { createDatabaseServices } from './imds/services.ts'
import { createKeyService } from './keys/key-service.ts'
import type { Keys } from './keys/keys.ts'
import { checkOwnDatabase, layerFile, openStore, processLogger } from './main.ts'
import { hostDoc } from './model/host.ts'
import { CHECK_INTERVAL_MS } from './model/status-check.ts'
import type { Network } from './network/driver.ts'
import { createLinuxNetwork } from './network/linux/index.ts'
import { createLinuxPorts } from './network/linux/ports.ts'
import { createVpcServices } from './network/services/index.ts'
import type { Realm } from './realm.ts'
import type { RegionSources } from './reconcile/fill-layer.ts'
import type { ImageSource } from './reconcile/images.ts'
import { MemoryTurns } from './reconcile/memory-turns.ts'
import { registration, sharesOf, type Engine, type HostShare } from './registration.ts'
import { ensureHostKey } from './serial-console/host-key.ts'
import { createSerialConsole, type SerialConsole, type SerialConsoleOptions } from './serial-console/server.ts'
import { zonesOf } from './model/zone.ts'
import type { MarketOptions } from './market/context.ts'
import { importFolderOf, publicPoolOf, spotMarketSettings, type Settings } from './settings.ts'
import { withCommitCrashPoints } from './store/crash-points.ts'
import type { Store } from './store/store.ts'
import { createQcow2Volumes } from './volumes/qcow2/index.ts'

// The agents of a node: which concrete drivers they have. One process carries the network and what else belongs to the
// whole node, and one for each zone runs the machines of that zone's hosts.

/** One guest gets at most this part of the node's memory, so that the node itself can breathe. */
const GUEST_MEMORY_SHARE = 0.75

/** How long a zone waits for the node's agent to have begun; it is started at the same time. */
const NODE_TIMEOUT_MS = 60_000

/** What a process that runs agents is told. */
export interface AgentOrders {
  /** Of the region whose agents they are. */
  settings: Realm
  /** Regions beside that one. */
  others: readonly Realm[]
  /** What `hearth up` has found out: that takes a guest, and is not repeated in each process. */
  engine: Engine
  onFatal: (error: unknown) => void
}

/** What all agents of one process have in common. */
interface Ground {
  orders: AgentOrders
  store: Store
  log: Logger
  crashPoints: CrashPoints
  nodeId: string
  hostBootId: string
  otherRegions: OpenRegions
  memoryTurns: MemoryTurns
}

/** The process of the node's own agent: its network, images, imports, recycle bin and serial consoles. */
export async function startNode(
  orders: AgentOrders,
): Promise<{ serialConsolePort: number; stop(): Promise<void> }> {
  const { settings } = orders
  const ground = await prepare(orders, 'agent')
  const { store, log, crashPoints, nodeId } = ground
  await checkOwnDatabase(store, settings, nodeId)
  const { certificate } = await ensureIdentityKey(store, { clock: systemClock, random: systemRandom })
  await publishCertificate(settings.home, certificate)
  // The processes of zones, which have the rest of this in common, do without.
  const { createRegional } = await import('./market/index.ts')
  const { agent, hypervisor } = createHostAgent(ground, {
    share: sharesOf(nodeId, settings).node,
    network: withCrashPoints('network', await createNetwork(ground, orders.others), crashPoints),
    regional: (fenced) => createRegional({ ...marketOptionsOf(settings), store: fenced, clock: systemClock, random: systemRandom, log, delivery: systemDelivery }),
  })
  await agent.start()
  const { serialConsole, serialConsolePort } = await openSerialConsole(settings, { store, hypervisor, nodeId, log })
  return {
    serialConsolePort,
    async stop() {
      await serialConsole.close()
      await agent.stop()
      await ground.otherRegions.close()
      await store.close()
    },
  }
}

/** The process of a zone: the agents of its hosts. */
export async function startZone(orders: AgentOrders, zone: string): Promise<{ stop(): Promise<void> }> {
  const ground = await prepare(orders, zone)
  const { store, crashPoints, nodeId } = ground
  const { settings } = orders
  const network = () => createLinuxPorts({ homeId: homeIdOf(settings.home), clock: systemClock })
  const agent = combineAgents(sharesOf(nodeId, settings).hosts.filter((share) => share.zone === zone).map((share) =>
    createHostAgent(ground, { share, network: withCrashPoints('network', network(), crashPoints) }).agent))
  await nodeHasBegun(ground)
  await agent.start()
  return {
    async stop() {
      await agent.stop()
      await ground.otherRegions.close()
      await store.close()
    },
  }
}

async function prepare(orders: AgentOrders, name: string): Promise<Ground> {
  const { settings, engine } = orders
  if (engine.engine === 'sim') throw new Error('the agent processes run real machines; the simulated engine has its own')
  const log = processLogger(name)
  const crashPoints = processCrashPoints(path.join(homePaths(settings.home).run, `crash-${name}`))
  await ensureHome(settings.home)
  // What agents write can be observed again after a power cut.
  const store = withCommitCrashPoints(await openStore(settings, 'normal', 'agents'), crashPoints)
  const nodeId = await ensureHostId(settings.home, systemRandom)
  const otherRegions = openRegions(orders.others, masterKeys(settings))
  return { orders, store, log, crashPoints, nodeId, hostBootId: await readHostBootId(), otherRegions, memoryTurns: new MemoryTurns(systemClock) }
}

/**
 * Waits until the node's agent has taken note of this run of the computer. Before that, what the rows say of ports may be of
 * the last run, and machines would be started without a network.
 */
async function nodeHasBegun({ store, nodeId, hostBootId }: Ground): Promise<void> {
  await waitFor(systemClock, "the node's agent to begin", NODE_TIMEOUT_MS, async () => {
    const row = await store.read((db) => db.selectFrom('hosts').select('doc').where('host_id', '=', nodeId).executeTakeFirst())
    return row !== undefined && hostDoc(row).bootId === hostBootId
  }, 20)
}

/** An agent with drivers of its own: what is told to one of them is none of the others' business. */
function createHostAgent(
  { orders, store, log, crashPoints, hostBootId, otherRegions, memoryTurns }: Ground,
  { share, network, regional }: { share: HostShare; network: Network } & Pick<AgentOptions, 'regional'>,
): { agent: Agent; hypervisor: Hypervisor } {
  const { settings, engine, onFatal } = orders
  const isNode = share.hostId === share.nodeId
  const hypervisor = withCrashPoints('hypervisor', createQemuHypervisor({
    home: settings.home, clock: systemClock, log, random: systemRandom, accelerator: engine.accelerator === 'kvm' ? 'kvm' : 'tcg',
    staysConnected: !isNode,
  }), crashPoints)
  const totalMib = Math.floor(totalmem() / 2 ** 20)
  const limits = { vcpus: availableParallelism(), memoryMib: Math.floor(totalMib * GUEST_MEMORY_SHARE) }
  const agent = createAgent({
    store, clock: systemClock, random: systemRandom, log, limits, memoryTurns, onFatal, recycleBudgetGib: settings.recycleBudgetGib,
    hostBootId, checkIntervalMs: checkInterval(), hypervisor, network,
    volumes: withCrashPoints('volumes', createQcow2Volumes({ home: settings.home, log }), crashPoints),
    keys: masterKeys(settings), otherRegions: otherRegions.find,
    images: builtImages(settings),
    imports: createImportFolder(importFolderOf(settings)),
    ...(regional ? { regional } : {}),
    host: registration(share, settings, engine, {
      cpus: limits.vcpus, memoryMib: totalMib, guestLimits: limits, architectures: bootableArchitectures(),
    }),
  })
  return { agent, hypervisor }
}

/** What the leading node has to know of its region. */
function marketOptionsOf(settings: Realm): MarketOptions {
  return {
    region: settings.region, zones: zonesOf(settings), placement: settings.placement, publicPool: publicPoolOf(settings, homeIdOf(settings.home)),
    settings: spotMarketSettings(settings),
  }
}

/** The SSH server of the serial consoles of this node's machines. */
export async function openSerialConsole(
  settings: Settings & Partial<Pick<Realm, 'isHome'>>,
  options: Pick<SerialConsoleOptions, 'store' | 'hypervisor' | 'nodeId' | 'log'>,
): Promise<{ serialConsole: SerialConsole; serialConsolePort: number }> {
  const hostKey = await ensureHostKey(homePaths(settings.home).keys)
  const serialConsole = createSerialConsole({ ...options, clock: systemClock, hostKey })
  const { serialConsolePort: port, host } = settings
  const serialConsolePort = await serialConsole.listen(port, host).catch((error: NodeJS.ErrnoException) => {
    const hint = error.code === 'EADDRINUSE' ? '; give another --serial-console-port' : ''
    throw new Error(`the serial console cannot listen on port ${port} of ${host} (${error.message})${hint}`)
  })
  // The home region's is known to `hearth up`.
  if (settings.isHome === false) await writeFile(homePaths(settings.home).serialConsolePort, `${serialConsolePort}\n`)
  return { serialConsole, serialConsolePort }
}

/** Tests of what the status checks find are not to wait for minutes. */
function checkInterval(): number {
  return Number(process.env.HEARTH_CHECK_INTERVAL_MS) || CHECK_INTERVAL_MS
}

async function createNetwork(
  { orders: { settings }, store, log, otherRegions }: Pick<Ground, 'store' | 'log' | 'otherRegions'> & { orders: Pick<AgentOrders, 'settings'> },
  others: readonly Realm[],
): Promise<Network> {
  const homeId = homeIdOf(settings.home)
  const poolOf = (realm: Realm) => formatCidr(publicPoolOf(realm, homeIdOf(realm.home)))
  const named = others.map((realm): NamedRegion => ({
    region: realm.region, publicPool: publicPoolOf(realm, homeIdOf(realm.home)),
    open: async () => (await otherRegions.find(realm.region))?.store,
  }))
  const services = createDatabaseServices({
    store, clock: systemClock, region: settings.region, secret: await metadataSecret(store), otherRegions: named,
    identityKey: await ensureIdentityKey(store, { clock: systemClock, random: systemRandom }),
  })
  return createLinuxNetwork({
    homeId, publicPool: poolOf(settings), siblings: others.map((realm) => ({ homeId: homeIdOf(realm.home), publicPool: poolOf(realm) })),
    publicInterface: settings.publicInterface, clock: systemClock, log,
    services: createVpcServices({ services, clock: systemClock, log }),
  })
}

/** Signs metadata tokens; kept, so that tokens outlive a restart of the agent. */
async function metadataSecret(store: Store): Promise<Buffer> {
  const value = await store.transaction('agent.secret', async (db) => {
    const row = await db.selectFrom('meta').select('value').where('key', '=', 'metadata-secret').executeTakeFirst()
    if (row) return row.value
    const fresh = systemRandom.bytes(32).toString('base64')
    await db.insertInto('meta').values({ key: 'metadata-secret', value: fresh }).execute()
    return fresh
  })
  return Buffer.from(value, 'base64')
}

/** One master key for all regions: what is copied from one to another is read and written by the same agent. */
function masterKeys({ cloudHome }: Realm): Keys {
  return createKeyService(path.join(homePaths(cloudHome).keys, 'master.key'))
}

interface OpenRegions {
  find: RegionSources
  close(): Promise<void>
}

const NO_REGIONS: OpenRegions = { find: () => Promise.resolve(undefined), close: () => Promise.resolve() }

/** Other regions, whose databases are opened when something is first copied from there, or a name of theirs is asked for. */
function openRegions(others: readonly Realm[], keys: Keys): OpenRegions {
  const opened = new Map<string, Promise<Store>>()
  return {
    async find(region) {
      const realm = others.find((each) => each.region === region)
      if (!realm) return undefined
      let store = opened.get(region)
      if (!store) {
        store = openStore(realm, 'normal')
        opened.set(region, store)
        store.catch(() => opened.delete(region))
      }
      return { store: await store, volumes: { pathOf: (layerId) => layerFile(realm.home, layerId) }, keys }
    },
    async close() {
      await Promise.all([...opened.values()].map(async (store) => (await store).close()))
    },
  }
}

/** The images that the cloud built; a layer is a hard link to the built file, so both may be kept. */
function builtImages(settings: Realm): ImageSource {
  return {
    list: () => listBuiltImages(settings.cloudHome),
    region: settings.isHome ? undefined : settings.region,
    async disk(image) {
      const file = path.join(settings.home, 'tmp', `layer-${randomUUID()}.qcow2`)
      await rm(file, { force: true })
      await link(image.file, file)
      return file
    },
  }
}

/** Removes every namespace, tap, rule and route of a region; its machines must have ended. */
export async function removeHostNetwork(settings: Realm): Promise<void> {
  const store = await openStore(settings)
  try {
    const network = await createNetwork({ orders: { settings }, store, log: silentLogger, otherRegions: NO_REGIONS }, [])
    await network.removeAll()
    await network.close()
  } finally {
    await store.close()
  }
}
