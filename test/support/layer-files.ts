import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import type { DelayRange } from '../../src/hypervisor/sim-pauses.ts'
import { createSimWorld } from '../../src/hypervisor/sim-world.ts'
import type { FillProgress, FillSource, LayerRef, LayerSpec, Volumes } from '../../src/volumes/driver.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { createSimVolumes } from '../../src/volumes/sim.ts'

/** What both drivers' stores can do. */
export interface TestStore {
  /** Drivers of one store, as agents that follow each other have. */
  driver(): Volumes
  /** Path of a new file that can be imported as a layer of `sizeMib`. */
  image(name: string, sizeMib: number): string
  close(): void
}

export interface RealStore extends TestStore {
  /** Of the store's home, or of another one. */
  driver(home?: string): Volumes
  /** A folder for whatever a test needs, which goes with the store. */
  parent: string
  home: string
}

export const MIB = 1024 ** 2
export const GIB = 1024 ** 3

export function layerId(number: number, prefix: 'lay' | 'vol' | 'snap' = 'lay'): string {
  return `${prefix}-${number.toString(16).padStart(17, '0')}`
}

/** A key of a layer, as the key service makes them. */
export function testKey(number: number): string {
  return Buffer.alloc(32, number).toString('base64')
}

/** Whether there is a qemu-img to test with; says so when not. */
export function hasQemuImg(): boolean {
  try {
    execFileSync('qemu-img', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    console.warn('qcow2 is not tested: qemu-img is not installed (apt install qemu-utils)')
    return false
  }
}

export function simStore(): TestStore {
  const [clock, random] = [systemClock, seededRandom(1)]
  const world = createSimWorld({ clock, random, delays: { bootMs: [0, 0], shutdownMs: [0, 0], unplugMs: [0, 0] } })
  const range: DelayRange = [0, 3]
  const delays = { createMs: range, deleteMs: range, importMs: [20, 20] as DelayRange }
  return { driver: () => createSimVolumes({ world, clock, random, delays }), image: (name) => name, close() {} }
}

export function qcow2Store(): RealStore {
  const parent = mkdtempSync(join(tmpdir(), 'hearth-volumes-'))
  const home = join(parent, 'home')
  return {
    parent,
    home,
    driver: (other = home) => createQcow2Volumes({ home: other, log: silentLogger }),
    image(name, sizeMib) {
      const file = join(parent, name)
      writeFileSync(`${file}.raw`, `layer ${name}`)
      execFileSync('truncate', ['-s', `${sizeMib}M`, `${file}.raw`])
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', `${file}.raw`, file])
      rmSync(`${file}.raw`)
      return file
    },
    close: () => rmSync(parent, { recursive: true, force: true }),
  }
}

/** A layer as others refer to it. */
export function refTo(volumes: Volumes, { layerId, key }: Pick<LayerSpec, 'layerId' | 'key'>): LayerRef {
  return { layerId, path: volumes.pathOf(layerId), key }
}

/** What filling ended in. */
export function filled(volumes: Volumes, spec: LayerSpec, source: FillSource): Promise<Exclude<FillProgress, { state: 'running' }>> {
  return waitFor(systemClock, `${spec.layerId} to be filled`, 30_000, async () => {
    const progress = await volumes.ensureFilled(spec, source)
    return progress.state === 'running' ? undefined : progress
  }, 10)
}

/**
 * A disk made of these layers, from the top, as an argument of QEMU's tools; said anew here, so that
 * a driver is not judged by itself.
 */
export function diskArgument(chain: readonly LayerRef[]): string {
  const block = (at: number): object | null => {
    const layer = chain[at]
    if (!layer) return null
    return {
      driver: 'qcow2', file: { driver: 'file', filename: layer.path }, backing: block(at + 1),
      ...(layer.key === null ? {} : { encrypt: { format: 'luks', 'key-secret': secretOf(layer) } }),
    }
  }
  return `json:${JSON.stringify(block(0))}`
}

/** The keys of these layers as arguments of QEMU's tools. */
export function keyArguments(chain: readonly LayerRef[]): string[] {
  return chain.flatMap((layer) => (layer.key === null ? [] : ['--object', `secret,id=${secretOf(layer)},data=${layer.key}`]))
}

function secretOf({ layerId }: LayerRef): string {
  return `k${layerId}`
}

/** Does what a guest does: commands of qemu-io on the disk. @throws Error when one of them fails, as a read of other data does. */
export function qemuIo(chain: readonly LayerRef[], ...commands: string[]): string {
  const isReading = commands.every((command) => command.startsWith('read'))
  const words = [...keyArguments(chain), ...(isReading ? ['-r'] : []), ...commands.flatMap((command) => ['-c', command]), diskArgument(chain)]
  const output = execFileSync('qemu-io', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  // Its exit code does not tell of what it read.
  if (/failed|error/i.test(output)) throw new Error(output)
  return output
}

/** Facts of a file that qemu-img tells, without following what it names. */
export function imageInfo(file: string): Record<string, unknown> {
  return JSON.parse(execFileSync('qemu-img', ['info', '--output=json', file], { encoding: 'utf8' })) as Record<string, unknown>
}
