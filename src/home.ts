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
    /** Of a region beside the home region: where its serial consoles' SSH server listens. */
    serialConsolePort: path.join(home, 'run', 'serial-console-port'),
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

/**
 * The id of the node that this home makes of the machine; those of its hosts begin with it. Kept in a file and not made of the
 * path: a home that is moved is still the same node, with the same instances and disks.
 */
export async function ensureHostId(home: string, random: Random): Promise<string> {
  const known = await readHostId(home)
  if (known !== undefined) return known
  const hostId = `h-${random.bytes(9).toString('hex').slice(0, 17)}`
  await writeDurably(hostFile(home), `${JSON.stringify({ hostId })}\n`)
  return hostId
}

/** The id that `ensureHostId` has made in that home; undefined before. */
export async function readHostId(home: string): Promise<string | undefined> {
  try {
    return (JSON.parse(await readFile(hostFile(home), 'utf8')) as { hostId: string }).hostId
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function hostFile(home: string): string {
  return path.join(home, 'host.json')
}
