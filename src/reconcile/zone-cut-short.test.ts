import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addInstance, openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import {
  askToHibernate, askToStart, instanceOf, memoryOf, processOf, runningGuest, setInstance,
} from '../../test/support/hibernation-lab.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { MemoryImageError, type Hypervisor } from '../hypervisor/driver.ts'
import { STATE_REASONS } from '../model/instance.ts'
import { moveZone, type ZoneState } from '../model/zone.ts'

const ZONE = 'us-east-1a'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
  await lab.run(({ db }) => db.updateTable('hosts').set({ zone: ZONE }).where('host_id', '=', HOST_ID).execute())
})
afterEach(async () => {
  expect(lab.world.harm).toEqual([])
  await lab.close()
})

const move = (to: ZoneState) => lab.run((context) => moveZone(context, ZONE, to))

/** Has the zone fail within the agent's next call of a method, before or after it has done what it is for. */
function failWithin(method: 'ensureRunning' | 'ensureLoaded', { to, end }: { to: ZoneState; end: 'done' | Error }): void {
  let hasFailed = false
  lab.wrapped.hypervisor = (driver: Hypervisor) => {
    const real = driver[method].bind(driver) as (...args: never[]) => Promise<never>
    driver[method] = async (...args: never[]) => {
      if (hasFailed) return real(...args)
      hasFailed = true
      const result = end === 'done' ? await real(...args) : undefined
      await move(to)
      if (end !== 'done') throw end
      return result as never
    }
  }
  lab.restart()
}

async function hibernated() {
  const guest = await runningGuest(lab)
  await askToHibernate(lab, guest.id)
  await lab.settle()
  return guest
}

describe('Memory that is being loaded when the zone fails', () => {
  it.each<{ to: ZoneState; how: string; end: 'done' | Error }>([
    { to: 'unavailable', how: 'and is there', end: 'done' },
    { to: 'unavailable', how: 'and the machine ends', end: new MemoryImageError('its QEMU has ended') },
    { to: 'impaired', how: 'and is there', end: 'done' },
    { to: 'impaired', how: 'and the machine does not answer', end: new Error('no answer') },
  ])('is that of the next start: $to, $how', async ({ to, end }) => {
    const { id, before } = await hibernated()
    failWithin('ensureLoaded', { to, end })
    await askToStart(lab, id)
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'pending', doc: { memory: { state: 'saved' }, startFailures: 0 } })
    await move('available')
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { memory: null } })
    expect(memoryOf(lab, id)).toEqual(before)
  })
})

describe('A start that is cut short by the failure of the zone', () => {
  it('is no failure of the instance', async () => {
    const { instance: { instance_id: id } } = await addInstance(lab)
    await setInstance(lab, id, { state: 'stopping' }, { stateReason: STATE_REASONS.userShutdown })
    await lab.settle()
    failWithin('ensureRunning', { to: 'unavailable', end: new Error('its QEMU has ended') })
    await askToStart(lab, id)
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'pending', doc: { startFailures: 0 } })
  })

  it('nor is one that was to bring it back', async () => {
    const { instance: { instance_id: id } } = await addInstance(lab)
    await move('unavailable')
    await lab.settle()
    failWithin('ensureRunning', { to: 'unavailable', end: new Error('its QEMU has ended') })
    await move('available')
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { startFailures: 0, recovery: { cause: 'restart' } } })
    await move('available')
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { startFailures: 0, recovery: null } })
  })
})

describe('A guest that shuts down while its zone fails', () => {
  it('has gone down, where that was seen before the power went', async () => {
    const { instance: { instance_id: id } } = await addInstance(lab)
    await move('unavailable')
    lab.world.guestPowersOff(id)
    const seen = await lab.reconcile(id)
    await lab.run(async ({ db }) => seen?.observed?.write(db))
    await lab.settle()
    expect([processOf(lab, id), (await instanceOf(lab, id)).state]).toEqual([null, 'stopping'])
    await move('available')
    await lab.settle()
    const { state, doc } = await instanceOf(lab, id)
    expect([state, doc.stateReason, lab.world.machines.get(id)?.boots]).toEqual(['stopped', STATE_REASONS.guestShutdown, 1])
  })
})
