import {
  chmodSync, chownSync, closeSync, constants, existsSync, fsyncSync, linkSync, lstatSync, mkdirSync, openSync,
  readdirSync, rmSync, unlinkSync,
} from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isWellFormedId } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import type { DiskUsage, FillProgress, LayerSpec, Volumes } from '../driver.ts'
import { createImage, inspectImage } from './qemu-img.ts'

export interface Qcow2Options {
  /** Hearth's home; files live in `<home>/volumes` and `<home>/layers`. */
  home: string
  log: Logger
}

const BYTES_PER_GIB = 1024 ** 3
let lastTemporary = 0

/** Layers as qcow2 files on this host, each an overlay on the one under it. */
export function createQcow2Volumes(options: Qcow2Options): Volumes {
  return new Qcow2Volumes(options)
}

class Qcow2Volumes implements Volumes {
  readonly #log: Logger
  readonly #root: string
  readonly #volumes: string
  readonly #layers: string

  constructor({ home, log }: Qcow2Options) {
    const root = resolve(home)
    this.#log = log
    this.#root = root
    this.#volumes = join(root, 'volumes')
    this.#layers = join(root, 'layers')
    for (const folder of [root, this.#volumes, this.#layers]) {
      mkdirSync(folder, { recursive: true })
      // Machines run as users of their own: they may pass through, to a file they know, but not list.
      chmodSync(folder, 0o711)
    }
  }

  async ensureLayer(spec: LayerSpec): Promise<void> {
    const file = this.pathOf(spec.layerId)
    if (existsSync(file)) return
    if (!Number.isSafeInteger(spec.sizeGib) || spec.sizeGib < 1) {
      throw new Error(`${spec.layerId}: a disk's size is a whole number of GiB, not ${spec.sizeGib}`)
    }
    const backing = spec.parentId === null ? null : await this.#backing(spec.parentId)
    const sizeBytes = Math.max(spec.sizeGib * BYTES_PER_GIB, backing?.sizeBytes ?? 0)
    const folder = dirname(file)
    this.#sweep(folder, spec.layerId)
    const temporary = temporaryName(folder, spec.layerId)
    try {
      // The layer below is named relative to this one, so that a home may be moved, and so that a
      // machine's user, who may not search the folders above the home, finds it.
      await createImage(temporary, sizeBytes, backing?.name ?? null)
      chmodSync(temporary, 0o600)
      publish(temporary, file, folder)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('made a layer', { layerId: spec.layerId, sizeBytes, parentId: spec.parentId })
  }

  ensureFilled(): Promise<FillProgress> {
    throw new Error('not there yet')
  }

  async ensureSealed(layerId: string): Promise<void> {
    const file = this.pathOf(layerId)
    if (process.getuid?.() === 0) chownSync(file, 0, 0)
    chmodSync(file, 0o444)
    syncPath(file)
  }

  ensureSize(): Promise<void> {
    throw new Error('not there yet')
  }

  async ensureDeleted(layerId: string): Promise<void> {
    const file = this.pathOf(layerId)
    rmSync(file, { force: true })
    this.#sweep(dirname(file), layerId)
    syncPath(dirname(file))
  }

  pathOf(layerId: string): string {
    return join(this.#root, relativePath(layerId))
  }

  async list(): Promise<string[]> {
    return [...idsIn(this.#volumes, 'vol'), ...idsIn(this.#layers, 'lay'), ...idsIn(this.#layers, 'snap')].toSorted()
  }

  async has(layerId: string): Promise<boolean> {
    return existsSync(this.pathOf(layerId))
  }

  async importLayer(layerId: string, file: string): Promise<void> {
    const layer = this.pathOf(layerId)
    if (resolve(file).startsWith(`${this.#layers}/`)) throw new Error(`${file} is among the layers already`)
    if (!existsSync(layer)) await this.#takeOver(layerId, file, layer)
    // What is there is never replaced: volumes may stand on it. A crash may have left the source.
    rmSync(file, { force: true })
  }

  usage(): Promise<DiskUsage> {
    throw new Error('not there yet')
  }

  async close(): Promise<void> {}

  async #backing(layerId: string): Promise<{ name: string; sizeBytes: number }> {
    const layer = this.pathOf(layerId)
    if (!existsSync(layer)) throw new Error(`the layer ${layerId} is not on this host`)
    return { name: `../${relativePath(layerId)}`, sizeBytes: (await inspectImage(layer)).sizeBytes }
  }

  /** Everything is checked and on disk before the layer gets its name. */
  async #takeOver(layerId: string, file: string, layer: string): Promise<void> {
    if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`${layerId}: there is no plain file ${file} to import`)
    }
    const image = await inspectImage(file)
    // A layer that refers to other files would let its guest read them.
    if (image.reference !== null) {
      throw new Error(`${file} refers to another file (${image.reference}); flatten it with qemu-img convert`)
    }
    this.#sweep(this.#layers, layerId)
    const temporary = temporaryName(this.#layers, layerId)
    try {
      await duplicate(file, temporary)
      if (process.getuid?.() === 0) chownSync(temporary, 0, 0)
      chmodSync(temporary, 0o444)
      syncPath(temporary)
      publish(temporary, layer, this.#layers)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('imported a layer', { layerId, sizeBytes: image.sizeBytes })
  }

  /** Deletes the unfinished files of processes that are no more. */
  #sweep(folder: string, id: string): void {
    for (const name of readdirSync(folder)) {
      const pid = /^\.(.+)\.(\d+)\.\d+\.tmp$/.exec(name)
      if (pid?.[1] === id && !existsSync(`/proc/${pid[2]}`)) rmSync(join(folder, name), { force: true })
    }
  }
}

/**
 * Where a layer's file is in the home. Layers that an earlier version made have the ids of their volume or
 * snapshot, and their files' names.
 *
 * @throws Error for what is not such an id (and might lead out of the folder).
 */
function relativePath(layerId: string): string {
  if (isWellFormedId('vol', layerId)) return `volumes/${layerId}.qcow2`
  if (isWellFormedId('lay', layerId) || isWellFormedId('snap', layerId)) return `layers/${layerId}.qcow2`
  throw new Error(`not a layer's id: ${layerId}`)
}

function temporaryName(folder: string, id: string): string {
  return join(folder, `.${id}.${process.pid}.${++lastTemporary}.tmp`)
}

/** Gives the finished file its name, unless another one has it: by link, since rename would replace. */
function publish(temporary: string, name: string, folder: string): void {
  syncPath(temporary)
  try {
    linkSync(temporary, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  unlinkSync(temporary)
  syncPath(folder)
}

function syncPath(path: string): void {
  const handle = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/** A second name where the file system allows it, else a copy: the source stays until the layer is whole. */
async function duplicate(from: string, to: string): Promise<void> {
  try {
    linkSync(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    await copyFile(from, to, constants.COPYFILE_FICLONE)
  }
}

function idsIn(folder: string, prefix: 'vol' | 'snap' | 'lay'): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.qcow2'))
    .map((name) => name.slice(0, -'.qcow2'.length))
    .filter((id) => isWellFormedId(prefix, id))
    .toSorted()
}
