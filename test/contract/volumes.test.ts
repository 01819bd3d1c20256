import { execFileSync } from 'node:child_process'
import {
  existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { createSimWorld, type DelayRange } from '../../src/hypervisor/sim-world.ts'
import type { Volumes } from '../../src/volumes/driver.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { createSimVolumes } from '../../src/volumes/sim.ts'

interface TestStore {
  /** Drivers of one store, as agents that follow each other have. */
  driver(): Volumes
  /** Path of a new file that can be imported as a layer of `sizeMib`. */
  image(name: string, sizeMib: number): string
  close(): void
}

const id = (prefix: string, number: number) => `${prefix}-${number.toString(16).padStart(17, '0')}`

function hasQemuImg(): boolean {
  try {
    execFileSync('qemu-img', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
if (!hasQemuImg()) console.warn('the volumes suite skips qcow2: qemu-img is not installed (apt install qemu-utils)')

function info(file: string): Record<string, unknown> {
  const text = execFileSync('qemu-img', ['info', '--output=json', file], { encoding: 'utf8' })
  return JSON.parse(text) as Record<string, unknown>
}

function simStore(): TestStore {
  const [clock, random] = [systemClock, seededRandom(1)]
  const world = createSimWorld({ clock, random, delays: { bootMs: [0, 0], shutdownMs: [0, 0], unplugMs: [0, 0] } })
  const range: DelayRange = [0, 3]
  const delays = { createMs: range, deleteMs: range, importMs: range }
  return { driver: () => createSimVolumes({ world, clock, random, delays }), image: (name) => name, close() {} }
}

function qcow2Store(): TestStore & { parent: string; home: string } {
  const parent = mkdtempSync(join(tmpdir(), 'hearth-volumes-'))
  const home = join(parent, 'home')
  return {
    parent,
    home,
    driver: () => createQcow2Volumes({ home, log: silentLogger }),
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

function contract(makeStore: () => TestStore): void {
  let store: TestStore
  let volumes: Volumes
  beforeAll(() => {
    store = makeStore()
    volumes = store.driver()
  })
  afterAll(() => store?.close())

  test('makes an empty volume once, however often it is asked, and lists it', async () => {
    const spec = { volumeId: id('vol', 1), sizeGib: 2, snapshotId: null }
    await Promise.all([volumes.ensureVolume(spec), volumes.ensureVolume(spec), store.driver().ensureVolume(spec)])
    await store.driver().ensureVolume(spec)
    expect(await store.driver().list()).toEqual([id('vol', 1)])
  })

  test('imports a layer once; an import that is run again after a crash changes nothing', async () => {
    const snapshotId = id('snap', 1)
    expect(await volumes.hasLayer(snapshotId)).toBe(false)
    const file = store.image('first.qcow2', 1)
    await volumes.importLayer(snapshotId, file)
    await store.driver().importLayer(snapshotId, file)
    expect(await store.driver().hasLayer(snapshotId)).toBe(true)
    expect(await volumes.listLayers()).toEqual([snapshotId])
  })

  test('makes a volume from a layer, and refuses one whose layer is not there', async () => {
    await volumes.importLayer(id('snap', 2), store.image('second.qcow2', 1))
    await volumes.ensureVolume({ volumeId: id('vol', 2), sizeGib: 1, snapshotId: id('snap', 2) })
    expect(await volumes.list()).toContain(id('vol', 2))
    const orphan = { volumeId: id('vol', 3), sizeGib: 1, snapshotId: id('snap', 9) }
    await expect(volumes.ensureVolume(orphan)).rejects.toThrow(`the layer of ${id('snap', 9)} is not on this host`)
    expect(await volumes.list()).not.toContain(id('vol', 3))
  })

  test('deletes a volume, twice is once', async () => {
    await volumes.ensureVolume({ volumeId: id('vol', 4), sizeGib: 1, snapshotId: null })
    await volumes.ensureDeleted(id('vol', 4))
    await store.driver().ensureDeleted(id('vol', 4))
    expect(await volumes.list()).not.toContain(id('vol', 4))
  })

  test('a volume has an absolute path that holds its id', () => {
    expect(volumes.pathOf(id('vol', 5))).toMatch(new RegExp(`^/.*${id('vol', 5)}`))
  })

  test.each(['', '..', 'vol-', '../volumes/vol-00000001', 'vol-00000001/../x', 'vol-00000001\0', 'snap-00000001'])(
    'refuses %j as a volume id', async (volumeId) => {
      expect(() => volumes.pathOf(volumeId)).toThrow('not a volume id')
      await expect(volumes.ensureVolume({ volumeId, sizeGib: 1, snapshotId: null })).rejects.toThrow('not a volume id')
      await expect(volumes.ensureDeleted(volumeId)).rejects.toThrow('not a volume id')
    },
  )

  test.each(['', '../volumes', 'snap-', 'vol-00000001'])('refuses %j as a snapshot id', async (snapshotId) => {
    await expect(volumes.hasLayer(snapshotId)).rejects.toThrow('not a snapshot id')
    const spec = { volumeId: id('vol', 6), sizeGib: 1, snapshotId }
    await expect(volumes.ensureVolume(spec)).rejects.toThrow('not a snapshot id')
  })

  test.each([0, -1, 0.5, Number.NaN, Infinity])('refuses a size of %d GiB', async (sizeGib) => {
    const spec = { volumeId: id('vol', 7), sizeGib, snapshotId: null }
    await expect(volumes.ensureVolume(spec)).rejects.toThrow('whole number of GiB')
    expect(await volumes.list()).not.toContain(id('vol', 7))
  })
}

describe('simulated volumes', () => contract(simStore))

describe.skipIf(!hasQemuImg())('qcow2 volumes', () => contract(qcow2Store))

describe.skipIf(!hasQemuImg())('qcow2 volumes on disk', () => {
  let store: ReturnType<typeof qcow2Store>
  let volumes: Volumes
  beforeAll(async () => {
    store = qcow2Store()
    volumes = store.driver()
    await volumes.importLayer(id('snap', 1), store.image('layer.qcow2', 3 * 1024))
  })
  afterAll(() => store?.close())

  test('a volume names its layer relative to itself, so that a home can be moved', async () => {
    const spec = { volumeId: id('vol', 1), sizeGib: 8, snapshotId: id('snap', 1) }
    await volumes.ensureVolume(spec)
    expect(info(volumes.pathOf(spec.volumeId))).toMatchObject({
      'virtual-size': 8 * 1024 ** 3,
      'backing-filename': `../layers/${id('snap', 1)}.qcow2`,
      'backing-filename-format': 'qcow2',
    })
    const moved = join(store.parent, 'moved')
    renameSync(store.home, moved)
    const file = join(moved, 'volumes', `${spec.volumeId}.qcow2`)
    const read = execFileSync('qemu-io', ['-f', 'qcow2', '-r', '-c', 'read -v 0 16', file])
    renameSync(moved, store.home)
    // In its dump a space is shown as a dot.
    expect(read.toString()).toContain('layer.layer.qcow')
  })

  test('a volume is at least as large as its layer', async () => {
    await volumes.ensureVolume({ volumeId: id('vol', 2), sizeGib: 1, snapshotId: id('snap', 1) })
    expect(info(volumes.pathOf(id('vol', 2)))['virtual-size']).toBe(3 * 1024 ** 3)
  })

  test('a volume that is there keeps its data whatever is asked', async () => {
    const file = volumes.pathOf(id('vol', 3))
    writeFileSync(file, 'a guest\'s data')
    await volumes.ensureVolume({ volumeId: id('vol', 3), sizeGib: 5, snapshotId: id('snap', 1) })
    expect(readFileSync(file, 'utf8')).toBe('a guest\'s data')
  })

  test('a layer is read-only, the source is gone, and later imports do not replace it', async () => {
    const layer = join(store.home, 'layers', `${id('snap', 1)}.qcow2`)
    expect(statSync(layer).mode & 0o777).toBe(0o444)
    expect(existsSync(join(store.parent, 'layer.qcow2'))).toBe(false)
    const before = readFileSync(layer)
    await volumes.importLayer(id('snap', 1), store.image('other.qcow2', 1))
    expect(readFileSync(layer).equals(before)).toBe(true)
  })

  test('folders can be passed but not listed by others; a new volume is nobody else\'s', async () => {
    for (const folder of ['', 'volumes', 'layers']) expect(statSync(join(store.home, folder)).mode & 0o777).toBe(0o711)
    await volumes.ensureVolume({ volumeId: id('vol', 4), sizeGib: 1, snapshotId: null })
    expect(statSync(volumes.pathOf(id('vol', 4))).mode & 0o777).toBe(0o600)
  })

  test('what a crash left unfinished is not a volume, and is swept away', async () => {
    const folder = join(store.home, 'volumes')
    // Pids end below 2^22, so no process has this one.
    const left = join(folder, `.${id('vol', 5)}.99999999.1.tmp`)
    writeFileSync(left, 'half a volume')
    expect(await volumes.list()).not.toContain(id('vol', 5))
    await volumes.ensureVolume({ volumeId: id('vol', 5), sizeGib: 1, snapshotId: null })
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
    expect(info(volumes.pathOf(id('vol', 5)))['virtual-size']).toBe(1024 ** 3)
  })

  test('refuses to import what is no image, what is missing, a link, a folder, and another layer', async () => {
    const refused = async (file: string, why: string) => {
      await expect(volumes.importLayer(id('snap', 2), file)).rejects.toThrow(why)
      expect(await volumes.hasLayer(id('snap', 2))).toBe(false)
    }
    const text = join(store.parent, 'text')
    writeFileSync(text, 'no image')
    await refused(text, 'is not a qcow2 image')
    expect(existsSync(text)).toBe(true)
    await refused(join(store.parent, 'nothing'), 'no plain file')
    const link = join(store.parent, 'link')
    symlinkSync(store.image('linked.qcow2', 1), link)
    await refused(link, 'no plain file')
    mkdirSync(join(store.parent, 'folder'))
    await refused(join(store.parent, 'folder'), 'no plain file')
    await refused(join(store.home, 'layers', `${id('snap', 1)}.qcow2`), 'among the layers already')
  })

  test('refuses to import an image that refers to another file, which its guest could then read', async () => {
    const overlay = join(store.parent, 'overlay.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/passwd', overlay])
    await expect(volumes.importLayer(id('snap', 3), overlay)).rejects.toThrow('/etc/passwd')
    const split = join(store.parent, 'split.qcow2')
    const data = join(store.parent, 'split.data')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${data}`, split, '1M'])
    await expect(volumes.importLayer(id('snap', 3), split)).rejects.toThrow('split.data')
    expect(await volumes.listLayers()).toEqual([id('snap', 1)])
  })
})
