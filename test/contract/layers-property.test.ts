import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/core/random.ts'
import { hasQemuImg, qcow2Store, type RealStore } from '../support/layer-files.ts'
import { LayerTrees } from '../support/layer-trees.ts'
import { MortalVolumes } from '../support/mortal-volumes.ts'

// HEARTH_LAYER_TREES=100 makes more of them, HEARTH_LAYER_SEED replays some.
const TREES = Number(process.env.HEARTH_LAYER_TREES ?? 3)
const FIRST_SEED = Number(process.env.HEARTH_LAYER_SEED ?? 1)
const STEPS = 30

describe.skipIf(!hasQemuImg())('random trees of volumes, snapshots and copies, their process killed now and then', () => {
  let store: RealStore
  let deaths = 0
  beforeAll(() => {
    store = qcow2Store()
  })
  afterAll(() => store?.close())

  test.each(Array.from({ length: TREES }, (_unused, index) => FIRST_SEED + index))(
    'seed %d: after every step each of them holds what it did', { timeout: 120_000 }, async (seed) => {
      const home = join(store.home, String(seed))
      const [volumes, agent] = [store.driver(home), await MortalVolumes.create(home)]
      const trees = new LayerTrees({ random: seededRandom(seed), volumes, agent, folder: join(store.parent, `models-${seed}`) })
      try {
        for (let step = 0; step < STEPS; step++) await trees.step()
        await trees.checkAll()
        await trees.deleteAll()
      } catch (error) {
        throw new Error(`seed ${seed}, after ${trees.trace.length} steps:\n${trees.trace.join('\n')}`, { cause: error })
      } finally {
        await agent.close()
      }
      deaths += agent.deaths
    },
  )

  test('processes were killed on the way', () => {
    expect(deaths).toBeGreaterThan(0)
  })
})
