import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pick, type Random } from '../../src/core/random.ts'
import type { LayerRef, LayerSpec, Volumes } from '../../src/volumes/driver.ts'
import { diskArgument, GIB, keyArguments, layerId, MIB, qemuIo, refTo, testKey } from './layer-files.ts'
import type { MortalVolumes } from './mortal-volumes.ts'

/** A volume or a snapshot: the layer that it refers to, and a raw file with what it must show. */
interface Disk {
  name: string
  kind: 'volume' | 'snapshot'
  layerId: string
  model: string
}

/** As in the product: a chain longer than that is copied into one layer. */
const MOST_LAYERS = 8
const MOST_DISKS = 10
const DEATH_PROBABILITY = 0.3
/** Within one of these times after it was asked a process is killed: most calls are over soon, some are not. */
const DEATH_WITHIN_MS = [3, 15, 80]

/**
 * Volumes, snapshots and their layers at random, on real files, beside a plain copy of what each of them
 * must hold. Only what refers to layers is kept here, as the database does; all files are the driver's.
 */
export class LayerTrees {
  readonly #random: Random
  readonly #volumes: Volumes
  readonly #agent: MortalVolumes
  readonly #folder: string
  readonly #layers = new Map<string, LayerSpec>()
  readonly #disks = new Map<string, Disk>()
  /** What each layer's file was when it was last looked at, of those that nobody writes into. */
  readonly #sealed = new Map<string, string>()
  #last = 0
  /** What was done, for whoever reads of a failure. */
  readonly trace: string[] = []

  constructor(options: { random: Random; volumes: Volumes; agent: MortalVolumes; folder: string }) {
    this.#random = options.random
    this.#volumes = options.volumes
    this.#agent = options.agent
    this.#folder = options.folder
    mkdirSync(options.folder, { recursive: true })
  }

  /** One thing that somebody does; then everything that it could have touched is looked at. */
  async step(): Promise<void> {
    const [volumes, snapshots] = [this.#of('volume'), this.#of('snapshot')]
    const choices: [weight: number, isPossible: boolean, act: () => Promise<Disk[]>][] = [
      [2, this.#disks.size < MOST_DISKS, () => this.#createVolume()],
      [6, volumes.length > 0, () => this.#write(pick(this.#random, volumes))],
      [4, volumes.length > 0 && this.#disks.size < MOST_DISKS, () => this.#freeze(pick(this.#random, volumes))],
      [3, snapshots.length > 0 && this.#disks.size < MOST_DISKS, () => this.#createFrom(pick(this.#random, snapshots))],
      [2, snapshots.length > 0 && this.#disks.size < MOST_DISKS, () => this.#copy(pick(this.#random, snapshots))],
      [1, snapshots.length > 0 && this.#disks.size < MOST_DISKS, () => this.#import(pick(this.#random, snapshots))],
      [1, volumes.length > 0, () => this.#grow(pick(this.#random, volumes))],
      [3, this.#disks.size > 3, () => this.#delete(pick(this.#random, [...this.#disks.values()]))],
    ]
    const possible = choices.filter(([, isPossible]) => isPossible).flatMap(([weight, , act]) => Array.from({ length: weight }, () => act))
    const touched = await pick(this.#random, possible)()
    for (const disk of touched) this.#check(disk)
    this.#checkSealed()
  }

  /** Looks at everything, and that there is nothing else. */
  async checkAll(): Promise<void> {
    for (const disk of this.#disks.values()) this.#check(disk)
    this.#checkSealed()
    const files = await this.#volumes.list()
    if (files.join() !== [...this.#layers.keys()].toSorted().join()) {
      throw new Error(`there are ${files.join(', ')}, and there should be ${[...this.#layers.keys()].join(', ')}`)
    }
  }

  /** Deletes all, in any order; nothing is left then. */
  async deleteAll(): Promise<void> {
    while (this.#disks.size > 0) {
      await this.#delete(pick(this.#random, [...this.#disks.values()]))
      this.#checkSealed()
    }
    await this.checkAll()
  }

  async #createVolume(): Promise<Disk[]> {
    const spec = this.#newLayer(null)
    await this.#ensure('ensureLayer', spec)
    const disk = this.#newDisk('volume', spec.layerId)
    this.trace.push(`${disk.name} = empty ${describe(spec)}`)
    writeFileSync(disk.model, '')
    truncateSync(disk.model, spec.sizeGib * GIB)
    return [disk]
  }

  /** What a guest writes: some bytes at the beginning, around the middle where a table ends, or at the end. */
  async #write(disk: Disk): Promise<Disk[]> {
    const { sizeGib } = this.#layer(disk.layerId)
    const commands: string[] = []
    const model = openSync(disk.model, 'r+')
    for (let count = 1 + this.#random.int(3); count > 0; count--) {
      const bytes = 512 * (1 + this.#random.int(400))
      const start = pick(this.#random, [0, GIB / 2 - 128 * 1024, sizeGib * GIB - MIB])
      const at = start + 512 * this.#random.int((MIB - bytes) / 512)
      const pattern = this.#random.int(5) === 0 ? 0 : 1 + this.#random.int(255)
      commands.push(pattern === 0 && this.#random.int(2) === 0 ? `write -z ${at} ${bytes}` : `write -P ${pattern} ${at} ${bytes}`)
      writeSync(model, Buffer.alloc(bytes, pattern), 0, bytes, at)
    }
    closeSync(model)
    this.trace.push(`${disk.name}: ${commands.join(', ')}`)
    qemuIo(this.#chain(disk.layerId), ...commands, 'flush')
    return [disk]
  }

  /** CreateSnapshot: the volume goes on in a new layer, the old one becomes immutable. */
  async #freeze(volume: Disk): Promise<Disk[]> {
    const former = volume.layerId
    const next = this.#newLayer(former)
    await this.#ensure('ensureLayer', next)
    volume.layerId = next.layerId
    const snapshot = this.#newDisk('snapshot', former)
    this.trace.push(`${snapshot.name} = ${former} of ${volume.name}, which goes on in ${describe(next)}`)
    copyModel(volume.model, snapshot.model)
    await this.#seal(former)
    await this.#shorten(snapshot)
    return [volume, snapshot]
  }

  async #createFrom(snapshot: Disk): Promise<Disk[]> {
    const below = this.#layer(snapshot.layerId)
    const spec = { ...this.#newLayer(below.layerId), sizeGib: below.sizeGib + this.#random.int(2) }
    this.#layers.set(spec.layerId, spec)
    await this.#ensure('ensureLayer', spec)
    const volume = this.#newDisk('volume', spec.layerId)
    this.trace.push(`${volume.name} = ${describe(spec)} from ${snapshot.name}`)
    copyModel(snapshot.model, volume.model)
    truncateSync(volume.model, spec.sizeGib * GIB)
    return [volume]
  }

  /** CopySnapshot: all of it in one layer, perhaps under another key. */
  async #copy(snapshot: Disk): Promise<Disk[]> {
    const copy = this.#newDisk('snapshot', (await this.#flatten(snapshot)).layerId)
    this.trace.push(`${copy.name} = ${describe(this.#layer(copy.layerId))}, copied from ${snapshot.name}`)
    copyModel(snapshot.model, copy.model)
    return [copy]
  }

  async #import(snapshot: Disk): Promise<Disk[]> {
    const spec = { ...this.#newLayer(null), sizeGib: this.#layer(snapshot.layerId).sizeGib }
    this.#layers.set(spec.layerId, spec)
    await this.#agent.ensureWhole(spec, { file: snapshot.model, format: 'raw' }, this.#death())
    await this.#seal(spec.layerId)
    const imported = this.#newDisk('snapshot', spec.layerId)
    this.trace.push(`${imported.name} = ${describe(spec)}, imported from what ${snapshot.name} holds`)
    copyModel(snapshot.model, imported.model)
    return [imported]
  }

  async #grow(volume: Disk): Promise<Disk[]> {
    const former = this.#layer(volume.layerId)
    const spec = { ...former, sizeGib: former.sizeGib + 1 + this.#random.int(600) }
    this.trace.push(`${volume.name} grows to ${spec.sizeGib} GiB`)
    await this.#ensure('ensureSize', spec)
    this.#layers.set(spec.layerId, spec)
    truncateSync(volume.model, spec.sizeGib * GIB)
    return [volume]
  }

  async #delete(disk: Disk): Promise<Disk[]> {
    this.trace.push(`${disk.name} is deleted`)
    this.#disks.delete(disk.name)
    rmSync(disk.model)
    await this.#release(disk.layerId)
    return []
  }

  /** A snapshot of too many layers moves to a copy of its own. */
  async #shorten(snapshot: Disk): Promise<void> {
    if (this.#chain(snapshot.layerId).length <= MOST_LAYERS) return
    const former = snapshot.layerId
    snapshot.layerId = (await this.#flatten(snapshot)).layerId
    this.trace.push(`${snapshot.name} moves to ${snapshot.layerId}`)
    await this.#release(former)
  }

  async #flatten(snapshot: Disk): Promise<LayerSpec> {
    const spec = { ...this.#newLayer(null), sizeGib: this.#layer(snapshot.layerId).sizeGib }
    this.#layers.set(spec.layerId, spec)
    await this.#agent.ensureWhole(spec, { chain: this.#chain(snapshot.layerId) }, this.#death())
    await this.#seal(spec.layerId)
    return spec
  }

  async #seal(layerId: string): Promise<void> {
    await this.#agent.call({ method: 'ensureSealed', words: [layerId] }, this.#death())
    this.#sealed.set(layerId, this.#hash(layerId))
  }

  /** Nobody refers to it any more: the layer goes, then what is under it. */
  async #release(layerId: string): Promise<void> {
    const isUsed = [...this.#disks.values()].some((disk) => disk.layerId === layerId)
      || [...this.#layers.values()].some((layer) => layer.parentId === layerId)
    if (isUsed) return
    const { parentId } = this.#layer(layerId)
    await this.#agent.call({ method: 'ensureDeleted', words: [layerId] }, this.#death())
    this.#layers.delete(layerId)
    this.#sealed.delete(layerId)
    if (parentId !== null) await this.#release(parentId)
  }

  async #ensure(method: 'ensureLayer' | 'ensureSize', spec: LayerSpec): Promise<void> {
    await this.#agent.call({ method, words: [spec] }, this.#death())
  }

  #death(): number | null {
    return this.#random.next() < DEATH_PROBABILITY ? this.#random.int(pick(this.#random, DEATH_WITHIN_MS)) : null
  }

  /** Plain or under a key of its own, whatever is under it. */
  #newLayer(parentId: string | null): LayerSpec {
    const number = ++this.#last
    const key = this.#random.int(2) === 0 ? null : testKey(number & 0xff)
    const spec = { layerId: layerId(number), sizeGib: parentId === null ? 1 : this.#layer(parentId).sizeGib, parentId, key }
    this.#layers.set(spec.layerId, spec)
    return spec
  }

  #newDisk(kind: Disk['kind'], layerId: string): Disk {
    const name = `${kind}${++this.#last}`
    const disk = { name, kind, layerId, model: join(this.#folder, `${name}.raw`) }
    this.#disks.set(name, disk)
    return disk
  }

  #of(kind: Disk['kind']): Disk[] {
    return [...this.#disks.values()].filter((disk) => disk.kind === kind)
  }

  #layer(layerId: string): LayerSpec {
    const layer = this.#layers.get(layerId)
    if (!layer) throw new Error(`no layer ${layerId}`)
    return layer
  }

  #chain(layerId: string): LayerRef[] {
    const layer = this.#layer(layerId)
    return [refTo(this.#volumes, layer), ...(layer.parentId === null ? [] : this.#chain(layer.parentId))]
  }

  /** The disk shows what it must, all of it. */
  #check(disk: Disk): void {
    const chain = this.#chain(disk.layerId)
    const model = `json:${JSON.stringify({ driver: 'raw', file: { driver: 'file', filename: disk.model } })}`
    try {
      execFileSync('qemu-img', ['compare', '-q', ...keyArguments(chain), model, diskArgument(chain)], { stdio: 'pipe' })
    } catch (error) {
      throw new Error(`${disk.name} does not hold what was written`, { cause: error })
    }
  }

  /** Nothing that is immutable has changed; so what stands on it shows the same. */
  #checkSealed(): void {
    for (const [layerId, hash] of this.#sealed) if (this.#hash(layerId) !== hash) throw new Error(`${layerId} has changed`)
    const folder = join(this.#volumes.pathOf(layerId(1)), '..')
    const left = readdirSync(folder).filter((name) => name.endsWith('.tmp'))
    if (left.length > 0) throw new Error(`${left.join(', ')} is left`)
  }

  #hash(layerId: string): string {
    return createHash('sha256').update(readFileSync(this.#volumes.pathOf(layerId))).digest('hex')
  }
}

function describe({ layerId, sizeGib, key, parentId }: LayerSpec): string {
  return `${layerId} (${sizeGib} GiB, ${key === null ? 'plain' : 'encrypted'}, over ${parentId ?? 'nothing'})`
}

function copyModel(from: string, to: string): void {
  execFileSync('cp', ['--sparse=always', from, to])
}
