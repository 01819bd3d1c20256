import { existsSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { createApi } from './api.ts'
import type { Clock } from './core/clock.ts'
import { processCrashPoints } from './core/crash-points.ts'
import { jsonLogger, type Logger } from './core/logger.ts'
import { systemClock } from './core/clock.ts'
import { systemRandom } from './core/random.ts'
import { ensureCredentials } from './credentials.ts'
import { ensureHome, homeIdOf, homePaths } from './home.ts'
import { probeAccelerator } from './hypervisor/qemu/probe.ts'
import { DEFAULT_ACCOUNT } from './model/account.ts'
import { zonesOf } from './model/zone.ts'
import type { ApiServer } from './protocol/server.ts'
import { cloudHomeOf, realmsOf, type AnySettings, type Realm } from './realm.ts'
import type { Region } from './regions.ts'
import type { Engine } from './registration.ts'
import { describeDatabase, publicPoolOf, type Settings } from './settings.ts'
import { withCommitCrashPoints } from './store/crash-points.ts'
import { openSqlite } from './store/sqlite.ts'
import type { Store } from './store/store.ts'
import { relativePath } from './volumes/qcow2/files.ts'

// Which concrete clock and database there are. Its other half, with the drivers of machines, disks and network, is
// main-agents.ts; the simulated twin of both is sim-main.ts.

/** A logger on standard output, which `hearth up` appends to the home's logs. */
export function processLogger(component: string): Logger {
  return jsonLogger(systemClock, component, (line) => process.stdout.write(`${line}\n`))
}

/**
 * Connections to a PostgreSQL, which has 97 for everybody unless it is told otherwise: of the API, of a process of agents, of
 * all else (a command, a region that is copied from). A cloud of three zones takes at most 31 for each region, those for wake-ups included.
 */
const CONNECTIONS = { api: 10, agents: 4, other: 2 } as const

/** A region's database: in PostgreSQL where one is given, else SQLite in its home. `user` says how busy it will be. */
export async function openStore(
  settings: AnySettings,
  durability: 'full' | 'normal' = 'full',
  user: keyof typeof CONNECTIONS = 'other',
): Promise<Store> {
  if (settings.database === null) {
    // Calls come at once, and share commits.
    const sharing = durability === 'full' || user === 'api' ? { clock: systemClock } : {}
    return openSqlite({ file: homePaths(settings.home).database, durability, ...sharing })
  }
  const { openPostgres } = await import('./store/postgres.ts')
  const { schema = null } = settings
  return openPostgres({ url: settings.database, schema, durability, connections: CONNECTIONS[user], clock: systemClock, random: systemRandom })
}

/** Where the file of a layer is in a home; whoever may not list the folder may still look at it. */
export function layerFile(home: string, layerId: string): string {
  return path.join(home, relativePath(layerId))
}

/** Whether there may be a cloud to open a database for; opening it would begin one. */
export function hasStore(settings: AnySettings): boolean {
  return existsSync(settings.database === null ? homePaths(settings.home).database : homePaths(cloudHomeOf(settings)).supervisor)
}

/** What answers where the database should be ("PostgreSQL 15.14"), looking only. @throws Error that says what is wrong. */
export async function probeStore(settings: Settings): Promise<string> {
  if (settings.database === null) return 'SQLite'
  const { probePostgres } = await import('./store/postgres.ts')
  return probePostgres(settings.database)
}

/** Deletes a region's rows from a PostgreSQL; SQLite's go with the home's files. */
export async function deleteStore(settings: AnySettings): Promise<void> {
  if (settings.database === null) return
  const { emptyPostgres } = await import('./store/postgres.ts')
  await emptyPostgres(settings.database, settings.schema)
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

/** The API process over the databases of all regions. */
export async function startApi(settings: Settings): Promise<{ api: ApiServer; port: number; close(): Promise<void> }> {
  const log = processLogger('api')
  await ensureHome(settings.home)
  const crashPoints = processCrashPoints(path.join(homePaths(settings.home).run, 'crash-api'))
  const stores: Store[] = []
  const open = async (realm: Realm): Promise<Region> => {
    await ensureHome(realm.home)
    const store = withCommitCrashPoints(await openStore(realm, 'full', 'api'), crashPoints)
    stores.push(store)
    return regionOf(realm, store)
  }
  const [home, ...moreRegions] = await Promise.all(realmsOf(settings).map(open))
  if (!home) throw new Error('a cloud has one region at least')
  const credentials = await ensureCredentials(homePaths(settings.home).credentials, systemRandom, DEFAULT_ACCOUNT)
  const api = await createApi({
    ...home, moreRegions, clock: systemClock, random: systemRandom, log,
    placement: settings.placement, credentials, auth: settings.auth, allowedHosts: [settings.host],
  })
  return {
    api, port: await api.listen(settings.port, settings.host),
    async close() {
      await api.close()
      await Promise.all(stores.map((store) => store.close()))
    },
  }
}

/** A region as the API serves it. */
export function regionOf(realm: Realm, store: Store): Region {
  return { region: realm.region, zones: zonesOf(realm), store, publicPool: publicPoolOf(realm, homeIdOf(realm.home)) }
}

export type { Engine }
