import {
  chmodSync, chownSync, closeSync, constants, existsSync, fsyncSync, linkSync, lstatSync, mkdirSync, openSync,
  readdirSync, rmSync, unlinkSync,
} from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isWellFormedId } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import type { Volumes, VolumeSpec } from '../driver.ts'
import { createImage, inspectImage } from './qemu-img.ts'

export interface Qcow2Options {
  /** Hearth's home; files live in `<home>/volumes` and `<home>/layers`. */
  home: string
  log: Logger
}

const BYTES_PER_GIB = 1024 ** 3
let lastTemporary = 0

/** Volumes as qcow2 files on this host, overlays on the immutable layers of their snapshots. */
export function createQcow2Volumes(options: Qcow2Options): Volumes {
  return new Qcow2Volumes(options)
}

class Qcow2Volumes implements Volumes {
  readonly #log: Logger
  readonly #volumes: string
  readonly #layers: string

  constructor({ home, log }: Qcow2Options) {
    const root = resolve(home)
    this.#log = log
    this.#volumes = join(root, 'volumes')
    this.#layers = join(root, 'layers')
    for (const folder of [root, this.#volumes, this.#layers]) {
      mkdirSync(folder, { recursive: true })
      // Machines run as users of their own: they may pass through, to a file they know, but not list.
      chmodSync(folder, 0o711)
    }
  }

  async ensureVolume(spec: VolumeSpec): Promise<void> {
    const file = this.pathOf(spec.volumeId)
    if (existsSync(file)) return
    if (!Number.isSafeInteger(spec.sizeGib) || spec.sizeGib < 1) {
      throw new Error(`${spec.volumeId}: a volume's size is a whole number of GiB, not ${spec.sizeGib}`)
    }
    const backing = spec.snapshotId === null ? null : await this.#backing(spec.snapshotId)
    const sizeBytes = Math.max(spec.sizeGib * BYTES_PER_GIB, backing?.sizeBytes ?? 0)
    this.#sweep(this.#volumes, spec.volumeId)
    const temporary = temporaryName(this.#volumes, spec.volumeId)
    try {
      // The layer is named relative to the volume, so that a home may be moved, and so that a
      // machine's user, who may not search the folders above the home, finds it.
      await createImage(temporary, sizeBytes, backing?.name ?? null)
      chmodSync(temporary, 0o600)
      publish(temporary, file, this.#volumes)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('made a volume', { volumeId: spec.volumeId, sizeBytes, snapshotId: spec.snapshotId })
  }

  async ensureDeleted(volumeId: string): Promise<void> {
    rmSync(this.pathOf(volumeId), { force: true })
    this.#sweep(this.#volumes, volumeId)
    syncPath(this.#volumes)
  }

  pathOf(volumeId: string): string {
    return join(this.#volumes, fileName('vol', volumeId))
  }

  async list(): Promise<string[]> {
    return idsIn(this.#volumes, 'vol')
  }

  async hasLayer(snapshotId: string): Promise<boolean> {
    return existsSync(this.#layerPath(snapshotId))
  }

  async importLayer(snapshotId: string, file: string): Promise<void> {
    const layer = this.#layerPath(snapshotId)
    if (resolve(file).startsWith(`${this.#layers}/`)) throw new Error(`${file} is among the layers already`)
    if (!existsSync(layer)) await this.#takeOver(snapshotId, file, layer)
    // What is there is never replaced: volumes may stand on it. A crash may have left the source.
    rmSync(file, { force: true })
  }

  async listLayers(): Promise<string[]> {
    return idsIn(this.#layers, 'snap')
  }

  #layerPath(snapshotId: string): string {
    return join(this.#layers, fileName('snap', snapshotId))
  }

  async #backing(snapshotId: string): Promise<{ name: string; sizeBytes: number }> {
    const layer = this.#layerPath(snapshotId)
    if (!existsSync(layer)) throw new Error(`the layer of ${snapshotId} is not on this host: import it first`)
    return { name: `../layers/${fileName('snap', snapshotId)}`, sizeBytes: (await inspectImage(layer)).sizeBytes }
  }

  /** Everything is checked and on disk before the layer gets its name. */
  async #takeOver(snapshotId: string, file: string, layer: string): Promise<void> {
    if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`${snapshotId}: there is no plain file ${file} to import`)
    }
    const image = await inspectImage(file)
    // A layer that refers to other files would let its guest read them.
    if (image.reference !== null) {
      throw new Error(`${file} refers to another file (${image.reference}); flatten it with qemu-img convert`)
    }
    this.#sweep(this.#layers, snapshotId)
    const temporary = temporaryName(this.#layers, snapshotId)
    try {
      await duplicate(file, temporary)
      if (process.getuid?.() === 0) chownSync(temporary, 0, 0)
      chmodSync(temporary, 0o444)
      syncPath(temporary)
      publish(temporary, layer, this.#layers)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('imported a layer', { snapshotId, sizeBytes: image.sizeBytes })
  }

  /** Deletes the unfinished files of processes that are no more. */
  #sweep(folder: string, id: string): void {
    for (const name of readdirSync(folder)) {
      const pid = /^\.(.+)\.(\d+)\.\d+\.tmp$/.exec(name)
      if (pid?.[1] === id && !existsSync(`/proc/${pid[2]}`)) rmSync(join(folder, name), { force: true })
    }
  }
}

/** @throws Error for what is not such an id (and might lead out of the folder). */
function fileName(prefix: 'vol' | 'snap', id: string): string {
  if (!isWellFormedId(prefix, id)) throw new Error(`not a ${prefix === 'vol' ? 'volume' : 'snapshot'} id: ${id}`)
  return `${id}.qcow2`
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

function idsIn(folder: string, prefix: 'vol' | 'snap'): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.qcow2'))
    .map((name) => name.slice(0, -'.qcow2'.length))
    .filter((id) => isWellFormedId(prefix, id))
    .toSorted()
}
