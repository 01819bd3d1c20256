import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LayerRef, LayerSpec, Volumes } from '../../src/volumes/driver.ts'
import { filled, hasQemuImg, layerId, qcow2Store, qemuIo, refTo, testKey, type RealStore } from '../support/layer-files.ts'

describe.skipIf(!hasQemuImg())('copying between the homes of two regions', () => {
  let store: RealStore
  let there: Volumes
  let here: Volumes
  let hereHome: string
  beforeEach(() => {
    store = qcow2Store()
    there = store.driver()
    hereHome = join(store.home, 'regions', 'eu-west-1')
    // As ensureHome makes them: others pass through, and do not list.
    mkdirSync(hereHome, { recursive: true })
    chmodSync(join(store.home, 'regions'), 0o711)
    here = store.driver(hereHome)
  })
  afterEach(async () => {
    await there.close()
    await here.close()
    store.close()
  })

  /** A snapshot's two layers in the other region, from the top, with a block of its own in each. */
  async function chainThere(keys: [top: string | null, base: string | null]): Promise<LayerRef[]> {
    const base: LayerSpec = { layerId: layerId(1), sizeGib: 1, parentId: null, key: keys[1] }
    const top: LayerSpec = { layerId: layerId(2), sizeGib: 2, parentId: base.layerId, key: keys[0] }
    await there.ensureLayer(base)
    qemuIo([refTo(there, base)], 'write -P 1 0 64k', 'write -P 1 128k 64k')
    await there.ensureSealed(base.layerId)
    await there.ensureLayer(top)
    const chain = [refTo(there, top), refTo(there, base)]
    qemuIo(chain, 'write -P 2 64k 64k', 'write -P 2 1536M 64k')
    await there.ensureSealed(top.layerId)
    return chain
  }

  test.each<[string, [string | null, string | null], string | null]>([
    ['plain, of a plain one', [null, null], null],
    ['encrypted, of a plain one', [null, null], testKey(9)],
    ['encrypted under another key, of an encrypted one', [testKey(1), testKey(2)], testKey(9)],
    ['encrypted, of an encrypted one over a plain image', [testKey(1), null], testKey(9)],
  ])('makes one layer that stands alone: %s', async (_name, keys, key) => {
    const chain = await chainThere(keys)
    const copy: LayerSpec = { layerId: layerId(0x10), sizeGib: 2, parentId: null, key }
    expect(await filled(here, copy, { chain })).toEqual({ state: 'done' })
    await here.ensureSealed(copy.layerId)
    // What it was made of may go.
    await there.ensureDeleted(layerId(2))
    await there.ensureDeleted(layerId(1))
    qemuIo([refTo(here, copy)], 'read -P 1 0 64k', 'read -P 2 64k 64k', 'read -P 1 128k 64k', 'read -P 0 1M 1M', 'read -P 2 1536M 64k')
    expect(here.pathOf(copy.layerId)).toBe(join(hereHome, 'layers', `${copy.layerId}.qcow2`))
    expect(await there.list()).toEqual([])
  })

  test('fails to begin where the source is gone, and leaves nothing', async () => {
    const chain = await chainThere([null, null])
    await there.ensureDeleted(layerId(2))
    const copy: LayerSpec = { layerId: layerId(0x10), sizeGib: 2, parentId: null, key: null }
    await expect(filled(here, copy, { chain })).rejects.toThrow('is not on this host')
    await here.ensureDeleted(copy.layerId)
    expect(existsSync(here.pathOf(copy.layerId))).toBe(false)
    expect(readdirSync(join(hereHome, 'layers'))).toEqual([])
  })
})
