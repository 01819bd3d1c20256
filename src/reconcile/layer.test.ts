import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  addSnapshot, addVolume, crashEverywhere, layerRows, openDiskAgent, problemsAtRest, snapshotRow, type DiskAgent,
} from '../../test/support/disk-agent.ts'
import { HOST_ID, insertImage, insertLayerRow } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { requestFreeze } from '../model/freeze.ts'
import { insertLayer, layerDoc, MOST_LAYERS, releaseLayer, type LayerSource } from '../model/layer.ts'
import { enqueue } from '../store/work.ts'

let agent: DiskAgent
beforeEach(async () => {
  agent = await openDiskAgent()
})
afterEach(() => agent.close())

/** As many snapshots of a new volume, one after the other; their ids, oldest first. */
async function snapshotsOf(lab: DiskAgent, count: number, horizonMs?: number): Promise<string[]> {
  const { volume_id: id } = await addVolume(lab)
  const made: string[] = []
  for (let each = 0; each < count; each++) {
    made.push(await lab.run(async (context) => {
      const volume = await context.db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirstOrThrow()
      // Every layer holds something of its own, and nobody looks into it but the test.
      lab.world.layers.get(volume.layer_id)?.data.set(each, each + 1)
      return addSnapshot(context, volume, (await requestFreeze(context, [volume], 'crash')).get(id) ?? '')
    }))
    await lab.settle(horizonMs)
  }
  return made
}

/** A copy of what that layer holds, as CopySnapshot asks for one: the ids of the snapshot and its layer. */
const copyOf = (lab: DiskAgent, source: LayerSource, kmsKeyId?: string) => lab.run(async (context) => {
  const layer = await insertLayer(context, {
    account: DEFAULT_ACCOUNT, hostId: HOST_ID, parent: null, state: 'filling', sizeGib: 8,
    doc: { source, ...(kmsKeyId === undefined ? {} : { kmsKeyId }) },
  })
  await enqueue(context.db, { kind: 'layer', id: layer.layer_id, hostId: HOST_ID }, context.nowMs)
  const volume = { account_id: DEFAULT_ACCOUNT, size_gib: 8, volume_id: 'vol-ffffffff' } as Parameters<typeof addSnapshot>[1]
  return { layerId: layer.layer_id, snapshotId: await addSnapshot(context, volume, layer.layer_id) }
})
const deleteSnapshot = (lab: DiskAgent, id: string) => lab.run(async ({ db, nowMs }) => {
  const { layer_id: layerId } = await db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', id).executeTakeFirstOrThrow()
  await db.deleteFrom('snapshots').where('snapshot_id', '=', id).execute()
  if (layerId !== null) await releaseLayer(db, layerId, nowMs)
})
const layerOf = async (lab: DiskAgent, snapshotId: string) => (await snapshotRow(lab, snapshotId))?.layer_id ?? ''
const rowOf = async (lab: DiskAgent, layerId: string) => (await layerRows(lab)).find((row) => row.layer_id === layerId)

describe('a copy of a snapshot', () => {
  it('is complete when it is whole, and keeps nothing of its source', async () => {
    const [snapshotId = ''] = await snapshotsOf(agent, 1)
    const source = await layerOf(agent, snapshotId)
    const copy = await copyOf(agent, { layerId: source }, 'key-1')
    await deleteSnapshot(agent, snapshotId)
    await agent.settle()
    expect((await snapshotRow(agent, copy.snapshotId))?.state).toBe('completed')
    expect(await rowOf(agent, copy.layerId)).toMatchObject({ state: 'sealed', parent_id: null, depth: 0 })
    expect([...agent.world.dataOf(copy.layerId)]).toEqual([[0, 1]])
    expect(agent.world.layers.get(copy.layerId)?.key).not.toBeNull()
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('that cannot be made is in error, and so is an image of it', async () => {
    agent.wrapped.volumes = (driver) => {
      driver.ensureFilled = () => Promise.resolve({ state: 'failed', reason: 'the file ends too early' })
    }
    agent.restart()
    const copy = await copyOf(agent, { file: '/import/disk.vmdk', format: 'vmdk' })
    const image = await agent.run(async (context) => {
      const { image_id: id } = await insertImage(context, { state: 'pending', snapshot_id: copy.snapshotId })
      await context.db.updateTable('image_snapshots').set({ snapshot_id: copy.snapshotId }).where('image_id', '=', id).execute()
      return id
    })
    await agent.settle()
    const snapshot = await snapshotRow(agent, copy.snapshotId)
    expect([snapshot?.state, snapshot?.doc]).toEqual(['error', JSON.stringify({ stateMessage: 'the file ends too early' })])
    const row = await agent.query((db) => db.selectFrom('images').selectAll().where('image_id', '=', image).executeTakeFirst())
    expect(row?.state).toBe('failed')
    await agent.run(({ db }) => db.deleteFrom('image_snapshots').execute())
    await agent.run(({ db }) => db.deleteFrom('images').execute())
    await deleteSnapshot(agent, copy.snapshotId)
    await agent.settle()
    expect(await rowOf(agent, copy.layerId)).toBeUndefined()
  })

  it('waits while two others are being made, and shows how far it is', async () => {
    const begun = new Set<string>()
    let percent = 10
    agent.wrapped.volumes = (driver) => {
      const fill = driver.ensureFilled.bind(driver)
      driver.ensureFilled = (spec, source) => {
        begun.add(spec.layerId)
        return percent < 100 ? Promise.resolve({ state: 'running', percent }) : fill(spec, source)
      }
    }
    agent.restart()
    const [snapshotId = ''] = await snapshotsOf(agent, 1)
    const copies = []
    for (let count = 0; count < 3; count++) copies.push(await copyOf(agent, { layerId: await layerOf(agent, snapshotId) }))
    await agent.settle(0)
    expect(begun.size).toBe(2)
    const progress = (await layerRows(agent)).map(layerDoc).flatMap((doc) => doc.progress ?? [])
    expect(progress.toSorted((a, b) => a - b)).toEqual([0, 10, 10])
    percent = 100
    await agent.settle()
    for (const copy of copies) expect((await snapshotRow(agent, copy.snapshotId))?.state).toBe('completed')
  })
})

describe('a snapshot on a long chain', () => {
  it('is given a copy that stands alone, with the same in it', async () => {
    const made = await snapshotsOf(agent, MOST_LAYERS + 1)
    const last = await layerOf(agent, made.at(-1) ?? '')
    expect(await rowOf(agent, last)).toMatchObject({ state: 'sealed', parent_id: null, depth: 0, replaces_id: null })
    expect([...agent.world.dataOf(last)].toSorted(([a], [b]) => a - b)).toEqual(made.map((_id, index) => [index, index + 1]))
    const before = await layerOf(agent, made.at(-2) ?? '')
    expect(await rowOf(agent, before)).toMatchObject({ depth: MOST_LAYERS - 1 })
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('that is deleted in the meantime needs none', async () => {
    let isHeld = true
    agent.wrapped.volumes = (driver) => {
      const fill = driver.ensureFilled.bind(driver)
      driver.ensureFilled = (spec, source) => (isHeld ? Promise.resolve({ state: 'running', percent: 1 }) : fill(spec, source))
    }
    agent.restart()
    await snapshotsOf(agent, MOST_LAYERS + 1, 0)
    const deep = await agent.query((db) =>
      db.selectFrom('layers').selectAll().where('replaces_id', 'is not', null).executeTakeFirstOrThrow())
    const snapshot = await agent.query((db) =>
      db.selectFrom('snapshots').select('snapshot_id').where('layer_id', '=', deep.replaces_id ?? '').executeTakeFirstOrThrow())
    await deleteSnapshot(agent, snapshot.snapshot_id)
    isHeld = false
    await agent.settle()
    expect(await rowOf(agent, deep.layer_id)).toBeUndefined()
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('keeps its chain where the copy fails, and that is not tried for ever', async () => {
    agent.wrapped.volumes = (driver) => {
      driver.ensureFilled = () => Promise.resolve({ state: 'failed', reason: 'cannot' })
    }
    agent.restart()
    const made = await snapshotsOf(agent, MOST_LAYERS + 1)
    const last = await rowOf(agent, await layerOf(agent, made.at(-1) ?? ''))
    expect(last).toMatchObject({ state: 'sealed', depth: MOST_LAYERS })
    expect(layerDoc(last ?? { doc: '{}' }).error).toBe('cannot')
    expect((await snapshotRow(agent, made.at(-1) ?? ''))?.state).toBe('completed')
    expect(await problemsAtRest(agent)).toEqual([])
  })
})

/** A volume on as many sealed layers as a chain may have, each of which holds something. */
async function volumeOnChain(lab: DiskAgent): Promise<{ volumeId: string; lowestId: string }> {
  const ids: string[] = []
  await lab.run(async (context) => {
    for (let depth = 0; depth < MOST_LAYERS; depth++) {
      const { layer_id: id } = await insertLayerRow(context, { parent_id: ids.at(-1) ?? null, depth, size_gib: 8 })
      lab.world.makeLayer({ layerId: id, sizeGib: 8, parentId: ids.at(-1) ?? null, key: null })
      lab.world.layers.get(id)?.data.set(depth, depth)
      lab.world.sealLayer(id)
      ids.push(id)
    }
  })
  const { volume_id: volumeId } = await addVolume(lab, undefined, { layer_id: ids.at(-1) ?? '' })
  return { volumeId, lowestId: ids[0] ?? '' }
}

it('an agent that dies anywhere while a copy is made, or a long chain becomes one layer, ends with the same', async () => {
  const points = await crashEverywhere(async (lab) => {
    const { volumeId, lowestId } = await volumeOnChain(lab)
    const last = await lab.run(async (context) => {
      const volume = await context.db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow()
      return addSnapshot(context, volume, (await requestFreeze(context, [volume], 'crash')).get(volumeId) ?? '')
    })
    const copy = await copyOf(lab, { layerId: lowestId })
    await lab.settle()
    expect((await snapshotRow(lab, copy.snapshotId))?.state).toBe('completed')
    expect((await snapshotRow(lab, last))?.state).toBe('completed')
    const layerId = await layerOf(lab, last)
    expect((await rowOf(lab, layerId))?.depth).toBe(0)
    expect(lab.world.dataOf(layerId).size).toBe(MOST_LAYERS)
    expect(await problemsAtRest(lab)).toEqual([])
    for (const id of [last, copy.snapshotId]) await deleteSnapshot(lab, id)
    await lab.run(async ({ db, nowMs }) => {
      await db.updateTable('volumes').set({ state: 'deleting' }).where('volume_id', '=', volumeId).execute()
      await enqueue(db, { kind: 'volume', id: volumeId, hostId: HOST_ID }, nowMs)
    })
    await lab.settle()
    expect(await layerRows(lab)).toEqual([])
  })
  expect(points).toBeGreaterThan(30)
})
