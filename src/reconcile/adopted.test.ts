import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addInstance, openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import { instanceOf, processOf, setInstance } from '../../test/support/hibernation-lab.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { changeInstanceOptions, STATE_REASONS } from '../model/instance.ts'
import { moveZone } from '../model/zone.ts'

const ZONE = 'us-east-1a'

let lab: DiskAgent
beforeEach(async () => {
  lab = await openDiskAgent()
  await lab.run(({ db }) => db.updateTable('hosts').set({ zone: ZONE }).where('host_id', '=', HOST_ID).execute())
})
afterEach(() => lab.close())

const launch = async () => (await addInstance(lab)).instance.instance_id

/** The zone lost its power and has it again; a machine of a host that is no more was not ended by that. */
async function outlived(autoRecovery: 'default' | 'disabled' = 'default'): Promise<string> {
  await lab.run((context) => moveZone(context, ZONE, 'unavailable'))
  await lab.run((context) => moveZone(context, ZONE, 'available'))
  await lab.settle()
  const id = await launch()
  await lab.run(({ db }) => changeInstanceOptions(db, id, { autoRecovery }))
  expect((await instanceOf(lab, id)).doc.hostBootId).toBe('run-1/1')
  return id
}

describe('A machine that was taken over from a host that did not notice the loss of power', () => {
  it('is ended and started again like all others of the zone', async () => {
    const id = await outlived()
    const pid = processOf(lab, id)?.pid
    await setInstance(lab, id, {}, { hostBootId: 'run-1' })
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'running', doc: { hostBootId: 'run-1/1', recovery: null } })
    expect([lab.world.machines.get(id)?.boots, processOf(lab, id)?.status, processOf(lab, id)?.pid === pid]).toEqual([2, 'running', false])
  })

  it('is ended, and its instance stopped, where that does not want to be brought back', async () => {
    const id = await outlived('disabled')
    await setInstance(lab, id, {}, { hostBootId: 'run-1' })
    await lab.settle()
    expect(await instanceOf(lab, id)).toMatchObject({ state: 'stopped', doc: { stateReason: STATE_REASONS.hostRestart } })
    // Nobody asked the guest to shut down.
    expect([processOf(lab, id), lab.world.machines.get(id)?.console.includes('The simulated guest is down.')]).toEqual([null, false])
  })
})

describe('An instance that was about to be started on another host, and is back', () => {
  it('starts: its host does not wait for itself', async () => {
    const id = await launch()
    await setInstance(lab, id, { state: 'stopping' })
    await lab.settle()
    await setInstance(lab, id, { state: 'pending' }, { movedFrom: HOST_ID })
    await lab.settle()
    expect((await instanceOf(lab, id)).state).toBe('running')
  })
})
