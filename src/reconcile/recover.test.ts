import type { InstanceStatus, Reservation } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addInstance, crashEverywhere, openDiskAgent, type DiskAgent } from '../../test/support/disk-agent.ts'
import { HOST_ID } from '../../test/support/rows.ts'
import { changeInstanceDoc, changeInstanceOptions, instanceDoc, type InstanceDoc } from '../model/instance.ts'
import { SimulatedCloud } from '../simulate/simulator.ts'
import { enqueue } from '../store/work.ts'

let cloud: SimulatedCloud

beforeEach(async () => {
  cloud = await SimulatedCloud.create(1, undefined, { checkIntervalMs: 60_000 })
})
afterEach(() => cloud.close())

async function call<Output>(action: string, input: object): Promise<Output> {
  const result = await cloud.call(action, input)
  if (result.kind !== 'answered') throw new Error(`${action}: ${JSON.stringify(result)}`)
  return result.output as Output
}

async function launch(count = 1): Promise<string[]> {
  const image = await cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
  const { Instances } = await call<Reservation>('RunInstances', { ImageId: image.image_id, InstanceType: 't3.micro', MinCount: count, MaxCount: count })
  await cloud.converge()
  return (Instances ?? []).map((each) => each.InstanceId ?? '')
}
const describeOne = async (id: string) =>
  (await call<{ Reservations: Reservation[] }>('DescribeInstances', { InstanceIds: [id] })).Reservations[0]?.Instances?.[0]
const statusOf = async (id: string) =>
  (await call<{ InstanceStatuses: InstanceStatus[] }>('DescribeInstanceStatus', { InstanceIds: [id] })).InstanceStatuses[0]
const docOf = async (id: string) => instanceDoc(await cloud.store.read((db) =>
  db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow()))
const machineOf = (id: string) => cloud.host.world.machines.get(id)
const processOf = (id: string) => machineOf(id)?.process
const setAutoRecovery = (id: string, autoRecovery: 'default' | 'disabled') =>
  cloud.store.transaction('test', (db) => changeInstanceOptions(db, id, { autoRecovery }))
/** What must be the same before and after a recovery. */
const placeOf = async (id: string) => {
  const { PrivateIpAddress, PublicIpAddress, LaunchTime, State } = (await describeOne(id)) ?? {}
  return { PrivateIpAddress, PublicIpAddress, LaunchTime, State }
}
const MINUTE = 60_000

describe('A machine whose port was lost with the network of the computer', () => {
  const losePort = (id: string) => cloud.store.transaction('test', (db) =>
    db.updateTable('interfaces').set((eb) => ({ ready: 0, revision: eb('revision', '+', 1) })).where('instance_id', '=', id).execute())

  it('is rebooted when it has that again, and not without it', async () => {
    const [id = ''] = await launch()
    const boots = machineOf(id)?.boots ?? 0
    await losePort(id)
    await call('RebootInstances', { InstanceIds: [id] })
    await cloud.converge()
    expect([processOf(id)?.nics.size, machineOf(id)?.boots]).toEqual([1, boots + 1])
  })

  it('is replaced when it has that again, and not without it', async () => {
    const [id = ''] = await launch()
    const boots = machineOf(id)?.boots ?? 0
    cloud.host.world.processHangs(id)
    await cloud.clock.advance(4.5 * MINUTE)
    await losePort(id)
    await cloud.clock.advance(10 * MINUTE)
    await cloud.converge()
    expect([processOf(id)?.nics.size, machineOf(id)?.boots]).toEqual([1, boots + 1])
  })
})

describe('A guest that hangs', () => {
  it('makes its instance impaired after two checks, since the first of them, and is left alone', async () => {
    const [id = '', other = ''] = await launch(2)
    await cloud.clock.advance(2 * MINUTE)
    const boots = machineOf(id)?.boots
    const hungMs = cloud.clock.now()
    cloud.host.world.guestHangs(id)
    await cloud.clock.advance(MINUTE)
    expect((await statusOf(id))?.InstanceStatus?.Status).toBe('ok')
    await cloud.clock.advance(MINUTE)
    const { InstanceStatus, SystemStatus } = (await statusOf(id)) ?? {}
    expect(SystemStatus?.Status).toBe('ok')
    expect(InstanceStatus).toMatchObject({ Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed' }] })
    const sinceMs = InstanceStatus?.Details?.[0]?.ImpairedSince?.getTime() ?? 0
    expect(sinceMs).toBeGreaterThanOrEqual(hungMs)
    expect(sinceMs).toBeLessThanOrEqual(hungMs + MINUTE)
    expect((await statusOf(other))?.InstanceStatus?.Status).toBe('ok')
    await cloud.clock.advance(20 * MINUTE)
    expect(machineOf(id)?.boots).toBe(boots)
  })

  it('is well again after a reboot, which it is made to do', async () => {
    const [id = ''] = await launch()
    cloud.host.world.guestHangs(id)
    await cloud.clock.advance(3 * MINUTE)
    expect((await statusOf(id))?.InstanceStatus?.Status).toBe('impaired')
    await call('RebootInstances', { InstanceIds: [id] })
    await cloud.clock.advance(3 * MINUTE)
    expect((await statusOf(id))?.InstanceStatus?.Status).toBe('ok')
    expect(machineOf(id)?.boots).toBe(2)
  })

  it('stays impaired when the agent is started anew, and one that answers again does not', async () => {
    const [id = ''] = await launch()
    cloud.host.world.guestHangs(id)
    await cloud.clock.advance(3 * MINUTE)
    const before = await statusOf(id)
    cloud.killAgent()
    await cloud.clock.advance(90_000)
    expect(await statusOf(id)).toEqual(before)
    delete processOf(id)?.hangs
    await cloud.clock.advance(2 * MINUTE)
    expect((await statusOf(id))?.InstanceStatus?.Status).toBe('ok')
    expect((await docOf(id)).checks).toBeNull()
  })
})

describe('A machine that hangs', () => {
  it('is replaced in the same place when it has not answered five times', async () => {
    const [id = ''] = await launch()
    const [place, process, before] = [await placeOf(id), processOf(id), await docOf(id)]
    cloud.host.world.processHangs(id)
    await cloud.clock.advance(3 * MINUTE)
    expect(await statusOf(id)).toMatchObject({ SystemStatus: { Status: 'impaired' }, InstanceStatus: { Status: 'impaired' } })
    expect(processOf(id)).toBe(process)
    await cloud.clock.advance(3 * MINUTE)
    expect(processOf(id)?.pid).not.toBe(process?.pid)
    expect(await placeOf(id)).toEqual(place)
    expect(await statusOf(id)).toMatchObject({ SystemStatus: { Status: 'ok' }, InstanceStatus: { Status: 'ok' } })
    const after = await docOf(id)
    expect(after).toMatchObject({ recovery: null, checks: null, startFailures: 0 })
    expect(after.generation).toBe((before.generation ?? 0) + 1)
  })

  it('is left alone when it answers again in time', async () => {
    const [id = ''] = await launch()
    const process = processOf(id)
    cloud.host.world.processHangs(id)
    await cloud.clock.advance(4 * MINUTE)
    delete process?.hangs
    await cloud.clock.advance(10 * MINUTE)
    expect(processOf(id)).toBe(process)
    expect((await statusOf(id))?.SystemStatus?.Status).toBe('ok')
  })

  it('stays impaired where automatic recovery is disabled, and after three recoveries in a day', async () => {
    const [off = '', often = ''] = await launch(2)
    await setAutoRecovery(off, 'disabled')
    const recovered = (hoursAgo: number) => cloud.store.transaction('test', (db) =>
      changeInstanceDoc(db, often, { recoveredMs: [1, 2, 3].map((each) => cloud.clock.now() - hoursAgo * 60 * MINUTE + each) }))
    await recovered(23)
    for (const id of [off, often]) cloud.host.world.processHangs(id)
    await cloud.clock.advance(10 * MINUTE)
    expect([machineOf(off)?.boots, machineOf(often)?.boots]).toEqual([1, 1])
    for (const id of [off, often]) expect((await statusOf(id))?.SystemStatus?.Status).toBe('impaired')
    await recovered(25)
    await cloud.clock.advance(2 * MINUTE)
    expect([machineOf(off)?.boots, machineOf(often)?.boots]).toEqual([1, 2])
  })
})

describe('A restart of the host', () => {
  it('brings running instances back as they were', async () => {
    const ids = await launch(3)
    const places = await Promise.all(ids.map(placeOf))
    cloud.restartHost()
    await cloud.converge()
    expect(await Promise.all(ids.map(placeOf))).toEqual(places)
    expect(ids.map((id) => machineOf(id)?.boots)).toEqual([2, 2, 2])
    expect(cloud.host.network.ports()).toHaveLength(3)
  })

  it('leaves those stopped that do not want to be brought back, and says why', async () => {
    const [id = ''] = await launch()
    await setAutoRecovery(id, 'disabled')
    cloud.restartHost()
    await cloud.converge()
    const message = 'Server.InternalError: The host of the instance was restarted'
    expect(await describeOne(id)).toMatchObject({
      State: { Name: 'stopped' }, StateReason: { Code: 'Server.InternalError', Message: message }, StateTransitionReason: message,
    })
  })

  it('ends what was on its way where it was going', async () => {
    const [stopping = '', terminating = '', rebooting = '', stopped = ''] = await launch(4)
    await call('StopInstances', { InstanceIds: [stopped] })
    await cloud.converge()
    await call('StopInstances', { InstanceIds: [stopping] })
    await call('TerminateInstances', { InstanceIds: [terminating] })
    await call('RebootInstances', { InstanceIds: [rebooting] })
    await call('StartInstances', { InstanceIds: [stopped] })
    cloud.restartHost()
    await cloud.converge()
    const states = await Promise.all([stopping, terminating, rebooting, stopped].map(async (id) => (await describeOne(id))?.State?.Name))
    expect(states).toEqual(['stopped', 'terminated', 'running', 'running'])
  })

  it('does not touch machines when only the agent was restarted, nor those of rows that say nothing of it', async () => {
    const [id = '', old = ''] = await launch(2)
    await cloud.store.transaction('test', (db) => changeInstanceDoc(db, old, { hostBootId: undefined }))
    const processes = [processOf(id), processOf(old)]
    cloud.killAgent()
    await cloud.converge()
    expect([processOf(id), processOf(old)]).toEqual(processes)
    cloud.restartHost()
    await cloud.converge()
    expect((await describeOne(id))?.State?.Name).toBe('running')
    // As before there was recovery.
    expect(await describeOne(old)).toMatchObject({
      State: { Name: 'stopped' }, StateReason: { Message: 'Server.InternalError: The machine ended unexpectedly' },
    })
  })

  it('is no reason to bring a machine back that is killed later', async () => {
    const [id = ''] = await launch()
    cloud.restartHost()
    await cloud.converge()
    cloud.host.world.processDies(id)
    await cloud.converge()
    const message = 'Server.InternalError: The machine ended unexpectedly'
    expect(await describeOne(id)).toMatchObject({
      State: { Name: 'stopped' }, StateReason: { Code: 'Server.InternalError', Message: message }, StateTransitionReason: message,
    })
  })
})

describe('A recovery that is cut short', () => {
  const before = async (lab: DiskAgent) => {
    const { instance: { instance_id: id } } = await addInstance(lab)
    const pid = lab.world.machines.get(id)?.process?.pid ?? 0
    const begin = (change: Partial<InstanceDoc>) => lab.run(async ({ db, nowMs }) => {
      await changeInstanceDoc(db, id, change)
      await enqueue(db, { kind: 'instance', id, hostId: HOST_ID }, nowMs)
    })
    const after = async () => {
      const row = await lab.query((db) => db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow())
      const machine = lab.world.machines.get(id)
      const { recovery, recoveredMs, hostBootId, generation } = instanceDoc(row)
      return {
        state: row.state, boots: machine?.boots, isNew: machine?.process?.pid !== pid, recovery, hostBootId, recoveries: recoveredMs?.length,
        isOfNewGeneration: (generation ?? 0) >= 2,
      }
    }
    return { id, pid, begin, after }
  }
  const done = { state: 'running', boots: 2, isNew: true, recovery: null, hostBootId: 'run-1', isOfNewGeneration: true }

  it('of a machine that hangs is done once, wherever the agent dies', async () => {
    const points = await crashEverywhere(async (lab, mortal) => {
      const { id, pid, begin, after } = await before(lab)
      lab.world.processHangs(id)
      await begin({ recovery: { cause: 'hang', pid } })
      await mortal(() => lab.settle())
      expect(await after()).toEqual({ ...done, recoveries: 1 })
    })
    expect(points).toBeGreaterThan(10)
  })

  it('of a machine that was lost with its host is done once, wherever the agent dies', async () => {
    const points = await crashEverywhere(async (lab, mortal) => {
      const { id, begin, after } = await before(lab)
      await begin({ hostBootId: 'run-0' })
      lab.world.processDies(id)
      await mortal(() => lab.settle())
      expect(await after()).toEqual({ ...done, recoveries: 0 })
    })
    expect(points).toBeGreaterThan(8)
  })

  it('is given up when the machine does not start, and the instance stops', async () => {
    const lab = await openDiskAgent()
    try {
      const { id, begin, after } = await before(lab)
      lab.wrapped.hypervisor = (driver) => {
        driver.ensureRunning = () => Promise.reject(new Error('no memory'))
      }
      lab.restart()
      await begin({ hostBootId: 'run-0' })
      lab.world.processDies(id)
      await lab.settle()
      expect(lab.failures.filter((each) => each === 'no memory')).toHaveLength(5)
      expect(await after()).toMatchObject({ state: 'stopped', recovery: null })
      expect(lab.world.machines.get(id)?.process).toBeNull()
    } finally {
      await lab.close()
    }
  })
})
