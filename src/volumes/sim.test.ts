import { beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { createSimWorld, type SimWorld } from '../hypervisor/sim-world.ts'
import type { LayerSpec, Volumes } from './driver.ts'
import { createSimVolumes } from './sim.ts'

const TOOK_MS = 1000
let clock: VirtualClock
let world: SimWorld
let volumes: Volumes
beforeEach(() => {
  const random = seededRandom(1)
  clock = new VirtualClock(random)
  world = createSimWorld({ clock, random, delays: { bootMs: [0, 0], shutdownMs: [0, 0], unplugMs: [0, 0] } })
  volumes = createSimVolumes({ world, clock, random, delays: { createMs: [0, 0], deleteMs: [0, 0], importMs: [TOOK_MS, TOOK_MS] } })
})

const spec = (digit: number, parentId: string | null = null, key: string | null = null): LayerSpec =>
  ({ layerId: `lay-${String(digit).repeat(8)}`, sizeGib: 1, parentId, key })
const ref = ({ layerId, key }: LayerSpec) => ({ layerId, path: volumes.pathOf(layerId), key })

/** Virtual time goes on. */
async function pass(milliseconds: number): Promise<void> {
  clock.after(milliseconds, () => {})
  while (clock.step()) await new Promise((resolve) => setImmediate(resolve))
}

describe('a simulated layer that is filled', () => {
  const [bottom, top, copy] = [spec(1), spec(2, spec(1).layerId, 'key'), spec(3)]
  beforeEach(async () => {
    for (const layer of [bottom, top]) await volumes.ensureLayer(layer)
    for (const layer of [bottom, top]) await volumes.ensureSealed(layer.layerId)
  })

  test('tells how far it is, and is there at the end of its time', async () => {
    const source = { chain: [ref(top), ref(bottom)] }
    expect(await volumes.ensureFilled(copy, source)).toEqual({ state: 'running', percent: 0 })
    clock.after(TOOK_MS / 4, () => {})
    clock.step()
    expect(await volumes.ensureFilled(copy, source)).toEqual({ state: 'running', percent: 25 })
    await pass(TOOK_MS)
    expect(await volumes.ensureFilled(copy, source)).toEqual({ state: 'done' })
    expect(world.layers.get(copy.layerId)).toMatchObject({ parentId: null, isSealed: false })
  })

  test.each([
    ['without what is under it', () => [ref(top)], 'under lay-22222222 is lay-11111111, not lay-22222222'],
    ['in another order', () => [ref(bottom), ref(top)], 'under lay-22222222 is lay-11111111, not lay-11111111, lay-22222222'],
    ['under another key', () => [{ ...ref(top), key: 'another' }, ref(bottom)], 'the layer lay-22222222 has another key'],
  ])('is not made of a chain %s', async (_how, chain, why) => {
    const source = { chain: chain() }
    await volumes.ensureFilled(copy, source)
    await pass(TOOK_MS)
    await expect(volumes.ensureFilled(copy, source)).rejects.toThrow(why)
    expect(await volumes.ensureFilled(copy, source)).toMatchObject({ state: 'running' })
  })

  test('is not made on a full disk, nor by an agent that died', async () => {
    const source = { chain: [ref(bottom)] }
    world.isDiskFull = true
    await expect(volumes.ensureLayer(spec(4))).rejects.toThrow('no space left')
    await volumes.ensureFilled(copy, source)
    await pass(TOOK_MS)
    await expect(volumes.ensureFilled(copy, source)).rejects.toThrow('no space left')
    world.isDiskFull = false
    await volumes.ensureFilled(copy, source)
    await volumes.close()
    await pass(TOOK_MS)
    expect(world.layers.has(copy.layerId)).toBe(false)
  })
})
