import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addVolume, openDiskAgent, problemsAtRest, snapshotRow, volumeRow, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, dataOf, imagesOf, instanceOf, memoryOf, processOf, runningGuest, setInstance, setVolume, snapshotAll,
} from '../../test/support/hibernation-lab.ts'
import type { Hypervisor, NicSpec } from '../hypervisor/driver.ts'
import { HIBERNATE_DEADLINE_MS } from './hibernate.ts'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
})
afterEach(async () => {
  expect(lab.world.harm).toEqual([])
  await lab.close()
})

async function hibernated() {
  const guest = await runningGuest(lab)
  await askToHibernate(lab, guest.id)
  await lab.settle()
  expect(await instanceOf(lab, guest.id)).toMatchObject({ state: 'stopped', doc: { memory: { state: 'saved' } } })
  return guest
}
/** The agent's next calls of `method` fail with `error` as long as it gives one. */
function failing(method: 'ensureSaved' | 'ensureLoaded' | 'ensureReleased' | 'requestShutdown', error: () => unknown): void {
  lab.wrapped.hypervisor = (driver: Hypervisor) => {
    const real = driver[method].bind(driver) as (...args: never[]) => Promise<never>
    driver[method] = async (...args: never[]) => {
      const failure = error()
      if (failure !== undefined) throw failure
      return real(...args)
    }
  }
  lab.restart()
}
const reasonOf = async (id: string) => (await instanceOf(lab, id)).doc.stateReason

/** What is left in a machine of an interface that was detached by force: its row is another's already. */
const STRAY: NicSpec = { interfaceId: 'eni-stray', attachmentId: 'eni-attach-stray', deviceIndex: 1, mac: '02:00:00:00:00:01', tap: 'stray' }

describe('an instance that is hibernated', () => {
  it('is stopped, has no process, and its memory is in a file', async () => {
    const { id } = await hibernated()
    const { doc, holds_capacity: holdsCapacity } = await instanceOf(lab, id)
    expect(processOf(lab, id)).toBeNull()
    expect(imagesOf(lab, id)).toEqual([doc.memory?.memoryId])
    expect(doc.stateReason?.code).toBe('Client.UserInitiatedHibernate')
    expect([doc.hibernate, holdsCapacity, doc.memory?.kmsKeyId]).toEqual([false, 0, 'a-key'])
  })

  it('is without an interface that was detached by force, which its guest gives up before', async () => {
    const { id, before } = await runningGuest(lab)
    lab.world.plug(id, STRAY)
    await askToHibernate(lab, id)
    await lab.settle()
    expect((await instanceOf(lab, id)).doc).toMatchObject({ memory: { state: 'saved' } })
    await askToStart(lab, id)
    await lab.settle()
    expect([(await instanceOf(lab, id)).state, memoryOf(lab, id)]).toEqual(['running', before])
  })

  it('goes on where it was when it is started, once', async () => {
    const { id, root, before } = await hibernated()
    const { generation = 0 } = (await instanceOf(lab, id)).doc
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory, doc.generation, imagesOf(lab, id)]).toEqual(['running', null, generation + 1, []])
    lab.world.guestWrites(id, root, 7)
    expect(await dataOf(lab, root)).toEqual({ 0: 7 })
    expect(lab.world.machines.get(id)?.boots).toBe(1)
  })

  it('is looked at by an agent that starts, and stays as it is', async () => {
    const { id } = await hibernated()
    lab.restart()
    await setInstance(lab, id, {})
    await lab.settle()
    expect(imagesOf(lab, id)).toHaveLength(1)
    expect((await instanceOf(lab, id)).doc.memory?.state).toBe('saved')
  })

  it('can be hibernated again and again, each time under a key of its own', async () => {
    const { id, before } = await hibernated()
    const first = (await instanceOf(lab, id)).doc.memory
    await askToStart(lab, id)
    await lab.settle()
    await askToHibernate(lab, id)
    await lab.settle()
    const second = (await instanceOf(lab, id)).doc.memory
    expect(second?.wrappedKey).not.toBe(first?.wrappedKey)
    expect(imagesOf(lab, id)).toEqual([second?.memoryId])
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
  })

  it('leaves no memory behind when it is terminated, nor when nobody knows it any more', async () => {
    const { id } = await hibernated()
    await setInstance(lab, id, { state: 'shutting-down' })
    await lab.settle()
    expect([imagesOf(lab, id), (await instanceOf(lab, id)).doc.memory]).toEqual([[], null])
    const other = await hibernated()
    await lab.run(async ({ db }) => {
      await db.updateTable('volumes').set({ instance_id: null }).where('instance_id', '=', other.id).execute()
      await db.deleteFrom('instances').where('instance_id', '=', other.id).execute()
    })
    await setInstance(lab, other.id, {})
    await lab.settle()
    expect(lab.world.machines.has(other.id)).toBe(false)
  })

  it('has snapshots made of what it left on its disks, and goes on all the same', async () => {
    const { id, root, data, before } = await hibernated()
    const snapshots = await snapshotAll(lab, id)
    await lab.settle()
    for (const each of snapshots) expect((await snapshotRow(lab, each))?.state).toBe('completed')
    await askToStart(lab, id)
    // One that is asked for while its memory is about to be loaded.
    const [late = ''] = await snapshotAll(lab, id)
    await lab.settle()
    expect((await snapshotRow(lab, late))?.state).toBe('completed')
    expect(memoryOf(lab, id)).toEqual(before)
    expect([await dataOf(lab, root), await dataOf(lab, data)]).toEqual([{ 0: 1 }, { 0: 2 }])
    expect(await problemsAtRest(lab)).toEqual([])
  })
})

describe('hibernation becomes a normal stop, and says why,', () => {
  const expectStopped = async (id: string, why: string) => {
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory ?? null, doc.hibernate, imagesOf(lab, id), processOf(lab, id)]).toEqual(['stopped', null, false, [], null])
    expect(doc.stateReason?.code).toBe('Server.InternalError')
    expect(doc.stateReason?.message).toContain(`stopped without hibernation: ${why}`)
  }

  it('when the memory cannot be saved: the guest shuts itself down', async () => {
    const { id } = await runningGuest(lab)
    lab.world.hibernationFails = true
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'a device of the guest cannot be saved')
    expect(lab.world.machines.get(id)?.console).toContain('The simulated guest is down.')
    await askToStart(lab, id)
    await lab.settle()
    expect([memoryOf(lab, id)?.counter, lab.world.machines.get(id)?.boots]).toEqual([0, 2])
  })

  it('when it fails again and again, and not at the first time', async () => {
    const { id, before } = await runningGuest(lab)
    let left = 3
    failing('ensureSaved', () => (left-- > 0 ? new Error('QEMU does not answer') : undefined))
    await askToHibernate(lab, id)
    await lab.settle()
    expect((await instanceOf(lab, id)).doc.memory?.state).toBe('saved')
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
    left = Infinity
    const beganMs = lab.clock.now()
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'it could not be done in time')
    expect(lab.clock.now() - beganMs).toBeGreaterThan(HIBERNATE_DEADLINE_MS)
  })

  it('when its QEMU hangs, which is ended then', async () => {
    const { id } = await runningGuest(lab)
    lab.world.processHangs(id)
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'it could not be done in time')
  })

  it('when the guest is down already', async () => {
    const { id } = await runningGuest(lab)
    lab.world.guestPowersOff(id)
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'its guest was down')
  })

  it('when its process dies while it is saved', async () => {
    const { id } = await runningGuest(lab)
    let dies = true
    failing('ensureSaved', () => {
      if (!dies) return undefined
      dies = false
      lab.world.processDies(id)
      return new Error('QEMU is gone')
    })
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'its guest was down')
  })

  it('when its root volume is not encrypted', async () => {
    const { id } = await runningGuest(lab, '')
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'its root volume is not encrypted')
  })

  it('when the guest does not give up a volume that is being detached', async () => {
    const { id, data } = await runningGuest(lab)
    lab.world.disks.requestUnplug = () => {}
    await setVolume(lab, id, data, { attach_state: 'detaching' })
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'a volume or an interface was still being attached or detached')
    expect((await volumeRow(lab, data))?.state).toBe('available')
  })

  it('when the guest does not give up an interface that was detached by force', async () => {
    const { id } = await runningGuest(lab)
    lab.world.plug(id, STRAY)
    lab.world.requestUnplug = () => {}
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'its guest did not give up an interface that was detached')
  })

  it('when a volume is detached while it is saved', async () => {
    const { id, data } = await runningGuest(lab)
    lab.wrapped.hypervisor = (driver) => {
      const save = driver.ensureSaved.bind(driver)
      driver.ensureSaved = async (...args) => {
        await setVolume(lab, id, data, { attach_state: 'detaching' })
        return save(...args)
      }
    }
    lab.restart()
    await askToHibernate(lab, id)
    await lab.settle()
    await expectStopped(id, 'a volume or an interface was attached or detached meanwhile')
  })

  it('when it is forced in the midst of it, which needs no reason', async () => {
    const { id } = await runningGuest(lab)
    let isBusy = true
    failing('ensureSaved', () => (isBusy ? new Error('busy') : undefined))
    await askToHibernate(lab, id)
    await lab.settle(0)
    lab.world.memory.pause(id)
    lab.world.memory.beginSaving(id, { memoryId: (await instanceOf(lab, id)).doc.memory?.memoryId ?? '', key: '', binding: '' })
    await setInstance(lab, id, {}, { force: true })
    isBusy = false
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { memory: null, hibernate: false } })
    expect([imagesOf(lab, id), processOf(lab, id)]).toEqual([[], null])
  })
})

describe('what is under way when an instance is to be hibernated', () => {
  it('as a volume that comes or goes, is done before', async () => {
    const { id, data, root } = await runningGuest(lab)
    const { volume_id: late } = await addVolume(lab)
    await setVolume(lab, id, data, { attach_state: 'detaching' })
    await setVolume(lab, id, late, { instance_id: id, device: '/dev/sdg', attach_state: 'attaching', state: 'in-use' })
    await askToHibernate(lab, id)
    await lab.settle()
    expect((await instanceOf(lab, id)).doc.memory?.volumeIds).toEqual([late, root].toSorted())
    expect(await volumeRow(lab, data)).toMatchObject({ state: 'available', instance_id: null })
    await askToStart(lab, id)
    await lab.settle()
    expect([...processOf(lab, id)?.disks.all.keys() ?? []].toSorted()).toEqual([late, root].toSorted())
  })

  it('as a freeze that an agent has begun and not ended, is ended: no guest keeps frozen file systems in its memory', async () => {
    const { id } = await runningGuest(lab)
    const [snapshot = ''] = await snapshotAll(lab, id, 'quiesced')
    let dies = true
    lab.wrapped.hypervisor = (driver) => {
      const turn = driver.switchDisks.bind(driver)
      driver.switchDisks = async (...args) => {
        const result = await turn(...args)
        if (dies) throw new Error('the answer is lost')
        return result
      }
    }
    lab.restart()
    await lab.settle(0)
    expect((await instanceOf(lab, id)).doc.freezing).toBe(true)
    dies = false
    await askToHibernate(lab, id)
    await lab.settle()
    expect((await instanceOf(lab, id)).doc).toMatchObject({ freezing: false, memory: { state: 'saved' } })
    expect((await snapshotRow(lab, snapshot))?.state).toBe('completed')
  })

  it('as a reboot, comes when the guest goes on, and once, however often it was asked for', async () => {
    const { id } = await runningGuest(lab)
    failing('requestShutdown', () => new Error('nobody listens'))
    await setInstance(lab, id, { reboot_requested: 2 })
    await lab.settle(0)
    await askToHibernate(lab, id)
    await lab.settle()
    expect((await instanceOf(lab, id)).doc).toMatchObject({ memory: { state: 'saved' }, reboot: null })
    lab.wrapped.hypervisor = () => {}
    lab.restart()
    await askToStart(lab, id)
    await lab.settle()
    expect(lab.world.machines.get(id)?.boots).toBe(2)
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', reboot_completed: 2 })
  })

  it('as writes of a guest whose host has no room, is done when it goes on', async () => {
    const { id, root, before } = await runningGuest(lab)
    lab.world.isDiskFull = true
    lab.world.guestWrites(id, root, 8)
    await lab.settle(0)
    lab.world.isDiskFull = false
    await askToHibernate(lab, id)
    await lab.settle()
    expect(await dataOf(lab, root)).toEqual({ 0: 1 })
    await askToStart(lab, id)
    await lab.settle()
    expect(await dataOf(lab, root)).toEqual({ 0: 8 })
    expect(memoryOf(lab, id)?.bootId).toBe(before.bootId)
    expect((await instanceOf(lab, id)).doc.outOfSpaceSinceMs).toBeNull()
  })

  it('on a full disk, ends as a stop', async () => {
    const { id, root } = await runningGuest(lab)
    lab.world.isDiskFull = true
    lab.world.guestWrites(id, root, 8)
    await askToHibernate(lab, id)
    await lab.settle(200_000)
    expect((await instanceOf(lab, id)).state).toBe('stopped')
    expect((await reasonOf(id))?.message).toContain('the disk of the host is full')
    expect(await dataOf(lab, root)).toEqual({ 0: 1 })
  })
})

describe('a hibernated instance that is started', () => {
  it('boots when the file with its memory is gone', async () => {
    const { id } = await hibernated()
    lab.world.memory.forget(id)
    await askToStart(lab, id)
    await lab.settle()
    expect([(await instanceOf(lab, id)).state, memoryOf(lab, id)?.counter]).toEqual(['running', 0])
    expect((await instanceOf(lab, id)).doc.memory).toBeNull()
  })

  it('boots when its memory was loaded, and its process has died since', async () => {
    const { id } = await hibernated()
    let dies = true
    failing('ensureReleased', () => {
      if (!dies) return undefined
      dies = false
      expect(lab.world.machines.get(id)?.process?.status).toBe('paused')
      lab.world.processDies(id)
      return new Error('QEMU is gone')
    })
    await askToStart(lab, id)
    await lab.settle()
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory, memoryOf(lab, id)?.counter, imagesOf(lab, id)]).toEqual(['running', null, 0, []])
    expect(doc.generation).toBe(3)
  })

  it('stays hibernated, and says why, while its memory cannot be loaded; it goes on when that is mended', async () => {
    const { id, before } = await hibernated()
    lab.world.loadingFails = true
    await askToStart(lab, id)
    await lab.settle()
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory?.state, imagesOf(lab, id).length]).toEqual(['stopped', 'saved', 1])
    expect(doc.stateReason).toEqual({
      code: 'Server.InternalError',
      message: 'Server.InternalError: The instance is still hibernated, its memory could not be loaded: this host has another ' +
        `processor. "hearth start ${id} --cold" gives its memory up and boots it`,
    })
    lab.world.loadingFails = false
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
  })

  it('boots when a person has given its memory up, which is deleted before', async () => {
    const { id } = await hibernated()
    await askToStart(lab, id, { memory: null })
    await lab.settle()
    expect([memoryOf(lab, id)?.counter, imagesOf(lab, id)]).toEqual([0, []])
  })

  it('stays hibernated when the host fails to start it again and again', async () => {
    const { id, before } = await hibernated()
    let fails = true
    failing('ensureLoaded', () => (fails ? new Error('no KVM') : undefined))
    await askToStart(lab, id)
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { memory: { state: 'saved' }, startFailures: 5 } })
    fails = false
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
  })

  it('and terminated while its memory is being loaded ends, and nothing is left of it', async () => {
    const { id } = await hibernated()
    lab.wrapped.hypervisor = (driver) => {
      const load = driver.ensureLoaded.bind(driver)
      driver.ensureLoaded = async (...args) => {
        const result = await load(...args)
        await setInstance(lab, id, { state: 'shutting-down' })
        return result
      }
    }
    lab.restart()
    await askToStart(lab, id)
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'terminated', doc: { memory: null } })
    expect([imagesOf(lab, id), processOf(lab, id)]).toEqual([[], null])
  })
})

it('a reboot that the guest ignores ends it hard after two minutes, and asked for twice is done once', async () => {
  const { id } = await runningGuest(lab)
  const pressed: number[] = []
  lab.wrapped.hypervisor = (driver) => {
    driver.requestShutdown = async () => void pressed.push(lab.clock.now())
  }
  lab.restart()
  const beganMs = lab.clock.now()
  await setInstance(lab, id, { reboot_requested: 1 })
  await lab.settle(0)
  await setInstance(lab, id, { reboot_requested: 2 })
  await lab.settle()
  expect(lab.world.machines.get(id)?.boots).toBe(2)
  expect((await instanceOf(lab, id)).reboot_completed).toBe(2)
  expect(pressed.length).toBeGreaterThan(50)
  expect((pressed.at(-1) ?? 0) - beganMs).toBeLessThan(120_000)
})
