import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  addSnapshot, addVolumeRow, crashEverywhere, layerRows, openDiskAgent, problemsAtRest, snapshotRow, type DiskAgent,
} from '../../test/support/disk-agent.ts'
import { HOST_ID, insertImage } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { requestFreeze } from '../model/freeze.ts'
import { insertKey } from '../model/kms-key.ts'
import { insertLayer, layerDoc, releaseLayer } from '../model/layer.ts'
import { enqueue } from '../store/work.ts'

const IRELAND = 'eu-west-1'

/** The region that is copied from, and the one that copies. */
let source: DiskAgent
let agent: DiskAgent
beforeEach(async () => {
  // Its ids are others.
  source = await openDiskAgent(undefined, 2)
  agent = await openDiskAgent()
  connect(agent)
})
afterEach(async () => {
  await agent.close()
  await source.close()
})

function connect(lab: DiskAgent): void {
  lab.wrapped.other = { region: IRELAND, store: source.store, world: source.world }
  lab.restart()
}

/** Snapshots of one volume in the source region, one on the other, each with a block of its own. */
async function snapshotsThere(count: number, kmsKeyId?: string): Promise<string[]> {
  const { volume_id: id } = await source.run((context) => addVolumeRow(context, undefined, {}, kmsKeyId))
  await source.settle()
  const made: string[] = []
  for (let each = 0; each < count; each++) {
    made.push(await source.run(async (context) => {
      const volume = await context.db.selectFrom('volumes').selectAll().where('volume_id', '=', id).executeTakeFirstOrThrow()
      source.world.layers.get(volume.layer_id)?.data.set(each, each + 1)
      return addSnapshot(context, volume, (await requestFreeze(context, [volume], 'crash')).get(id) ?? '')
    }))
    await source.settle()
  }
  return made
}

/** A pending copy here, as CopySnapshot writes it. */
const copyOf = (lab: DiskAgent, snapshotId: string, { region = IRELAND, kmsKeyId }: { region?: string; kmsKeyId?: string } = {}) =>
  lab.run(async (context) => {
    const layer = await insertLayer(context, {
      account: DEFAULT_ACCOUNT, hostId: HOST_ID, parent: null, state: 'filling', sizeGib: 8,
      doc: { source: { region, snapshotId }, ...(kmsKeyId === undefined ? {} : { kmsKeyId }) },
    })
    await enqueue(context.db, { kind: 'layer', id: layer.layer_id, hostId: HOST_ID }, context.nowMs)
    const volume = { account_id: DEFAULT_ACCOUNT, size_gib: 8, volume_id: 'vol-ffffffff' } as Parameters<typeof addSnapshot>[1]
    return { layerId: layer.layer_id, snapshotId: await addSnapshot(context, volume, layer.layer_id) }
  })

const deleteThere = (id: string) => source.run(async ({ db, nowMs }) => {
  const { layer_id: layerId } = await db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', id).executeTakeFirstOrThrow()
  await db.deleteFrom('snapshots').where('snapshot_id', '=', id).execute()
  if (layerId !== null) await releaseLayer(db, layerId, nowMs)
})

/** Fills take until they are let go on. */
function holdFills(lab: DiskAgent): { release: () => void } {
  const held = { isHeld: true }
  lab.wrapped.volumes = (driver) => {
    const fill = driver.ensureFilled.bind(driver)
    driver.ensureFilled = (spec, from) => (held.isHeld ? Promise.resolve({ state: 'running', percent: 30 }) : fill(spec, from))
  }
  lab.restart()
  return { release: () => void (held.isHeld = false) }
}

describe('a copy of a snapshot in another region', () => {
  it('holds what all of its layers show, stands alone, and outlives its source', async () => {
    const [, second = ''] = await snapshotsThere(2)
    const copy = await copyOf(agent, second)
    await agent.settle()
    expect((await snapshotRow(agent, copy.snapshotId))?.state).toBe('completed')
    await deleteThere(second)
    await source.settle()
    expect([...agent.world.dataOf(copy.layerId)].toSorted()).toEqual([[0, 1], [1, 2]])
    expect(await layerRows(agent)).toMatchObject([{ layer_id: copy.layerId, state: 'sealed', parent_id: null, depth: 0 }])
    expect(await problemsAtRest(agent)).toEqual([])
    expect(await problemsAtRest(source)).toEqual([])
  })

  it.each([['plain', undefined], ['encrypted', 'key-there']])(
    'that is %s there may be encrypted here, under a key of this region',
    async (_name, keyThere) => {
      const kmsKeyId = await agent.run((context) => insertKey(context, 'alias/here'))
      const [snapshotId = ''] = await snapshotsThere(1, keyThere)
      const copy = await copyOf(agent, snapshotId, { kmsKeyId })
      await agent.settle()
      const row = (await layerRows(agent)).find((each) => each.layer_id === copy.layerId)
      expect(row && layerDoc(row)).toMatchObject({ kmsKeyId, wrappedKey: expect.stringContaining(kmsKeyId) as string })
      expect([...agent.world.dataOf(copy.layerId)]).toEqual([[0, 1]])
      expect(await problemsAtRest(agent)).toEqual([])
    },
  )

  it('shows how far it is, and is in error when its source is deleted before it is whole; its image has failed', async () => {
    const [snapshotId = ''] = await snapshotsThere(1)
    holdFills(agent)
    const copy = await copyOf(agent, snapshotId)
    const imageId = await agent.run(async (context) => {
      const { image_id: id } = await insertImage(context, { state: 'pending', snapshot_id: copy.snapshotId })
      await context.db.updateTable('image_snapshots').set({ snapshot_id: copy.snapshotId }).where('image_id', '=', id).execute()
      return id
    })
    await agent.settle(0)
    const [row] = (await layerRows(agent)).filter((each) => each.layer_id === copy.layerId)
    expect(row && layerDoc(row).progress).toBe(30)
    await deleteThere(snapshotId)
    await agent.settle()
    expect(await snapshotRow(agent, copy.snapshotId)).toMatchObject({
      state: 'error', doc: JSON.stringify({ stateMessage: `The snapshot ${snapshotId} in eu-west-1 was deleted while it was copied.` }),
    })
    const image = await agent.query((db) => db.selectFrom('images').select('state').where('image_id', '=', imageId).executeTakeFirst())
    expect(image?.state).toBe('failed')
    expect(agent.world.layers.has(copy.layerId)).toBe(false)
  })

  it('that is whole when its source is deleted is complete', async () => {
    const [snapshotId = ''] = await snapshotsThere(1)
    const held = holdFills(agent)
    const copy = await copyOf(agent, snapshotId)
    await agent.settle(0)
    // As if the file got its name just before.
    agent.world.makeLayer({ layerId: copy.layerId, sizeGib: 8, parentId: null, key: null }, [source.world.dataOf(await layerThere(snapshotId))])
    await deleteThere(snapshotId)
    held.release()
    await agent.settle()
    expect((await snapshotRow(agent, copy.snapshotId))?.state).toBe('completed')
    expect([...agent.world.dataOf(copy.layerId)]).toEqual([[0, 1]])
  })

  it('that lies in the recycle bin there, or in a region that is no more, is in error', async () => {
    const [snapshotId = ''] = await snapshotsThere(1)
    await source.run(({ db }) => db.updateTable('snapshots').set({ binned_ms: 1 }).where('snapshot_id', '=', snapshotId).execute())
    const copies = [await copyOf(agent, snapshotId), await copyOf(agent, snapshotId, { region: 'us-west-2' })]
    await agent.settle()
    const messages = await Promise.all(copies.map(async (copy) => (await snapshotRow(agent, copy.snapshotId))?.doc))
    expect(messages[0]).toContain('was deleted while it was copied')
    expect(messages[1]).toContain('This cloud has no region us-west-2 any more.')
  })

  it('is the same whenever the agent dies, and leaves nothing else', async () => {
    const [, second = ''] = await snapshotsThere(2, 'key-there')
    const points = await crashEverywhere(async (lab, mortal) => {
      connect(lab)
      const copy = await copyOf(lab, second, { kmsKeyId: 'key-here' })
      await mortal(() => lab.settle())
      expect((await snapshotRow(lab, copy.snapshotId))?.state).toBe('completed')
      expect([...lab.world.dataOf(copy.layerId)].toSorted()).toEqual([[0, 1], [1, 2]])
      expect(await problemsAtRest(lab)).toEqual([])
    })
    expect(points).toBeGreaterThan(8)
    expect(await problemsAtRest(source)).toEqual([])
  })
})

async function layerThere(snapshotId: string): Promise<string> {
  return (await snapshotRow(source, snapshotId))?.layer_id ?? ''
}
