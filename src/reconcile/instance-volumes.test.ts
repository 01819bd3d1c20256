import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  addInstance, addSnapshot, addVolume, crashEverywhere, layerRows, openDiskAgent, problemsAtRest, snapshotRow, volumeRow, type DiskAgent,
} from '../../test/support/disk-agent.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import type { Context } from '../ec2/context.ts'
import { DisksError } from '../hypervisor/driver.ts'
import { requestFreeze, type FreezeMode } from '../model/freeze.ts'
import { instanceDoc } from '../model/instance.ts'
import { MOST_LAYERS, releaseLayer } from '../model/layer.ts'
import { DAY_MS, type RecycleRuleDoc } from '../model/recycle-rules.ts'
import { enqueue } from '../store/work.ts'

let agent: DiskAgent
beforeEach(async () => {
  agent = await openDiskAgent()
})
afterEach(() => agent.close())

/** CreateSnapshots of all volumes of an instance. */
const freezeAll = (lab: DiskAgent, instanceId: string, mode: FreezeMode = 'crash') => lab.run(async (context) => {
  const volumes = await context.db
    .selectFrom('volumes').selectAll().where('instance_id', '=', instanceId).orderBy('device').execute()
  const layers = await requestFreeze(context, volumes, mode)
  const ids: string[] = []
  for (const volume of volumes) ids.push(await addSnapshot(context, volume, layers.get(volume.volume_id) ?? ''))
  return ids
})
const mark = ({ db, nowMs }: Context, id: string) => enqueue(db, { kind: 'instance', id, hostId: HOST_ID }, nowMs)
/** What the API writes when a volume is attached, detached or changed. */
const change = (lab: DiskAgent, instanceId: string, volumeId: string, set: object) => lab.run(async (context) => {
  await context.db.updateTable('volumes').set((eb) => ({ revision: eb('revision', '+', 1), ...set })).where('volume_id', '=', volumeId).execute()
  await mark(context, instanceId)
})
const attach = (lab: DiskAgent, instanceId: string, volumeId: string, device = '/dev/sdf') => change(lab, instanceId, volumeId, {
  instance_id: instanceId, device, attach_state: 'attaching', attached_ms: lab.clock.now() + 1, state: 'in-use',
})
const setInstance = (lab: DiskAgent, id: string, set: object) => lab.run(async (context) => {
  await context.db.updateTable('instances').set({ state_ms: lab.clock.now(), ...set }).where('instance_id', '=', id).execute()
  await mark(context, id)
})
const instanceRow = (lab: DiskAgent, id: string) =>
  lab.query((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
/** What a snapshot, or a volume, shows. */
const dataOf = async (lab: DiskAgent, id: string) => {
  const layerId = (id.startsWith('snap-') ? await snapshotRow(lab, id) : await volumeRow(lab, id))?.layer_id ?? ''
  return Object.fromEntries(lab.world.dataOf(layerId))
}
const disksOf = (lab: DiskAgent, id: string) => [...lab.world.machines.get(id)?.process?.disks.all.values() ?? []]

/** A running instance with a root and a data volume. */
async function running(lab: DiskAgent) {
  const { instance, root } = await addInstance(lab)
  const { volume_id: data } = await addVolume(lab)
  await attach(lab, instance.instance_id, data)
  await lab.settle()
  expect((await instanceRow(lab, instance.instance_id)).state).toBe('running')
  return { id: instance.instance_id, root: root.volume_id, data }
}

describe('snapshots of a running instance', () => {
  it('are of one moment: what is written later is in none of them', async () => {
    const { id, root, data } = await running(agent)
    agent.world.guestWrites(id, root, 1)
    agent.world.guestWrites(id, data, 2)
    const [ofRoot = '', ofData = ''] = await freezeAll(agent, id)
    await agent.settle()
    agent.world.guestWrites(id, root, 3)
    agent.world.guestWrites(id, data, 4)
    expect([await snapshotRow(agent, ofRoot), await snapshotRow(agent, ofData)].map((row) => row?.state)).toEqual(['completed', 'completed'])
    // Device names in their order: the data volume's comes first.
    expect([await dataOf(agent, ofRoot), await dataOf(agent, ofData)]).toEqual([{ 0: 2 }, { 0: 1 }])
    expect([await dataOf(agent, root), await dataOf(agent, data)]).toEqual([{ 0: 3 }, { 0: 4 }])
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('wait for the files of all of them', async () => {
    const { id, data } = await running(agent)
    let isHeld = true
    agent.wrapped.volumes = (driver) => {
      const make = driver.ensureLayer.bind(driver)
      driver.ensureLayer = (spec) => (isHeld ? Promise.reject(new Error('no space left')) : make(spec))
    }
    await freezeAll(agent, id)
    // The root's is made; then the disk is full.
    for (let runs = 0; runs < 3; runs++) await agent.settle(0)
    agent.restart()
    isHeld = true
    const [late = ''] = await freezeAll(agent, id)
    await agent.settle(0)
    isHeld = false
    await agent.settle()
    expect((await snapshotRow(agent, late))?.state).toBe('completed')
    expect((await volumeRow(agent, data))?.next_layer_id).toBeNull()
  })

  it('that the guest is to be quiet for are written down as such before, and an agent that died lets it go on', async () => {
    const { id } = await running(agent)
    const asked: boolean[] = []
    let dies = true
    agent.wrapped.hypervisor = (driver) => {
      const turn = driver.switchDisks.bind(driver)
      driver.switchDisks = async (instanceId, switches, options) => {
        asked.push(options.quiesce)
        const freezing = instanceDoc(await instanceRow(agent, instanceId)).freezing
        expect(freezing).toBe(true)
        const result = await turn(instanceId, switches, options)
        if (dies) throw new Error('the answer is lost')
        return result
      }
    }
    agent.restart()
    const ids = await freezeAll(agent, id, 'quiesced')
    await agent.settle(0)
    dies = false
    await agent.settle()
    expect(asked).toEqual([true, true])
    expect(instanceDoc(await instanceRow(agent, id)).freezing).toBe(false)
    expect((await snapshotRow(agent, ids[0] ?? ''))?.state).toBe('completed')
  })

  it('that are asked for between the moment and its record have a later moment, with what was written until then', async () => {
    const { id, root } = await running(agent)
    let late: string[] = []
    agent.wrapped.hypervisor = (driver) => {
      const turn = driver.switchDisks.bind(driver)
      driver.switchDisks = async (instanceId, switches, options) => {
        const result = await turn(instanceId, switches, options)
        if (late.length === 0) {
          agent.world.guestWrites(id, root, 9)
          late = await freezeAll(agent, id)
        }
        return result
      }
    }
    agent.restart()
    agent.world.guestWrites(id, root, 1)
    const first = await freezeAll(agent, id)
    await agent.settle()
    const rootFirst = first[1] ?? ''
    const rootLate = late[1] ?? ''
    expect([await dataOf(agent, rootFirst), await dataOf(agent, rootLate)]).toEqual([{ 0: 1 }, { 0: 9 }])
    expect((await snapshotRow(agent, rootLate))?.state).toBe('completed')
    expect(await problemsAtRest(agent)).toEqual([])
  })

  it('that QEMU refuses are tried again, and keep nothing else from being done', async () => {
    const { id, data } = await running(agent)
    let refuses = true
    agent.wrapped.hypervisor = (driver) => {
      const turn = driver.switchDisks.bind(driver)
      driver.switchDisks = (...args) => (refuses ? Promise.reject(new Error('busy')) : turn(...args))
    }
    agent.restart()
    const [snapshotId = ''] = await freezeAll(agent, id)
    await change(agent, id, data, { doc: JSON.stringify({ iops: 5000, throughputMibps: 200 }) })
    await agent.settle(500)
    expect(disksOf(agent, id).find((disk) => disk.spec.volumeId === data)?.spec.limits?.iops).toBe(5000)
    expect((await snapshotRow(agent, snapshotId))?.state).toBe('pending')
    refuses = false
    await agent.settle()
    expect((await snapshotRow(agent, snapshotId))?.state).toBe('completed')
  })

  it('with a reboot are of the time when the guest is down', async () => {
    const { id, root } = await running(agent)
    agent.world.guestWrites(id, root, 1)
    const [, ofRoot = ''] = await freezeAll(agent, id, 'down')
    await setInstance(agent, id, { reboot_requested: 1 })
    await agent.settle()
    agent.world.guestWrites(id, root, 2)
    expect(agent.world.machines.get(id)?.boots).toBe(2)
    expect([await dataOf(agent, ofRoot), await dataOf(agent, root)]).toEqual([{ 0: 1 }, { 0: 2 }])
  })

  it.each(['stopping', 'shutting-down'] as const)('that is %s are of what is in its volumes then', async (state) => {
    const { id, root, data } = await running(agent)
    agent.wrapped.hypervisor = (driver) => {
      driver.switchDisks = () => Promise.reject(new Error('busy'))
    }
    agent.restart()
    agent.world.guestWrites(id, data, 7)
    const [ofData = ''] = await freezeAll(agent, id)
    await agent.settle(100)
    agent.world.guestWrites(id, data, 8)
    await setInstance(agent, id, { state })
    await agent.settle()
    expect((await snapshotRow(agent, ofData))?.state).toBe('completed')
    expect(await dataOf(agent, ofData)).toEqual({ 0: 8 })
    expect((await volumeRow(agent, root))?.state).toBe(state === 'stopping' ? 'in-use' : undefined)
    // What was attached later stays.
    expect((await volumeRow(agent, data))?.state).toBe(state === 'stopping' ? 'in-use' : 'available')
    expect(await problemsAtRest(agent)).toEqual([])
  })
})

it('a volume that would be deleted with its instance goes into the recycle bin where a rule says so', async () => {
  const { id, root } = await running(agent)
  const doc: RecycleRuleDoc = {
    description: '', retention: { value: 2, unit: 'DAYS' }, resourceTags: [], excludeResourceTags: [], status: 'available', lock: null,
    tags: [],
  }
  await agent.run(({ db, account, nowMs }) => db.insertInto('recycle_rules')
    .values({ rule_id: 'rule-1', account_id: account, resource_type: 'EBS_VOLUME', created_ms: nowMs, doc: JSON.stringify(doc) }).execute())
  await setInstance(agent, id, { state: 'shutting-down' })
  await agent.settle()
  const row = await volumeRow(agent, root)
  expect(row).toMatchObject({ state: 'available', instance_id: null })
  expect((row?.bin_exit_ms ?? 0) - (row?.binned_ms ?? 0)).toBe(2 * DAY_MS)
})

describe('volumes of a running instance', () => {
  it('come, and go when the guest has given them up', async () => {
    const { id, data } = await running(agent)
    expect(await volumeRow(agent, data)).toMatchObject({ attach_state: 'attached', synced_revision: 2 })
    expect(disksOf(agent, id).map((disk) => disk.spec.deviceName)).toEqual(['/dev/vda', '/dev/sdf'])
    await change(agent, id, data, { attach_state: 'detaching' })
    await agent.settle(0)
    await agent.settle()
    expect(await volumeRow(agent, data)).toMatchObject({ state: 'available', instance_id: null, device: null, attach_state: null })
    expect(disksOf(agent, id)).toHaveLength(1)
  })

  it('are taken from a guest that does not listen when that is asked for', async () => {
    const { id, data } = await running(agent)
    await change(agent, id, data, {
      attach_state: 'detaching', doc: JSON.stringify({ iops: 3000, throughputMibps: 125, forceDetach: true }),
    })
    await agent.settle(0)
    const row = await volumeRow(agent, data)
    expect(row?.state).toBe('available')
    expect(JSON.parse(row?.doc ?? '')).toEqual({ iops: 3000, throughputMibps: 125 })
  })

  it('are there one by one: one that cannot be opened yet has nobody wait for the others', async () => {
    const { instance } = await addInstance(agent)
    const { volume_id: good } = await addVolume(agent)
    const { volume_id: locked } = await addVolume(agent)
    await agent.settle()
    let isLocked = true
    agent.wrapped.hypervisor = (driver) => {
      const ensure = driver.ensureDisks.bind(driver)
      driver.ensureDisks = async (id, disks, cutOff) => {
        const open = await ensure(id, disks.filter(({ volumeId }) => !isLocked || volumeId !== locked), cutOff)
        if (isLocked && disks.some(({ volumeId }) => volumeId === locked)) throw new DisksError(new Error('Failed to get "write" lock'), open)
        return open
      }
    }
    agent.restart()
    await attach(agent, instance.instance_id, locked, '/dev/sdf')
    await attach(agent, instance.instance_id, good, '/dev/sdg')
    await agent.settle(500)
    expect([await volumeRow(agent, locked), await volumeRow(agent, good)].map((row) => row?.attach_state)).toEqual(['attaching', 'attached'])
    isLocked = false
    await agent.settle()
    expect(await volumeRow(agent, locked)).toMatchObject({ attach_state: 'attached' })
  })

  it('become larger and faster without a restart', async () => {
    const { id, data } = await running(agent)
    await change(agent, id, data, { size_gib: 100, doc: JSON.stringify({ iops: 4000, throughputMibps: 500 }) })
    await agent.settle()
    const disk = disksOf(agent, id).find((each) => each.spec.volumeId === data)
    expect(disk?.spec).toMatchObject({ sizeGib: 100, limits: { iops: 4000, bytesPerSecond: 500 * 2 ** 20 } })
    const volume = await volumeRow(agent, data)
    expect(volume?.synced_revision).toBe(volume?.revision)
    expect((await layerRows(agent)).find((row) => row.layer_id === volume?.layer_id)?.size_gib).toBe(100)
  })

  it('that are to become larger than the layer of a snapshot that is being made wait for that, at rest', async () => {
    const { id, data } = await running(agent)
    let isHeld = true
    agent.wrapped.volumes = (driver) => {
      const make = driver.ensureLayer.bind(driver)
      driver.ensureLayer = (spec) => (isHeld ? Promise.reject(new Error('no space left')) : make(spec))
    }
    agent.restart()
    const [ofData = ''] = await freezeAll(agent, id)
    await change(agent, id, data, { size_gib: 100 })
    await agent.settle(0)
    expect(disksOf(agent, id).find((each) => each.spec.volumeId === data)?.spec.sizeGib).toBe(8)
    isHeld = false
    await agent.settle()
    expect(disksOf(agent, id).find((each) => each.spec.volumeId === data)?.spec.sizeGib).toBe(100)
    expect((await snapshotRow(agent, ofData))?.state).toBe('completed')
    const volume = await volumeRow(agent, data)
    expect(volume?.synced_revision).toBe(volume?.revision)
  })

  it('of a stopped one become larger where they are', async () => {
    const { id, data } = await running(agent)
    await setInstance(agent, id, { state: 'stopping' })
    await agent.settle()
    await change(agent, id, data, { size_gib: 100 })
    await agent.settle()
    const volume = await volumeRow(agent, data)
    expect(agent.world.layers.get(volume?.layer_id ?? '')?.sizeGib).toBe(100)
    expect(volume?.synced_revision).toBe(volume?.revision)
  })

  it('with many layers become one over the first, which others need, and the rest goes', async () => {
    const { instance, root } = await addInstance(agent)
    const id = instance.instance_id
    const kept: string[] = []
    for (let count = 0; count < MOST_LAYERS; count++) {
      agent.world.guestWrites(id, root.volume_id, count, count)
      kept.push((await freezeAll(agent, id))[0] ?? '')
      await agent.settle()
      if (count > 0) {
        const layerId = (await snapshotRow(agent, kept[count] ?? ''))?.layer_id ?? ''
        await agent.run(async ({ db, nowMs }) => {
          await db.deleteFrom('snapshots').where('snapshot_id', '=', kept[count] ?? '').execute()
          await releaseLayer(db, layerId, nowMs)
        })
      }
    }
    agent.world.guestWrites(id, root.volume_id, 99, 99)
    await agent.settle()
    const volume = await volumeRow(agent, root.volume_id)
    const head = (await layerRows(agent)).find((row) => row.layer_id === volume?.layer_id)
    expect(head).toMatchObject({ depth: 1, parent_id: (await snapshotRow(agent, kept[0] ?? ''))?.layer_id })
    expect(await layerRows(agent)).toHaveLength(2)
    expect(Object.keys(await dataOf(agent, root.volume_id))).toHaveLength(MOST_LAYERS + 1)
    expect(await problemsAtRest(agent)).toEqual([])
  })
})

it('a launch whose volume cannot be made is over, with the reason that EC2 gives', async () => {
  const { volume_id: parent } = await addVolume(agent)
  const under = (await volumeRow(agent, parent))?.layer_id ?? ''
  agent.wrapped.volumes = (driver) => {
    driver.ensureLayer = () => Promise.reject(new Error('the layer under it is missing'))
  }
  agent.restart()
  const { instance } = await addInstance(agent)
  const row = await instanceRow(agent, instance.instance_id)
  expect([row.state, instanceDoc(row).stateReason?.code]).toEqual(['terminated', 'Client.InternalError'])
  expect((await layerRows(agent)).map((layer) => layer.layer_id)).toEqual([under])
})

describe('an agent that dies anywhere', () => {
  it('while snapshots are made of a running instance loses nothing that was written', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const { id, root, data } = await running(lab)
      lab.world.guestWrites(id, root, 1)
      lab.world.guestWrites(id, data, 2)
      const [ofData = '', ofRoot = ''] = await mortal(async () => {
        const ids = await freezeAll(lab, id, 'quiesced')
        await lab.settle()
        return ids
      })
      lab.world.guestWrites(id, root, 3)
      expect([await dataOf(lab, ofRoot), await dataOf(lab, ofData)]).toEqual([{ 0: 1 }, { 0: 2 }])
      expect([await dataOf(lab, root), await dataOf(lab, data)]).toEqual([{ 0: 3 }, { 0: 2 }])
      expect([(await snapshotRow(lab, ofRoot))?.state, instanceDoc(await instanceRow(lab, id)).freezing]).toEqual(['completed', false])
      expect(await problemsAtRest(lab)).toEqual([])
    })
  })

  it('while an instance reboots for its snapshots, and a volume becomes larger, does both', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const { id, root, data } = await running(lab)
      lab.world.guestWrites(id, root, 1)
      const [, ofRoot = ''] = await mortal(async () => {
        const ids = await freezeAll(lab, id, 'down')
        await setInstance(lab, id, { reboot_requested: 1 })
        await change(lab, id, data, { size_gib: 10 })
        await lab.settle()
        return ids
      })
      lab.world.guestWrites(id, root, 2)
      expect([await dataOf(lab, ofRoot), await dataOf(lab, root)]).toEqual([{ 0: 1 }, { 0: 2 }])
      expect(lab.world.machines.get(id)?.boots).toBe(2)
      const volume = await volumeRow(lab, data)
      expect(volume?.synced_revision).toBe(volume?.revision)
      expect(lab.world.layers.get(volume?.layer_id ?? '')?.sizeGib).toBe(10)
      expect(await problemsAtRest(lab)).toEqual([])
    })
  })

  it('while a volume is detached and its instance is terminated keeps what the snapshots are to have', async () => {
    await crashEverywhere(async (lab, mortal) => {
      const { id, root, data } = await running(lab)
      lab.world.guestWrites(id, data, 5)
      const [ofData = '', ofRoot = ''] = await mortal(async () => {
        const ids = await freezeAll(lab, id)
        await change(lab, id, data, { attach_state: 'detaching' })
        await lab.settle(0)
        await setInstance(lab, id, { state: 'shutting-down' })
        await lab.settle()
        return ids
      })
      expect([await dataOf(lab, ofData), await dataOf(lab, data)]).toEqual([{ 0: 5 }, { 0: 5 }])
      expect(await volumeRow(lab, data)).toMatchObject({ state: 'available', next_layer_id: null })
      expect(await volumeRow(lab, root)).toBeUndefined()
      expect((await snapshotRow(lab, ofRoot))?.state).toBe('completed')
      expect(await problemsAtRest(lab)).toEqual([])
    })
  })
})
