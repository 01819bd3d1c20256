import { chmodSync, chownSync, constants, existsSync, linkSync, lstatSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { copyFile, stat, statfs } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Logger } from '../../core/logger.ts'
import type { DiskUsage, FillProgress, FillSource, LayerSpec, Volumes } from '../driver.ts'
import { writableLayer } from './blocks.ts'
import { BYTES_PER_GIB, explained, flush, idsIn, outOfSpace, publish, relativePath, sweep, temporaryName } from './files.ts'
import { Fills } from './fill.ts'
import { complaintOf } from './foreign.ts'
import { readHeader } from './header.ts'
import { makeDisk } from './make.ts'
import { runQemuImg } from './sandbox.ts'

export interface Qcow2Options {
  /** Hearth's home; files live in `<home>/volumes` and `<home>/layers`. */
  home: string
  log: Logger
}

/** A table of a disk of 64 TiB, and room for more: all that a resize writes. */
const RESIZE_LIMITS = { cpuSeconds: 60, fileBytes: Number.MAX_SAFE_INTEGER }

/** Layers as qcow2 files on this host, each an overlay on the one under it. */
export function createQcow2Volumes(options: Qcow2Options): Volumes {
  return new Qcow2Volumes(options)
}

class Qcow2Volumes implements Volumes {
  readonly #log: Logger
  readonly #root: string
  readonly #volumes: string
  readonly #layers: string
  readonly #fills: Fills

  constructor({ home, log }: Qcow2Options) {
    const root = resolve(home)
    this.#log = log
    this.#root = root
    this.#volumes = join(root, 'volumes')
    this.#layers = join(root, 'layers')
    this.#fills = new Fills(log)
    for (const folder of [root, this.#volumes, this.#layers]) {
      mkdirSync(folder, { recursive: true })
      // Machines run as users of their own: they may pass through, to a file they know, but not list.
      chmodSync(folder, 0o711)
    }
  }

  async ensureLayer(spec: LayerSpec): Promise<void> {
    const file = this.pathOf(spec.layerId)
    checkSize(spec)
    if (existsSync(file)) return
    const below = spec.parentId === null ? null : this.#below(spec.parentId)
    const sizeBytes = Math.max(spec.sizeGib * BYTES_PER_GIB, below?.sizeBytes ?? 0)
    const folder = dirname(file)
    sweep(folder, spec.layerId)
    const temporary = temporaryName(folder, spec.layerId)
    try {
      // The layer below is named relative to this one, so that a home may be moved, and so that a
      // machine's user, who may not search the folders above the home, finds it.
      await makeDisk(temporary, { sizeBytes, backing: below?.name ?? null, key: spec.key })
      await publish(temporary, file)
    } catch (error) {
      throw explained(error, spec.layerId, this.#root)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('made a layer', { layerId: spec.layerId, sizeBytes, parentId: spec.parentId })
  }

  async ensureFilled(spec: LayerSpec, source: FillSource): Promise<FillProgress> {
    const file = this.pathOf(spec.layerId)
    checkSize(spec)
    if (spec.parentId !== null) throw new Error(`${spec.layerId}: a layer that is filled stands alone`)
    if (existsSync(file)) {
      await this.#fills.over(spec.layerId)
      return { state: 'done' }
    }
    return this.#fills.progressOf(spec, source, file)
  }

  async ensureSealed(layerId: string): Promise<void> {
    const file = this.pathOf(layerId)
    if (!existsSync(file)) throw notThere(layerId)
    if (isRoot()) chownSync(file, 0, 0)
    chmodSync(file, 0o444)
    await flush(file)
    await flush(dirname(file))
  }

  async ensureSize(spec: LayerSpec): Promise<void> {
    const file = this.pathOf(spec.layerId)
    checkSize(spec)
    const present = statSync(file, { throwIfNoEntry: false })
    if (!present) throw notThere(spec.layerId)
    const sizeBytes = spec.sizeGib * BYTES_PER_GIB
    if (readHeader(file).sizeBytes >= sizeBytes) return
    if ((present.mode & 0o222) === 0) throw new Error(`${spec.layerId} is immutable`)
    const ended = await runQemuImg({
      // Whoever wrote into it last: what a machine's QEMU made of it is read by nobody else.
      uid: isRoot() ? present.uid : null,
      reads: [], writes: file, secrets: spec.key === null ? [] : [spec.key], limits: RESIZE_LIMITS, isBackground: false,
      words: ({ writes, secrets: [secret] }) => ['resize', '-q', writableLayer(writes, secret ?? null), String(sizeBytes)],
    })
    if (/No space left on device|Disk quota exceeded/.test(ended.complaint)) throw outOfSpace(spec.layerId, this.#root)
    if (ended.code !== 0) throw new Error(`${spec.layerId} cannot be made larger: ${complaintOf(ended)}`)
    await flush(file)
    this.#log.info('made a layer larger', { layerId: spec.layerId, sizeBytes })
  }

  async ensureDeleted(layerId: string): Promise<void> {
    const file = this.pathOf(layerId)
    await this.#fills.cancel(layerId)
    rmSync(file, { force: true })
    sweep(dirname(file), layerId)
    await flush(dirname(file))
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

  async usage(): Promise<DiskUsage> {
    const bytesOf = new Map<string, number>()
    for (const layerId of await this.list()) {
      const facts = await stat(this.pathOf(layerId)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error
      })
      // Deleted since it was listed: it takes nothing.
      if (facts) bytesOf.set(layerId, facts.blocks * 512)
    }
    const { bsize, bavail, blocks } = await statfs(this.#layers)
    return { bytesOf, freeBytes: bavail * bsize, totalBytes: blocks * bsize }
  }

  close(): Promise<void> {
    return this.#fills.close()
  }

  #below(layerId: string): { name: string; sizeBytes: number } {
    const layer = this.pathOf(layerId)
    if (!existsSync(layer)) throw notThere(layerId)
    return { name: `../${relativePath(layerId)}`, sizeBytes: readHeader(layer).sizeBytes }
  }

  /** Everything is checked and on disk before the layer gets its name. */
  async #takeOver(layerId: string, file: string, layer: string): Promise<void> {
    if (!lstatSync(file, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`${layerId}: there is no plain file ${file} to import`)
    }
    const header = readHeader(file)
    const reference = header.backing ?? header.dataFile
    // A layer that refers to other files would let its guest read them.
    if (reference !== null) throw new Error(`${file} refers to another file (${reference}); flatten it with qemu-img convert`)
    sweep(dirname(layer), layerId)
    const temporary = temporaryName(dirname(layer), layerId)
    try {
      await duplicate(file, temporary)
      if (isRoot()) chownSync(temporary, 0, 0)
      chmodSync(temporary, 0o444)
      await publish(temporary, layer)
    } catch (error) {
      throw explained(error, layerId, this.#root)
    } finally {
      rmSync(temporary, { force: true })
    }
    this.#log.info('imported a layer', { layerId, sizeBytes: header.sizeBytes })
  }
}

function checkSize({ layerId, sizeGib }: LayerSpec): void {
  if (Number.isSafeInteger(sizeGib) && sizeGib >= 1) return
  throw new Error(`${layerId}: a disk's size is a whole number of GiB, not ${sizeGib}`)
}

function notThere(layerId: string): Error {
  return new Error(`the layer ${layerId} is not on this host`)
}

function isRoot(): boolean {
  return process.getuid?.() === 0
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
