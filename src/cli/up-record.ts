import BetterSqlite3 from 'better-sqlite3'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { giveToFolderOwner } from '../core/file-owner.ts'
import { homePaths } from '../home.ts'
import { isAlive, type ProcessId } from '../hypervisor/qemu/process.ts'
import type { Engine } from '../main.ts'
import { hostKeyFingerprint } from '../serial-console/host-key.ts'
import type { AnySettings, Realm } from '../realm.ts'
import { isLoopback, type Settings } from '../settings.ts'

/** What the last `hearth up` of a home noted of itself in run/up.json; kept when it has ended. */
export interface UpRecord {
  supervisor: ProcessId
  startedMs: number
  engine: Engine
  /** With the engine that was chosen, and the port that was found free. */
  settings: Settings
  /** Name of each child → its pid; null while it is down. */
  children: Record<string, number | null>
  /** Whether the API has answered. */
  isReady: boolean
}

/** The last `hearth up` of the home, and whether it runs; undefined before the first. */
export function readUpRecord(home: string): { record: UpRecord; isRunning: boolean } | undefined {
  try {
    const record = JSON.parse(readFileSync(homePaths(home).supervisor, 'utf8')) as UpRecord
    return { record, isRunning: isAlive(record.supervisor) }
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError
    if (isAbsent) return undefined
    throw error
  }
}

/** Writes the record so that a reader sees the old one or the new one, whole. */
export function writeUpRecord(home: string, record: UpRecord): void {
  const file = homePaths(home).supervisor
  writeFileSync(`${file}.new`, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 })
  giveToFolderOwner(`${file}.new`)
  renameSync(`${file}.new`, file)
}

/**
 * Takes the home for this process, until it ends in whatever way: the kernel holds the lock. Two
 * supervisors that start at the same moment cannot both have it, as they could with a pid file.
 *
 * @returns a function that lets go of it, or undefined when another process has it.
 */
export function lockHome(home: string): (() => void) | undefined {
  const database = new BetterSqlite3(path.join(homePaths(home).run, 'up.lock'), { timeout: 0 })
  try {
    database.exec('begin exclusive')
    giveToFolderOwner(database.name)
    return () => database.close()
  } catch (error) {
    database.close()
    if ((error as { code?: string }).code === 'SQLITE_BUSY') return undefined
    throw error
  }
}

/** What of this machine's addresses clients on it use. */
function localHost({ host }: Pick<Settings, 'host'>): string {
  const wildcards: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' }
  return wildcards[host] ?? host
}

/** Where clients on this machine reach the API. */
export function endpointOf(settings: Pick<Settings, 'host' | 'port'>): string {
  const host = localHost(settings)
  return `http://${host.includes(':') ? `[${host}]` : host}:${settings.port}`
}

/** How one gets to a serial console by SSH. */
export interface SerialConsoleDoor {
  host: string
  port: number
  /** The host key's fingerprint, as ssh shows it. */
  hostKey: string
}

/** Where the serial consoles' SSH server is; undefined before it has a host key. */
export function serialConsoleOf(
  settings: Pick<Settings, 'home' | 'host' | 'serialConsolePort'> & Partial<Pick<Realm, 'isHome'>>,
): SerialConsoleDoor | undefined {
  const hostKey = hostKeyFingerprint(homePaths(settings.home).keys)
  return hostKey === undefined ? undefined : { host: localHost(settings), port: serialConsolePortOf(settings), hostKey }
}

function serialConsolePortOf({ home, serialConsolePort, isHome = true }: Pick<Settings, 'home' | 'serialConsolePort'> & Partial<Pick<Realm, 'isHome'>>): number {
  return isHome ? serialConsolePort : Number(readFileSync(homePaths(home).serialConsolePort, 'utf8'))
}

/** The same for people. */
export function describeSerialConsole({ host, port, hostKey }: SerialConsoleDoor): string {
  return `ssh -p ${port} i-….port0@${host}, host key ${hostKey}`
}

/** Settings of the cloud as it runs or last ran, so that only the home has to be given twice. */
export function settingsInForce<T extends AnySettings>(settings: T): T {
  // A region's are made of those in force.
  if (settings.cloudHome !== undefined) return settings
  const last = readUpRecord(settings.home)
  if (!last) return settings
  // What an older Hearth did not note yet is as it is asked for now.
  return { ...settings, ...last.record.settings, home: settings.home, database: settings.database }
}

/** A warning for a person whose API others can reach; undefined when only this machine can. */
export function exposureWarning(settings: Pick<Settings, 'host'>): string | undefined {
  if (isLoopback(settings.host)) return undefined
  return `the API listens on ${settings.host} without TLS: everyone on that network can read what is sent`
}
