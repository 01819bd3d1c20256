import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Random } from './core/random.ts'
import { writeDurably } from './core/write-durably.ts'
import { settleOwner } from './home-owner.ts'

/**
 * Folders of a home. Those that a guest's process passes on the way to its own files are 0711:
 * passable, not readable.
 */
const FOLDERS: Record<string, number> = {
  '.': 0o711, instances: 0o711, volumes: 0o711, layers: 0o711, images: 0o755, accounts: 0o700, imports: 0o700,
  keys: 0o700, logs: 0o700, run: 0o700, tmp: 0o700,
}

/** Where things are in a home; docs/files.md explains each. */
export function homePaths(home: string) {
  return {
    home,
    database: path.join(home, 'hearth.db'),
    credentials: path.join(home, 'credentials.json'),
    /** The keys of accounts beside the default one. */
    accounts: path.join(home, 'accounts'),
    keys: path.join(home, 'keys'),
    logs: path.join(home, 'logs'),
    run: path.join(home, 'run'),
    /** Pid file of `hearth up`. */
    supervisor: path.join(home, 'run', 'up.json'),
  }
}

/** Makes the folders of a home, with the modes and owners they must have. */
export async function ensureHome(home: string, environment: NodeJS.ProcessEnv = process.env): Promise<void> {
  const isNew = !existsSync(home)
  for (const [name, mode] of Object.entries(FOLDERS)) {
    const folder = path.join(home, name)
    await mkdir(folder, { recursive: true, mode })
    await chmod(folder, mode)
  }
  settleOwner(home, isNew, environment)
}

/** Four hexadecimal digits that tell the kernel objects of one home from those of another. */
export function homeIdOf(home: string): string {
  return createHash('sha256').update(path.resolve(home)).digest('hex').slice(0, 4)
}

/** The ids of what a home makes of the machine: a node, and in each zone the hosts that are shares of it. */
export interface HomeHosts {
  nodeId: string
  /** By zone; as many as were ever wanted of it, the first of them in use. */
  hosts: Record<string, string[]>
}

/**
 * The ids of the node and the hosts of this home, made when they are first needed. Kept in a file and not made of the path: a
 * home that is moved is still the same node, with the same instances and disks. Hosts that are not wanted any more keep their
 * ids; the same ones are in use when they are wanted again.
 *
 * @returns for each of `zones` as many as are wanted, and those beyond.
 */
export async function ensureHosts(
  home: string,
  random: Random,
  { zones, hostsPerZone }: { zones: readonly string[]; hostsPerZone: number },
): Promise<HomeHosts> {
  const known = await readHosts(home)
  const { nodeId, hosts } = known ?? { nodeId: newHostId(random), hosts: {} }
  const wanted = { ...hosts }
  for (const zone of zones) {
    const ids = hosts[zone] ?? []
    const missing = Math.max(0, hostsPerZone - ids.length)
    wanted[zone] = [...ids, ...Array.from({ length: missing }, () => newHostId(random))]
  }
  if (known === undefined || zones.some((zone) => wanted[zone]?.length !== hosts[zone]?.length)) {
    await writeDurably(hostsFile(home), `${JSON.stringify({ hostId: nodeId, hosts: wanted })}\n`)
  }
  return { nodeId, hosts: wanted }
}

/** The id of the node alone, made when it is first needed. */
export async function ensureHostId(home: string, random: Random): Promise<string> {
  return (await ensureHosts(home, random, { zones: [], hostsPerZone: 0 })).nodeId
}

/** What `ensureHosts` has made in that home; undefined before. */
export async function readHosts(home: string): Promise<HomeHosts | undefined> {
  try {
    // Earlier versions knew the node alone.
    const { hostId, hosts = {} } = JSON.parse(await readFile(hostsFile(home), 'utf8')) as { hostId: string; hosts?: Record<string, string[]> }
    return { nodeId: hostId, hosts }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function hostsFile(home: string): string {
  return path.join(home, 'host.json')
}

function newHostId(random: Random): string {
  return `h-${random.bytes(9).toString('hex').slice(0, 17)}`
}
