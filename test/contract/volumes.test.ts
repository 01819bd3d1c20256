import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LayerSpec, Volumes } from '../../src/volumes/driver.ts'
import {
  diskArgument, filled, GIB, hasQemuImg, imageInfo, keyArguments, layerId, qcow2Store, qemuIo, refTo, simStore, testKey, type RealStore, type TestStore,
} from '../support/layer-files.ts'

const HAS_QEMU_IMG = hasQemuImg()

function spec(number: number, parentId: string | null = null, more: Partial<LayerSpec> = {}): LayerSpec {
  return { layerId: layerId(number), sizeGib: 1, parentId, key: null, ...more }
}

function contract(makeStore: () => TestStore): void {
  let store: TestStore
  let volumes: Volumes
  beforeAll(() => {
    store = makeStore()
    volumes = store.driver()
  })
  afterAll(async () => {
    await volumes?.close()
    store?.close()
  })

  test('makes an empty layer once, however often it is asked, and lists it', async () => {
    const first = spec(0x11, null, { sizeGib: 2 })
    expect(await volumes.has(first.layerId)).toBe(false)
    await Promise.all([volumes.ensureLayer(first), volumes.ensureLayer(first), store.driver().ensureLayer(first)])
    await store.driver().ensureLayer(first)
    expect(await store.driver().list()).toEqual([first.layerId])
    expect(await volumes.has(first.layerId)).toBe(true)
  })

  test('imports a layer once; an import that is run again after a crash changes nothing', async () => {
    const snapshotId = layerId(1, 'snap')
    const file = store.image('first.qcow2', 1)
    await volumes.importLayer(snapshotId, file)
    await store.driver().importLayer(snapshotId, file)
    expect(await store.driver().has(snapshotId)).toBe(true)
    expect(await volumes.list()).toContain(snapshotId)
  })

  test('makes a layer over another one, and refuses to where that one is not there', async () => {
    await volumes.importLayer(layerId(2, 'snap'), store.image('second.qcow2', 1))
    await volumes.ensureLayer(spec(0x21, layerId(2, 'snap')))
    await volumes.ensureLayer(spec(0x22, layerId(0x21), { key: testKey(1) }))
    expect(await volumes.list()).toEqual(expect.arrayContaining([layerId(0x21), layerId(0x22)]))
    await expect(volumes.ensureLayer(spec(0x23, layerId(9, 'snap')))).rejects.toThrow(`the layer ${layerId(9, 'snap')} is not on this host`)
    expect(await volumes.has(layerId(0x23))).toBe(false)
  })

  test('deletes a layer, twice is once, and what is under it after it', async () => {
    await volumes.ensureLayer(spec(0x31))
    await volumes.ensureLayer(spec(0x32, layerId(0x31)))
    for (const id of [layerId(0x32), layerId(0x31)]) {
      await volumes.ensureDeleted(id)
      await store.driver().ensureDeleted(id)
      expect(await volumes.has(id)).toBe(false)
    }
    await volumes.ensureLayer(spec(0x31))
    expect(await volumes.has(layerId(0x31))).toBe(true)
  })

  test('a layer has an absolute path that holds its id, whether it is there or not', () => {
    for (const prefix of ['lay', 'vol', 'snap'] as const) {
      expect(volumes.pathOf(layerId(5, prefix))).toMatch(new RegExp(`^/.*${layerId(5, prefix)}`))
    }
  })

  test('seals a layer as often as it is asked, after which it grows no more', async () => {
    await volumes.ensureLayer(spec(0x41))
    await volumes.ensureSealed(layerId(0x41))
    await store.driver().ensureSealed(layerId(0x41))
    await volumes.ensureSize(spec(0x41))
    await expect(volumes.ensureSize(spec(0x41, null, { sizeGib: 2 }))).rejects.toThrow(`${layerId(0x41)} is immutable`)
    await expect(volumes.ensureSealed(layerId(0x49))).rejects.toThrow(`the layer ${layerId(0x49)} is not on this host`)
  })

  test('makes a layer larger, as often as it is asked, and none that is missing', async () => {
    for (const key of [null, testKey(1)]) {
      const grown = spec(key === null ? 0x51 : 0x52, layerId(0x11), { key })
      await volumes.ensureLayer(grown)
      for (const sizeGib of [5, 5, 3]) await volumes.ensureSize({ ...grown, sizeGib })
    }
    await expect(volumes.ensureSize(spec(0x59))).rejects.toThrow(`the layer ${layerId(0x59)} is not on this host`)
  })

  test('fills a layer with what a chain shows; it is there when it is whole, and done from then on', async () => {
    await volumes.ensureLayer(spec(0x61))
    await volumes.ensureLayer(spec(0x62, layerId(0x61), { key: testKey(1) }))
    for (const number of [0x61, 0x62]) await volumes.ensureSealed(layerId(number))
    const chain = [refTo(volumes, spec(0x62, null, { key: testKey(1) })), refTo(volumes, spec(0x61))]
    const copy = spec(0x63, null, { key: testKey(2) })
    expect(await volumes.ensureFilled(copy, { chain })).toMatchObject({ state: 'running' })
    expect(await volumes.has(copy.layerId)).toBe(false)
    expect(await filled(volumes, copy, { chain })).toEqual({ state: 'done' })
    expect(await volumes.has(copy.layerId)).toBe(true)
    expect(await store.driver().ensureFilled(copy, { chain })).toEqual({ state: 'done' })
  })

  test('what a driver has not filled when it ends is begun anew by the next', async () => {
    const [former, next] = [store.driver(), store.driver()]
    const chain = [refTo(volumes, spec(0x61))]
    await former.ensureFilled(spec(0x64), { chain })
    await former.close()
    expect(await next.has(layerId(0x64))).toBe(false)
    expect(await filled(next, spec(0x64), { chain })).toEqual({ state: 'done' })
    await next.close()
  })

  test('deleting a layer ends what fills it', async () => {
    const chain = [refTo(volumes, spec(0x61))]
    await volumes.ensureFilled(spec(0x65), { chain })
    await volumes.ensureDeleted(layerId(0x65))
    expect(await volumes.has(layerId(0x65))).toBe(false)
    expect(await filled(volumes, spec(0x65), { chain })).toEqual({ state: 'done' })
  })

  test('fills no layer over another, and none from layers that are missing or may still change', async () => {
    const chain = [refTo(volumes, spec(0x61))]
    await expect(volumes.ensureFilled(spec(0x66, layerId(0x61)), { chain })).rejects.toThrow('stands alone')
    const missing = { chain: [refTo(volumes, spec(0x69))] }
    await expect(filled(volumes, spec(0x66), missing)).rejects.toThrow(`the layer ${layerId(0x69)} is not on this host`)
    await volumes.ensureLayer(spec(0x67))
    const open = { chain: [refTo(volumes, spec(0x67))] }
    await expect(filled(volumes, spec(0x66), open)).rejects.toThrow(`the layer ${layerId(0x67)} is not immutable yet`)
    await volumes.ensureSealed(layerId(0x67))
    expect(await filled(volumes, spec(0x66), open)).toEqual({ state: 'done' })
  })

  test('tells of every layer what it takes, and how much room there is', async () => {
    const { bytesOf, freeBytes, totalBytes } = await volumes.usage()
    expect([...bytesOf.keys()].toSorted()).toEqual(await volumes.list())
    for (const bytes of bytesOf.values()) expect(bytes).toBeGreaterThanOrEqual(0)
    expect(freeBytes).toBeGreaterThan(0)
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes)
  })

  test.each(['', '..', 'lay-', '../layers/lay-00000001', 'lay-00000001/../x', 'lay-00000001\0', 'i-00000001'])(
    'refuses %j as a layer\'s id', async (id) => {
      const refused = 'not a layer\'s id'
      expect(() => volumes.pathOf(id)).toThrow(refused)
      await expect(volumes.ensureLayer({ ...spec(0x71), layerId: id })).rejects.toThrow(refused)
      await expect(volumes.ensureLayer(spec(0x71, id))).rejects.toThrow(refused)
      await expect(volumes.ensureFilled({ ...spec(0x71), layerId: id }, { chain: [] })).rejects.toThrow(refused)
      await expect(volumes.ensureSealed(id)).rejects.toThrow(refused)
      await expect(volumes.ensureSize({ ...spec(0x71), layerId: id })).rejects.toThrow(refused)
      await expect(volumes.ensureDeleted(id)).rejects.toThrow(refused)
      await expect(volumes.has(id)).rejects.toThrow(refused)
      expect(await volumes.has(layerId(0x71))).toBe(false)
    },
  )

  test.each([0, -1, 0.5, Number.NaN, Infinity])('refuses a size of %d GiB', async (sizeGib) => {
    for (const refused of [
      volumes.ensureLayer(spec(0x72, null, { sizeGib })), volumes.ensureSize(spec(0x72, null, { sizeGib })),
      volumes.ensureFilled(spec(0x72, null, { sizeGib }), { chain: [] }),
    ]) await expect(refused).rejects.toThrow('whole number of GiB')
    expect(await volumes.has(layerId(0x72))).toBe(false)
  })
}

describe('simulated volumes', () => contract(simStore))

describe.skipIf(!HAS_QEMU_IMG)('qcow2 volumes', () => contract(qcow2Store))

describe.skipIf(!HAS_QEMU_IMG)('qcow2 volumes on disk', () => {
  let store: RealStore
  let volumes: Volumes
  const base = layerId(1, 'snap')
  beforeAll(async () => {
    store = qcow2Store()
    volumes = store.driver()
    await volumes.importLayer(base, store.image('layer.qcow2', 3 * 1024))
  })
  afterAll(() => store?.close())

  test('a layer names the one under it relative to itself, so that a home can be moved', async () => {
    await volumes.ensureLayer(spec(0x11, base, { sizeGib: 8 }))
    expect(imageInfo(volumes.pathOf(layerId(0x11)))).toMatchObject({
      'virtual-size': 8 * GIB, 'backing-filename': `../layers/${base}.qcow2`, 'backing-filename-format': 'qcow2',
    })
    const moved = join(store.parent, 'moved')
    renameSync(store.home, moved)
    const file = join(moved, 'layers', `${layerId(0x11)}.qcow2`)
    const read = execFileSync('qemu-io', ['-f', 'qcow2', '-r', '-c', 'read -v 0 16', file])
    renameSync(moved, store.home)
    // In its dump a space is shown as a dot.
    expect(read.toString()).toContain('layer.layer.qcow')
  })

  test('a layer is at least as large as the one under it', async () => {
    await volumes.ensureLayer(spec(0x12, base))
    expect(imageInfo(volumes.pathOf(layerId(0x12)))['virtual-size']).toBe(3 * GIB)
  })

  test.each([1, 100, 16 * 1024, 64 * 1024])('a new layer of %d GiB is a sound qcow2 file, plain or encrypted', async (sizeGib) => {
    for (const key of [null, testKey(1)]) {
      const made = spec(key === null ? 0x13 : 0x14, base, { sizeGib, key })
      await volumes.ensureLayer(made)
      const chain = [refTo(volumes, made), refTo(volumes, { layerId: base, key: null })]
      qemuIo(chain, 'write -P 0x55 1M 128k', `write -P 0x66 ${sizeGib * GIB - 65_536} 64k`)
      const alone = chain.slice(0, 1)
      const check = execFileSync('qemu-img', ['check', ...keyArguments(alone), diskArgument(alone)], { encoding: 'utf8' })
      expect(check).toContain('No errors were found')
      await volumes.ensureDeleted(made.layerId)
    }
  })

  test('a layer that is there keeps its data whatever is asked', async () => {
    const file = volumes.pathOf(layerId(0x15))
    writeFileSync(file, 'a guest\'s data')
    await volumes.ensureLayer(spec(0x15, base, { sizeGib: 5 }))
    expect(await volumes.ensureFilled(spec(0x15), { chain: [] })).toEqual({ state: 'done' })
    expect(readFileSync(file, 'utf8')).toBe('a guest\'s data')
    await volumes.ensureDeleted(layerId(0x15))
  })

  test('an imported layer is read-only, the source is gone, and later imports do not replace it', async () => {
    const file = volumes.pathOf(base)
    expect(statSync(file).mode & 0o777).toBe(0o444)
    expect(existsSync(join(store.parent, 'layer.qcow2'))).toBe(false)
    const before = readFileSync(file)
    await volumes.importLayer(base, store.image('other.qcow2', 1))
    expect(readFileSync(file).equals(before)).toBe(true)
  })

  test('folders can be passed but not listed by others; a new layer is nobody else\'s, a sealed one nobody\'s to write', async () => {
    for (const folder of ['', 'volumes', 'layers']) expect(statSync(join(store.home, folder)).mode & 0o777).toBe(0o711)
    await volumes.ensureLayer(spec(0x16))
    expect(statSync(volumes.pathOf(layerId(0x16))).mode & 0o777).toBe(0o600)
    await volumes.ensureSealed(layerId(0x16))
    expect(statSync(volumes.pathOf(layerId(0x16)))).toMatchObject({ mode: 0o100444, uid: process.getuid?.() })
  })

  test('what a crash left unfinished is not a layer, and is swept away, also when another process has the pid of its maker', async () => {
    const folder = join(store.home, 'layers')
    // Pids end below 2^22, so no process has the first of these; the others are this process's, but for when it began.
    const left = ['99999999.1', '99999999.17-1', `${process.pid}.17-1`, `${process.pid}.1`]
    for (const name of left) writeFileSync(join(folder, `.${layerId(0x17)}.${name}.tmp`), 'half a layer')
    expect(await volumes.list()).not.toContain(layerId(0x17))
    await volumes.ensureLayer(spec(0x17))
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
    expect(imageInfo(volumes.pathOf(layerId(0x17)))['virtual-size']).toBe(GIB)
    await volumes.ensureDeleted(layerId(0x17))
    for (const name of left) writeFileSync(join(folder, `.${layerId(0x17)}.${name}.tmp`), 'half a layer')
    await volumes.ensureDeleted(layerId(0x17))
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('refuses to import what is no image, what is missing, a link, a folder, and another layer', async () => {
    const refused = async (file: string, why: string) => {
      await expect(volumes.importLayer(layerId(2, 'snap'), file)).rejects.toThrow(why)
      expect(await volumes.has(layerId(2, 'snap'))).toBe(false)
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
    await refused(volumes.pathOf(base), 'among the layers already')
  })

  test('refuses to import an image that refers to another file, which its guest could then read', async () => {
    const overlay = join(store.parent, 'overlay.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/passwd', overlay])
    await expect(volumes.importLayer(layerId(3, 'snap'), overlay)).rejects.toThrow('/etc/passwd')
    const split = join(store.parent, 'split.qcow2')
    const data = join(store.parent, 'split.data')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${data}`, split, '1M'])
    await expect(volumes.importLayer(layerId(3, 'snap'), split)).rejects.toThrow('split.data')
    expect(await volumes.has(layerId(3, 'snap'))).toBe(false)
  })
})
