import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { link, readdir, rm, stat } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import path from 'node:path'
import { createAgent, type Agent } from './agent.ts'
import { createApi } from './api.ts'
import type { Clock } from './core/clock.ts'
import { processCrashPoints, withCrashPoints } from './core/crash-points.ts'
import { jsonLogger, silentLogger, type Logger } from './core/logger.ts'
import { systemClock } from './core/clock.ts'
import { systemRandom } from './core/random.ts'
import { ensureCredentials } from './credentials.ts'
import { createImportFolder } from './disk-formats/import-folder.ts'
import { readHostBootId } from './host-boot.ts'
import { ensureHome, ensureHostId, homeIdOf, homePaths } from './home.ts'
import { bootableArchitectures } from './hypervisor/qemu/architecture.ts'
import { probeAccelerator } from './hypervisor/qemu/probe.ts'
import { createQemuHypervisor } from './hypervisor/qemu/index.ts'
import { publishCertificate } from './imds/certificate-file.ts'
import { ensureIdentityKey } from './imds/identity-key.ts'
import { createKeyService } from './keys/key-service.ts'
import { createDatabaseServices } from './imds/services.ts'
import { listBuiltImages } from './images/build.ts'
import { DEFAULT_ACCOUNT } from './model/account.ts'
import { CHECK_INTERVAL_MS } from './model/status-check.ts'
import { zonesOf } from './model/zone.ts'
import { createLinuxNetwork } from './network/linux/index.ts'
import { createVpcServices } from './network/services/index.ts'
import type { Network } from './network/driver.ts'
import { ensureHostKey } from './serial-console/host-key.ts'
import { createSerialConsole, type SerialConsole, type SerialConsoleOptions } from './serial-console/server.ts'
import type { ApiServer } from './protocol/server.ts'
import type { ImageSource } from './reconcile/images.ts'
import { registration, wholeNode, type Engine } from './registration.ts'
import { describeDatabase, importFolderOf, publicPoolOf, type Settings } from './settings.ts'
import { formatCidr } from './core/cidr.ts'
import { withCommitCrashPoints } from './store/crash-points.ts'
import { emptyPostgres, openPostgres, probePostgres } from './store/postgres.ts'
import { openSqlite } from './store/sqlite.ts'
import type { Store } from './store/store.ts'
import { relativePath } from './volumes/qcow2/files.ts'
import { createQcow2Volumes } from './volumes/qcow2/index.ts'

// The only file that knows which concrete drivers, clock and database there are. The simulated
// twin of it is sim-main.ts.

/** One guest gets at most this part of the host's memory, so that the host itself can breathe. */
const GUEST_MEMORY_SHARE = 0.75

/** A logger on standard output, which `hearth up` appends to the home's logs. */
export function processLogger(component: string): Logger {
  return jsonLogger(systemClock, component, (line) => process.stdout.write(`${line}\n`))
}

/** The cloud's database: PostgreSQL where one is given, else SQLite in the home. */
export function openStore(settings: Settings, durability: 'full' | 'normal' = 'full'): Promise<Store> {
  if (settings.database === null) {
    const sharing = durability === 'full' ? { clock: systemClock } : {}
    return openSqlite({ file: homePaths(settings.home).database, durability, ...sharing })
  }
  return openPostgres({ url: settings.database, durability, clock: systemClock, random: systemRandom })
}

/** Where the file of a layer is in a home; whoever may not list the folder may still look at it. */
export function layerFile(home: string, layerId: string): string {
  return path.join(home, relativePath(layerId))
}

/** Whether there may be a cloud to open a database for; opening it would begin one. */
export function hasStore(settings: Settings): boolean {
  return existsSync(settings.database === null ? homePaths(settings.home).database : homePaths(settings.home).supervisor)
}

/** What answers where the database should be ("PostgreSQL 15.14"), looking only. @throws Error that says what is wrong. */
export async function probeStore(settings: Settings): Promise<string> {
  return settings.database === null ? 'SQLite' : probePostgres(settings.database)
}

/** Deletes the cloud's rows from a PostgreSQL; SQLite's go with the home's files. */
export async function deleteStore(settings: Settings): Promise<void> {
  if (settings.database !== null) await emptyPostgres(settings.database)
}

/**
 * Refuses a database that knows nothing of this host while the home holds disks: every one of them
 * would be without a row, and removed. It is another database than the one that they were made with.
 */
export async function checkOwnDatabase(store: Store, settings: Settings, hostId: string): Promise<void> {
  const host = await store.read((db) => db.selectFrom('hosts').select('host_id').where('host_id', '=', hostId).executeTakeFirst())
  if (host) return
  if (!(await holdsDisks(settings.home))) return
  throw new Error(
    `${settings.home} holds disks that ${describeDatabase(settings)} knows nothing of, and they would be deleted; `
    + 'give the --database that they were made with, or another --home',
  )
}

/** Layers that are a second name of a built image do not count: these are made again from it. */
async function holdsDisks(home: string): Promise<boolean> {
  if ((await readdir(path.join(home, 'volumes'))).length > 0) return true
  for (const name of await readdir(path.join(home, 'layers'))) {
    if (name.startsWith('lay-') && (await stat(path.join(home, 'layers', name))).nlink === 1) return true
  }
  return false
}

/**
 * Which engine runs: the one asked for, or QEMU where it can run.
 *
 * @throws Error that says what is missing and what to do.
 */
export async function chooseEngine(settings: Settings, ambient: { clock: Clock; log: Logger }): Promise<Engine> {
  if (settings.engine === 'sim') return { engine: 'sim', accelerator: 'sim', reason: 'asked for by --engine sim' }
  if (process.getuid?.() !== 0) {
    throw new Error('real machines and their network need root: run "sudo npm start", or try "npm start -- --engine sim"')
  }
  const isThere = await stat('/dev/net/tun').then(() => true, () => false)
  if (!isThere) throw new Error('/dev/net/tun is missing: run "modprobe tun", or try "npm start -- --engine sim"')
  const probe = await probeAccelerator({ home: settings.home, ...ambient })
  return { engine: 'qemu', accelerator: probe.accelerator, reason: probe.reason }
}

/** The API process over the home's database. */
export async function startApi(settings: Settings): Promise<{ api: ApiServer; port: number; store: Store }> {
  const log = processLogger('api')
  await ensureHome(settings.home)
  const crashPoints = processCrashPoints(path.join(homePaths(settings.home).run, 'crash-api'))
  const store = withCommitCrashPoints(await openStore(settings), crashPoints)
  const credentials = await ensureCredentials(homePaths(settings.home).credentials, systemRandom, DEFAULT_ACCOUNT)
  const api = await createApi({
    store, clock: systemClock, random: systemRandom, log, region: settings.region, zones: zonesOf(settings),
    placement: settings.placement, credentials, auth: settings.auth,
    publicPool: publicPoolOf(settings, homeIdOf(settings.home)), allowedHosts: [settings.host],
  })
  return { api, port: await api.listen(settings.port, settings.host), store }
}

/** The agent process of this host, over QEMU and the kernel's network. */
export async function startAgent(
  settings: Settings,
  onFatal: (error: unknown) => void,
): Promise<{ agent: Agent; serialConsole: SerialConsole; serialConsolePort: number; store: Store }> {
  const log = processLogger('agent')
  const crashPoints = processCrashPoints(path.join(homePaths(settings.home).run, 'crash-agent'))
  await ensureHome(settings.home)
  // What the agent writes can be observed again after a power cut.
  const store = withCommitCrashPoints(await openStore(settings, 'normal'), crashPoints)
  const engine = await chooseEngine(settings, { clock: systemClock, log })
  if (engine.accelerator === 'sim') throw new Error('the agent process runs real machines; the simulated engine has its own')
  const hostId = await ensureHostId(settings.home, systemRandom)
  await checkOwnDatabase(store, settings, hostId)
  const hypervisor = withCrashPoints('hypervisor', createQemuHypervisor({
    home: settings.home, clock: systemClock, log, random: systemRandom, accelerator: engine.accelerator,
  }), crashPoints)
  const limits = { vcpus: availableParallelism(), memoryMib: Math.floor((totalmem() / 2 ** 20) * GUEST_MEMORY_SHARE) }
  const agent = createAgent({
    store, clock: systemClock, random: systemRandom, log, limits, onFatal, recycleBudgetGib: settings.recycleBudgetGib,
    hostBootId: await readHostBootId(), checkIntervalMs: checkInterval(),
    hypervisor,
    network: withCrashPoints('network', await createNetwork(settings, store, log), crashPoints),
    volumes: withCrashPoints('volumes', createQcow2Volumes({ home: settings.home, log }), crashPoints),
    keys: createKeyService(path.join(homePaths(settings.home).keys, 'master.key')),
    images: builtImages(settings),
    imports: createImportFolder(importFolderOf(settings)),
    host: registration(wholeNode(hostId), settings, engine, {
      cpus: limits.vcpus, memoryMib: Math.floor(totalmem() / 2 ** 20), guestLimits: limits, architectures: bootableArchitectures(),
    }),
  })
  const { certificate } = await ensureIdentityKey(store, { clock: systemClock, random: systemRandom })
  await publishCertificate(settings.home, certificate)
  await agent.start()
  return { agent, store, ...(await openSerialConsole(settings, { store, hypervisor, hostId, log })) }
}

/** The SSH server of the serial consoles of this host's machines. */
export async function openSerialConsole(
  settings: Settings,
  options: Pick<SerialConsoleOptions, 'store' | 'hypervisor' | 'hostId' | 'log'>,
): Promise<{ serialConsole: SerialConsole; serialConsolePort: number }> {
  const hostKey = await ensureHostKey(homePaths(settings.home).keys)
  const serialConsole = createSerialConsole({ ...options, clock: systemClock, hostKey })
  const { serialConsolePort: port, host } = settings
  const serialConsolePort = await serialConsole.listen(port, host).catch((error: NodeJS.ErrnoException) => {
    const hint = error.code === 'EADDRINUSE' ? '; give another --serial-console-port' : ''
    throw new Error(`the serial console cannot listen on port ${port} of ${host} (${error.message})${hint}`)
  })
  return { serialConsole, serialConsolePort }
}

/** Tests of what the status checks find are not to wait for minutes. */
function checkInterval(): number {
  return Number(process.env.HEARTH_CHECK_INTERVAL_MS) || CHECK_INTERVAL_MS
}

async function createNetwork(settings: Settings, store: Store, log: Logger): Promise<Network> {
  const homeId = homeIdOf(settings.home)
  const services = createDatabaseServices({
    store, clock: systemClock, region: settings.region, secret: await metadataSecret(store),
    identityKey: await ensureIdentityKey(store, { clock: systemClock, random: systemRandom }),
  })
  return createLinuxNetwork({
    homeId, publicPool: formatCidr(publicPoolOf(settings, homeId)), publicInterface: settings.publicInterface, clock: systemClock, log,
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

/** The images of this home; a layer is a hard link to the built file, so both may be kept. */
function builtImages(settings: Settings): ImageSource {
  return {
    list: () => listBuiltImages(settings.home),
    async disk(image) {
      const file = path.join(settings.home, 'tmp', `layer-${randomUUID()}.qcow2`)
      await rm(file, { force: true })
      await link(image.file, file)
      return file
    },
  }
}

/** Removes every namespace, tap, rule and route of this home; its machines must have ended. */
export async function removeHostNetwork(settings: Settings): Promise<void> {
  const store = await openStore(settings)
  try {
    const network = await createNetwork(settings, store, silentLogger)
    await network.removeAll()
    await network.close()
  } finally {
    await store.close()
  }
}

export type { Engine }
