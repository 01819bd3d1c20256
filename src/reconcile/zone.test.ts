import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addInstance, crashEverywhere, openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, imagesOf, instanceOf, memoryOf, processOf, runningGuest, setInstance,
} from '../../test/support/hibernation-lab.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { changeInstanceOptions, STATE_REASONS } from '../model/instance.ts'
import { moveZone, zoneStatus, type ZoneState } from '../model/zone.ts'

const ZONE = 'us-east-1a'

const inZone = async (lab: DiskAgent): Promise<DiskAgent> => {
  await lab.run(({ db }) => db.updateTable('hosts').set({ zone: ZONE }).where('host_id', '=', HOST_ID).execute())
  return lab
}
const move = (lab: DiskAgent, to: ZoneState) => lab.run((context) => moveZone(context, ZONE, to))
const stop = (lab: DiskAgent, id: string) => setInstance(lab, id, { state: 'stopping' }, { stateReason: STATE_REASONS.userShutdown })
const isInForce = (lab: DiskAgent) => lab.query(async (db) => {
  const host = await db.selectFrom('hosts').select('zone_revision').where('host_id', '=', HOST_ID).executeTakeFirstOrThrow()
  return host.zone_revision === (await zoneStatus(db, ZONE)).revision
})

let lab: DiskAgent
beforeEach(async () => {
  lab = await inZone(await openDiskAgent())
})
afterEach(() => lab.close())

const launch = async () => (await addInstance(lab)).instance.instance_id
const states = (ids: string[]) => Promise.all(ids.map(async (id) => (await instanceOf(lab, id)).state))
const bootsOf = (id: string) => lab.world.machines.get(id)?.boots

describe('A zone that loses its power', () => {
  it('takes its machines with it, and heals with them started again in the same place', async () => {
    const id = await launch()
    const before = await instanceOf(lab, id)
    await move(lab, 'unavailable')
    await lab.settle()
    expect([processOf(lab, id), await isInForce(lab)]).toEqual([null, true])
    const dark = await instanceOf(lab, id)
    expect(dark).toMatchObject({ state: 'running', state_ms: before.state_ms, doc: { stateReason: null } })
    await move(lab, 'available')
    await lab.settle()
    const after = await instanceOf(lab, id)
    expect(after).toMatchObject({ state: 'running', launch_ms: before.launch_ms, slot: before.slot, doc: { hostBootId: 'run-1/1', checks: null } })
    expect([bootsOf(id), processOf(lab, id)?.status]).toEqual([2, 'running'])
  })

  it('leaves what waits in it as it is until it is healed', async () => {
    const ids = [await launch(), await launch(), await launch(), await launch()] as const
    const [stopping, terminating, pending, stopped] = ids
    for (const id of [pending, stopped]) await stop(lab, id)
    await lab.settle()
    await move(lab, 'unavailable')
    await lab.settle()
    await stop(lab, stopping)
    await setInstance(lab, terminating, { state: 'shutting-down' })
    await askToStart(lab, pending)
    await lab.settle()
    expect(await states([...ids])).toEqual(['stopping', 'shutting-down', 'pending', 'stopped'])
    await move(lab, 'available')
    await lab.settle()
    expect(await states([...ids])).toEqual(['stopped', 'terminated', 'running', 'stopped'])
    expect([bootsOf(pending), bootsOf(stopped)]).toEqual([2, 1])
  })

  it('leaves those stopped that do not want to be brought back', async () => {
    const id = await launch()
    await lab.run(({ db }) => changeInstanceOptions(db, id, { autoRecovery: 'disabled' }))
    await move(lab, 'unavailable')
    await lab.settle()
    await move(lab, 'available')
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { stateReason: STATE_REASONS.hostRestart } })
  })

  it('has lost it also where it is healed before anybody looked, and as often as it did', async () => {
    const id = await launch()
    await move(lab, 'unavailable')
    await move(lab, 'available')
    await lab.settle()
    expect([bootsOf(id), (await instanceOf(lab, id)).doc.hostBootId]).toEqual([2, 'run-1/1'])
    await move(lab, 'unavailable')
    await move(lab, 'available')
    await move(lab, 'unavailable')
    await lab.settle()
    await move(lab, 'available')
    await lab.settle()
    expect([bootsOf(id), (await instanceOf(lab, id)).doc.hostBootId]).toEqual([3, 'run-1/3'])
  })

  it('starts a guest once that is to be rebooted as well', async () => {
    const id = await launch()
    await move(lab, 'unavailable')
    await setInstance(lab, id, { reboot_requested: 1 })
    await lab.settle()
    await move(lab, 'available')
    await lab.settle()
    expect([await instanceOf(lab, id), bootsOf(id)]).toMatchObject([{ state: 'running', reboot_completed: 1, doc: { hostBootId: 'run-1/1', checks: null } }, 2])
  })

  it('is not taken for a guest that went down, whoever looks first', async () => {
    const id = await launch()
    await move(lab, 'unavailable')
    // The machine is gone, and its reconciler runs before the host has put that in force.
    lab.world.processDies(id)
    expect(await lab.reconcile(id)).toMatchObject({ kind: 'again' })
    await lab.settle()
    expect(await states([id])).toEqual(['running'])
    await move(lab, 'available')
    await lab.settle()
    expect([await states([id]), bootsOf(id)]).toEqual([['running'], 2])
  })

  it('fails its instances\' checks until they are started again', async () => {
    const id = await launch()
    await move(lab, 'unavailable')
    const sinceMs = lab.clock.now()
    await lab.settle()
    await move(lab, 'available')
    expect((await instanceOf(lab, id)).doc.checks).toEqual({ systemSinceMs: sinceMs, instanceSinceMs: sinceMs })
    await lab.settle()
    expect((await instanceOf(lab, id)).doc.checks).toBeNull()
  })
})

describe('A zone that is impaired', () => {
  it('has its guests stand still, and go on where they were', async () => {
    const { id, root, before } = await runningGuest(lab)
    const pid = processOf(lab, id)?.pid
    await move(lab, 'impaired')
    await lab.settle()
    expect([processOf(lab, id)?.frozenMs !== undefined, await isInForce(lab)]).toEqual([true, true])
    expect(lab.world.guestWrites(id, root, 5)).toBe(false)
    await move(lab, 'available')
    await lab.settle()
    expect([processOf(lab, id)?.pid, memoryOf(lab, id)]).toEqual([pid, before])
    expect(lab.world.guestWrites(id, root, 5)).toBe(true)
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { hostBootId: 'run-1' } })
  })

  it('has a guest rebooted after it has gone on', async () => {
    const id = await launch()
    await move(lab, 'impaired')
    await lab.settle()
    await setInstance(lab, id, { reboot_requested: 1 })
    await lab.settle()
    expect([(await instanceOf(lab, id)).reboot_completed, bootsOf(id)]).toEqual([0, 1])
    await move(lab, 'available')
    await lab.settle()
    expect([await instanceOf(lab, id), bootsOf(id)]).toMatchObject([{ state: 'running', reboot_completed: 1 }, 2])
    expect(lab.world.machines.get(id)?.console).toContain('The simulated guest is down.')
  })

  it('gives a guest that was shutting down all its time when it goes on', async () => {
    const id = await launch()
    await move(lab, 'impaired')
    await lab.settle()
    await stop(lab, id)
    await lab.clock.advance(10 * 60_000)
    await move(lab, 'available')
    await lab.settle()
    expect(await states([id])).toEqual(['stopped'])
    // It was asked, and not just ended.
    expect(lab.world.machines.get(id)?.console).toContain('The simulated guest is down.')
  })

  it('may lose its power as well', async () => {
    const id = await launch()
    await move(lab, 'impaired')
    await lab.settle()
    await move(lab, 'unavailable')
    await lab.settle()
    expect(processOf(lab, id)).toBeNull()
    await expect(move(lab, 'impaired')).rejects.toThrow('us-east-1a is unavailable: its machines have lost their power and cannot be frozen; heal it first')
    await move(lab, 'available')
    await lab.settle()
    expect([await states([id]), bootsOf(id), processOf(lab, id)?.frozenMs]).toEqual([['running'], 2, undefined])
  })
})

describe('Memory that is kept', () => {
  it('stays with an instance that is hibernated when the power goes', async () => {
    const { id, before } = await runningGuest(lab)
    await askToHibernate(lab, id)
    await lab.settle()
    await move(lab, 'unavailable')
    await lab.settle()
    await move(lab, 'available')
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { memory: { state: 'saved' } } })
    await askToStart(lab, id)
    await lab.settle()
    expect(memoryOf(lab, id)).toEqual(before)
  })

  it('is none where the power goes before it is whole: the instance stops, and boots', async () => {
    const { id } = await runningGuest(lab)
    await move(lab, 'unavailable')
    await askToHibernate(lab, id)
    await lab.settle()
    expect(await states([id])).toEqual(['stopping'])
    await move(lab, 'available')
    await lab.settle()
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.memory, doc.stateReason?.message]).toEqual(
      ['stopped', null, 'Server.InternalError: The instance was stopped without hibernation: its guest was down'])
    await askToStart(lab, id)
    await lab.settle()
    expect([bootsOf(id), imagesOf(lab, id), lab.world.harm]).toEqual([2, [], []])
  })
})

describe('Putting a state in force', () => {
  it('is done, wherever the agent dies', async () => {
    const points = await crashEverywhere(async (agent, mortal) => {
      await inZone(agent)
      const { instance: { instance_id: id } } = await addInstance(agent)
      const pid = processOf(agent, id)?.pid
      await move(agent, 'impaired')
      await mortal(() => agent.settle())
      expect([await isInForce(agent), processOf(agent, id)?.pid, processOf(agent, id)?.frozenMs]).toEqual([true, pid, expect.any(Number)])
      await move(agent, 'available')
      await agent.settle()
      expect([processOf(agent, id)?.pid, processOf(agent, id)?.frozenMs]).toEqual([pid, undefined])
      await setInstance(agent, id, { state: 'shutting-down' })
      await agent.settle()
    })
    expect(points).toBeGreaterThan(3)
  })

  it('and taking it back, too', async () => {
    const points = await crashEverywhere(async (agent, mortal) => {
      await inZone(agent)
      const { instance: { instance_id: id } } = await addInstance(agent)
      const pid = processOf(agent, id)?.pid
      await move(agent, 'unavailable')
      await mortal(async () => {
        await agent.settle()
        expect([await isInForce(agent), processOf(agent, id)]).toEqual([true, null])
        await move(agent, 'available')
        await agent.settle()
      })
      expect([(await instanceOf(agent, id)).state, await isInForce(agent), processOf(agent, id)?.pid === pid]).toEqual(['running', true, false])
      expect(agent.world.machines.get(id)?.boots).toBe(2)
      await setInstance(agent, id, { state: 'shutting-down' })
      await agent.settle()
    })
    expect(points).toBeGreaterThan(10)
  })
})
