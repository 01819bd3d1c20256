import { createHash } from 'node:crypto'
import {
  chmodSync, chownSync, closeSync, constants, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, readFileSync,
  readSync, renameSync, rmSync, statSync, unlinkSync, writeFileSync, writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { isWellFormedId } from '../../core/ids.ts'
import type { MachineSpec } from '../driver.ts'

/** What the driver notes of a machine, to find its process without a search. */
export interface MachineRecord {
  instanceId: string
  uuid: string
  /** SHA-256 of the spec it was started with. */
  specHash: string
  /** Null from just before the spawn until just after. */
  pid: number | null
  startTicks: number | null
}

/** SHA-256 of what a machine is made of. */
export function specHash(spec: MachineSpec): string {
  return createHash('sha256').update(JSON.stringify(spec, withoutKeys)).digest('hex')
}

/** Of a layer's key not even a hash is kept. */
function withoutKeys(name: string, value: unknown): unknown {
  return name === 'key' ? undefined : value
}

const SOCKETS = ['qmp.sock', 'qmp2.sock', 'serial.sock', 'vnc.sock', 'qga.sock']
/** Through which QEMU sends or gets a guest's memory, while it does. */
export const MEMORY_SOCKET = 'memory.sock'
/** Where QEMU leaves a picture of the screen for a moment. */
export const SCREEN_FILE = 'screen.ppm'
/** A guest may write to its console for ever; the host's disk must not fill up with it. */
const MAX_LOG_BYTES = 8 * 1024 * 1024
const KEPT_LOG_BYTES = 1024 * 1024

/** Makes `<home>` and its sub-folders passable (not listable) for the machines' users. */
export function ensureSharedFolders(home: string, names: string[]): void {
  for (const folder of [home, ...names.map((name) => join(home, name))]) {
    mkdirSync(folder, { recursive: true })
    chmodSync(folder, 0o711)
  }
}

/**
 * Deletes a file, if it is there. rmSync would not do beside a machine that lives: where the file becomes a folder meanwhile it
 * deletes what is in it, though it was not told to, and the machine's user can have it go astray by links.
 *
 * @throws Error for a folder.
 */
export function deleteFile(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** One machine's folder: `<home>/instances/<id>`. */
export class MachineFolder {
  readonly instanceId: string
  readonly path: string

  /** @throws Error for something that is not an instance id (and might lead out of the home). */
  constructor(home: string, instanceId: string) {
    if (!isWellFormedId('i', instanceId)) throw new Error(`not an instance id: ${instanceId}`)
    this.instanceId = instanceId
    this.path = join(home, 'instances', instanceId)
  }

  /**
   * Makes the folder fit for a start. The machine's user may make its sockets here but not replace
   * what this process wrote: the folder is root's, with the sticky bit.
   */
  prepare(uid: number | null): void {
    mkdirSync(this.path, { recursive: true })
    if (uid === null) {
      chmodSync(this.path, 0o700)
    } else {
      chownSync(this.path, 0, uid)
      chmodSync(this.path, 0o1770)
    }
    closeSync(openSync(join(this.path, 'lock'), constants.O_RDONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600))
  }

  /** The user of the machine that was last started here; null for this process's own. */
  machineUid(): number | null {
    const { uid, gid } = statSync(this.path)
    return uid === 0 && gid !== 0 ? gid : null
  }

  /** Undefined when there is none, or none that can be trusted. */
  readRecord(): MachineRecord | undefined {
    try {
      const record: unknown = JSON.parse(readFileSync(join(this.path, 'machine.json'), 'utf8'))
      return isRecord(record) ? record : undefined
    } catch {
      return undefined
    }
  }

  /** Replaces the record whole; `nonce` keeps two writers from sharing a temporary file. */
  writeRecord(record: MachineRecord, nonce: string): void {
    const temporary = join(this.path, `.machine.${nonce}.json`)
    writeFileSync(temporary, `${JSON.stringify(record)}\n`, { flag: 'wx', mode: 0o600 })
    renameSync(temporary, join(this.path, 'machine.json'))
  }

  /** Whether anything here suggests a process; a start leaves a record before it spawns. */
  hasTraces(): boolean {
    return ['machine.json', ...SOCKETS].some((name) => existsSync(join(this.path, name)))
  }

  /** Deletes what only a process gives meaning to, when there is none any more; the logs stay. */
  removeTraces(): void {
    // The machine's user may have put a folder in the place of one, and is not there to change it meanwhile.
    for (const name of [...SOCKETS, MEMORY_SOCKET, 'machine.json', SCREEN_FILE]) rmSync(join(this.path, name), { recursive: true, force: true })
  }

  /** Opens QEMU's own log for appending; the caller closes the handle. */
  openLog(): number {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW
    return openSync(join(this.path, 'qemu.log'), flags, 0o600)
  }

  /** The last `maxBytes` of "console.log" or "qemu.log", nothing from before `fromByte`; empty when there is none. */
  tail(name: string, maxBytes: number, fromByte = 0): Buffer {
    const handle = openNoFollow(join(this.path, name), constants.O_RDONLY)
    if (handle === undefined) return Buffer.alloc(0)
    try {
      return readTail(handle, maxBytes, fromByte)
    } finally {
      closeSync(handle)
    }
  }

  /** Cuts logs that have grown too long down to their end. Their writers append, and go on after it. */
  boundLogs(): void {
    for (const name of ['console.log', 'qemu.log']) {
      const handle = openNoFollow(join(this.path, name), constants.O_RDWR | constants.O_APPEND)
      if (handle === undefined) continue
      try {
        if (fstatSync(handle).size <= MAX_LOG_BYTES) continue
        const kept = readTail(handle, KEPT_LOG_BYTES)
        ftruncateSync(handle, 0)
        writeSync(handle, kept)
      } finally {
        closeSync(handle)
      }
    }
  }

  /** Deletes one file, if it is there. @throws Error for a folder. */
  deleteFile(name: string): void {
    deleteFile(join(this.path, name))
  }

  delete(): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

function readTail(handle: number, maxBytes: number, fromByte = 0): Buffer {
  const size = fstatSync(handle).size
  const buffer = Buffer.alloc(Math.max(0, Math.min(size - fromByte, maxBytes)))
  const bytesRead = readSync(handle, buffer, 0, buffer.length, size - buffer.length)
  return buffer.subarray(0, bytesRead)
}

/**
 * A plain file only: the machine's user owns its console log, and might put a link to a file of the
 * host, or a pipe that blocks whoever opens it, in its place. A second name for somebody else's
 * file is refused by its link count.
 */
function openNoFollow(path: string, flags: number): number | undefined {
  let handle: number
  try {
    handle = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENXIO') return undefined
    throw error
  }
  const stat = fstatSync(handle)
  if (stat.isFile() && stat.nlink === 1) return handle
  closeSync(handle)
  return undefined
}

function isRecord(value: unknown): value is MachineRecord {
  if (typeof value !== 'object' || value === null) return false
  const { pid, startTicks } = value as Record<string, unknown>
  return isCountOrNull(pid) && isCountOrNull(startTicks)
}

function isCountOrNull(value: unknown): boolean {
  return value === null || (Number.isSafeInteger(value) && Number(value) > 0)
}
