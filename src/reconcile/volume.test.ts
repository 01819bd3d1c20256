import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  addSnapshot, addVolume, addVolumeRow, crashEverywhere, layerRows, openDiskAgent, problemsAtRest, snapshotRow, volumeRow, type DiskAgent,
} from '../../test/support/disk-agent.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { insertVolume } from '../ec2/new-volume.ts'
import { requestFreeze } from '../model/freeze.ts'
import { createMemoryKeys } from '../keys/memory-keys.ts'
import { layerDoc, releaseLayer } from '../model/layer.ts'
import { enqueue } from '../store/work.ts'
import { MAX_MAKE_FAILURES } from './volume.ts'

let agent: DiskAgent
beforeEach(async () => {
  agent = await openDiskAgent()
})
afterEach(() => agent.close())

/** CreateSnapshot of a volume that is as it is in the database now. */
const freeze = (lab: DiskAgent, volumeId: string) => lab.run(async (context) => {
  const volume = await context.db.selectFrom('volumes').selectAll().where('volume_id', '=', volumeId).executeTakeFirstOrThrow()
  const layers = await requestFreeze(context, [volume], 'crash')
  return addSnapshot(context, volume, layers.get(volumeId) ?? '')
})
const change = (lab: DiskAgent, volumeId: string, set: object) => lab.run(async ({ db, nowMs }) => {
  await db.updateTable('volumes').set(set).where('volume_id', '=', volumeId).execute()
  await enqueue(db, { kind: 'volume', id: volumeId, hostId: HOST_ID }, nowMs)
})

describe('a volume without an instance', () => {
  it('is available once its file is there', async () => {
    const { volume_id: id } = await addVolume(agent)
    expect(await volumeRow(agent, id)).toMatchObject({ state: 'available', ready: 1, synced_revision: 1 })
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('has its snapshot without anybody being asked: what it wrote becomes immutable, and it goes on above it', async () => {
    const { volume_id: id } = await addVolume(agent)
    const snapshotId = await freeze(agent, id)
    await agent.settle()
    const snapshot = await snapshotRow(agent, snapshotId)
    const volume = await volumeRow(agent, id)
    expect(snapshot?.state).toBe('completed')
    expect(volume).toMatchObject({ next_layer_id: null, freeze: null })
    expect((await layerRows(agent)).find((row) => row.layer_id === volume?.layer_id)).toMatchObject({ parent_id: snapshot?.layer_id, state: 'open' })
  })

  it('becomes larger, and its modification is complete when it is', async () => {
    const { volume_id: id, account_id } = await addVolume(agent)
    await agent.run(({ db, nowMs }) => db.insertInto('volume_modifications')
      .values({ volume_id: id, account_id, state: 'modifying', started_ms: nowMs, ended_ms: null, doc: '{}' }).execute())
    await change(agent, id, { size_gib: 20, revision: 2 })
    await agent.settle()
    const volume = await volumeRow(agent, id)
    expect(volume?.synced_revision).toBe(2)
    expect(agent.world.layers.get(volume?.layer_id ?? '')?.sizeGib).toBe(20)
    const [modification] = await agent.query((db) => db.selectFrom('volume_modifications').selectAll().execute())
    expect(modification).toMatchObject({ state: 'completed', ended_ms: agent.clock.now() })
  })

  it('that is deleted while a snapshot waits leaves the snapshot behind, whole', async () => {
    const { volume_id: id } = await addVolume(agent)
    const snapshotId = await freeze(agent, id)
    await change(agent, id, { state: 'deleting' })
    await agent.settle()
    expect(await volumeRow(agent, id)).toBeUndefined()
    expect((await snapshotRow(agent, snapshotId))?.state).toBe('completed')
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('that cannot be made is in error after some tries', async () => {
    const { volume_id: parent } = await addVolume(agent)
    const under = await volumeRow(agent, parent)
    agent.world.layers.delete(under?.layer_id ?? '')
    const { volume_id: id } = await addVolume(agent, undefined, { layer_id: under?.layer_id ?? '' })
    expect((await volumeRow(agent, id))?.state).toBe('error')
    expect(agent.failures).toHaveLength(MAX_MAKE_FAILURES - 1)
    await change(agent, id, { state: 'deleting' })
    await agent.settle()
    expect((await layerRows(agent)).map((row) => row.layer_id)).toEqual([under?.layer_id])
  })

  it('that finds the disk full waits for room, however long that takes', async () => {
    let isFull = true
    agent.wrapped.volumes = (driver) => {
      const make = driver.ensureLayer.bind(driver)
      driver.ensureLayer = (spec) =>
        isFull ? Promise.reject(Object.assign(new Error('no room'), { code: 'ENOSPC' })) : make(spec)
    }
    agent.restart()
    const id = await agent.run(async (context) => (await addVolumeRow(context)).volume_id)
    for (let tries = 0; tries < 3 * MAX_MAKE_FAILURES; tries++) await agent.settle(0).then(() => agent.clock.advance(1000))
    expect((await volumeRow(agent, id))?.state).toBe('creating')
    isFull = false
    await agent.settle()
    expect((await volumeRow(agent, id))?.state).toBe('available')
  })
})

describe('an encrypted volume', () => {
  it('has a data key of its own before it has a file, and so has what it goes on in', async () => {
    const keys: (string | null)[] = []
    agent.wrapped.volumes = (driver) => {
      const make = driver.ensureLayer.bind(driver)
      driver.ensureLayer = (spec) => {
        keys.push(spec.key)
        return make(spec)
      }
    }
    agent.restart()
    const { volume_id: id } = await addVolume(agent)
    await agent.run(async ({ db }) => {
      const volume = await db.selectFrom('volumes').select('layer_id').where('volume_id', '=', id).executeTakeFirstOrThrow()
      await db.updateTable('layers').set({ doc: '{"kmsKeyId":"key-1"}' }).where('layer_id', '=', volume.layer_id).execute()
    })
    await freeze(agent, id)
    await agent.settle()
    const head = (await volumeRow(agent, id))?.layer_id
    const { kmsKeyId, wrappedKey } = layerDoc((await layerRows(agent)).find((row) => row.layer_id === head) ?? { doc: '{}' })
    expect(kmsKeyId).toBe('key-1')
    expect(keys).toEqual([null, await createMemoryKeys().unwrap('key-1', wrappedKey ?? '')])
  })
})

it('an agent that dies anywhere between CreateVolume and the end of DeleteVolume loses no snapshot and leaves no file', async () => {
  await crashEverywhere(async (lab, mortal) => {
    const { id, snapshotId } = await mortal(async () => {
      const { volume_id: volumeId } = await addVolume(lab)
      const snapshot = await freeze(lab, volumeId)
      await lab.settle()
      await change(lab, volumeId, { size_gib: 9, revision: 2 })
      await lab.settle()
      await change(lab, volumeId, { state: 'deleting' })
      await lab.settle()
      return { id: volumeId, snapshotId: snapshot }
    })
    expect((await snapshotRow(lab, snapshotId))?.state).toBe('completed')
    expect(await volumeRow(lab, id)).toBeUndefined()
    expect(await problemsAtRest(lab)).toEqual([])
  })
})

describe('an encrypted volume of a plain snapshot', () => {
  /** A plain snapshot of a volume that holds 7 in its first block; its source is deleted. */
  async function plainSnapshot(lab: DiskAgent): Promise<string> {
    const { volume_id: id, layer_id: layerId } = await addVolume(lab)
    lab.world.layers.get(layerId)?.data.set(0, 7)
    const snapshotId = await freeze(lab, id)
    await lab.settle()
    await change(lab, id, { state: 'deleting' })
    await lab.settle()
    return snapshotId
  }
  /** CreateVolume with Encrypted. */
  const encrypted = (lab: DiskAgent, snapshotId: string) => lab.run((context) => insertVolume(
    context, { sizeGib: 8, volumeType: 'gp3', snapshotId, iops: 3000, throughputMibps: 125, kmsKeyId: 'key-1' },
    { hostId: HOST_ID, zone: 'us-east-1a', attachment: null }, [],
  ))
  const dropSnapshot = (lab: DiskAgent, id: string) => lab.run(async (context) => {
    const { layer_id: layerId } = await context.db
      .selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', id).executeTakeFirstOrThrow()
    await context.db.deleteFrom('snapshots').where('snapshot_id', '=', id).execute()
    await releaseLayer(context.db, layerId ?? '', context.nowMs)
  })

  it('has the snapshot\'s data, and no file of it is plain, also when the snapshot goes meanwhile', async () => {
    const snapshotId = await plainSnapshot(agent)
    const volume = await encrypted(agent, snapshotId)
    await dropSnapshot(agent, snapshotId)
    await agent.settle()
    expect(await volumeRow(agent, volume.volume_id)).toMatchObject({ state: 'available', ready: 1, encrypted: 1 })
    expect([...agent.world.dataOf(volume.layer_id)]).toEqual([[0, 7]])
    expect(agent.world.layers.size).toBe(2)
    expect([...agent.world.layers.values()].filter((layer) => layer.key === null)).toEqual([])
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('is in error when its data cannot be copied, and leaves nothing behind when it is deleted', async () => {
    const snapshotId = await plainSnapshot(agent)
    agent.wrapped.volumes = (driver) => {
      driver.ensureFilled = () => Promise.resolve({ state: 'failed', reason: 'the layer is damaged' })
    }
    agent.restart()
    const { volume_id: id } = await encrypted(agent, snapshotId)
    await agent.settle()
    expect((await volumeRow(agent, id))?.state).toBe('error')
    expect((await volumeRow(agent, id))?.doc).toContain('the layer is damaged')
    await change(agent, id, { state: 'deleting' })
    await dropSnapshot(agent, snapshotId)
    await agent.settle()
    expect(await layerRows(agent)).toEqual([])
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('may be deleted while it waits', async () => {
    const snapshotId = await plainSnapshot(agent)
    const { volume_id: id } = await encrypted(agent, snapshotId)
    await change(agent, id, { state: 'deleting' })
    await agent.settle()
    expect(await volumeRow(agent, id)).toBeUndefined()
    expect(await layerRows(agent)).toHaveLength(1)
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('comes about whatever crashes', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const snapshotId = await plainSnapshot(lab)
      const volume = await mortal(async () => {
        const made = await encrypted(lab, snapshotId)
        await lab.settle()
        return made
      })
      expect(await volumeRow(lab, volume.volume_id)).toMatchObject({ state: 'available', ready: 1 })
      expect([...lab.world.dataOf(volume.layer_id)]).toEqual([[0, 7]])
      expect(await problemsAtRest(lab)).toEqual([])
    })
  })
})
