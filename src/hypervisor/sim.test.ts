import { beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { settlePromises, VirtualClock } from '../core/virtual-clock.ts'
import { createSimVolumes } from '../volumes/sim.ts'
import type { DiskSpec, MachineSpec } from './driver.ts'
import { createSimWorld, type SimWorld } from './sim-world.ts'
import { createSimHypervisor } from './sim.ts'

const ID = 'i-0123456789abcdef0'
const volumeId = 'vol-0123456789abcdef0'
const layerId = 'lay-0123456789abcdef0'
const disk: DiskSpec = {
  volumeId, deviceName: '/dev/xvda', layers: [{ layerId, path: `/sim/layers/${layerId}`, key: null }], sizeGib: 1, limits: null,
}
const spec: MachineSpec = {
  instanceId: ID, uuid: 'ec201234-5678-4000-8000-123456789abc', slot: 1, vcpus: 1, memoryMib: 64,
  platform: { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' },
  disks: [disk], nics: [], maxNics: 1, netnsPath: null,
}
const random = seededRandom(7)
let clock: VirtualClock
let world: SimWorld

beforeEach(async () => {
  clock = new VirtualClock(random)
  world = createSimWorld({ clock, random, delays: { bootMs: [2000, 2000], shutdownMs: [1500, 1500], unplugMs: [300, 300], streamMs: [1000, 1000] } })
  await volumes().ensureLayer({ layerId, sizeGib: 1, parentId: null, key: null })
})

const volumes = () => createSimVolumes({
  world, clock, random, delays: { createMs: [0, 0], deleteMs: [100, 100], importMs: [0, 0] },
})
const hypervisor = (startMs = 0) =>
  createSimHypervisor({ world, clock, random, delays: { startMs: [startMs, startMs], stopMs: [0, 0] } })

describe('simulated machines', () => {
  test('with no delays, nothing waits for a timer', async () => {
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    expect((await driver.observe(ID)).status).toBe('running')
    await driver.remove(ID)
    expect(clock.nextAt()).toBeUndefined()
  })

  test('boot in their own time, and say that they are simulated', async () => {
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    const early = (await driver.consoleOutput(ID, 9999)).toString()
    expect(early).toContain('simulated guest')
    expect(early).not.toContain('login:')
    await clock.advance(2000)
    expect((await driver.consoleOutput(ID, 9999)).toString()).toContain('login:')
  })

  test('shut down in their own time, also when the agent that asked is gone', async () => {
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    await driver.requestShutdown(ID)
    await driver.close()
    await clock.advance(1499)
    expect((await hypervisor().observe(ID)).status).toBe('running')
    await clock.advance(1)
    expect((await hypervisor().observe(ID)).status).toBe('shutdown')
  })

  test('do not shut down after a restart for a button that was pressed before it', async () => {
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    await driver.requestShutdown(ID)
    world.processDies(ID)
    await driver.ensureRunning(spec)
    await clock.advance(10_000)
    expect((await driver.observe(ID)).status).toBe('running')
    expect(world.machines.get(ID)?.boots).toBe(2)
  })

  test('a driver that died in the middle of a start does not start anything later', async () => {
    const driver = hypervisor(500)
    const starting = driver.ensureRunning(spec)
    starting.catch(() => {})
    await settlePromises()
    await driver.close()
    await clock.advance(10_000)
    await expect(starting).rejects.toThrow('closed')
    expect(await hypervisor().observe(ID)).toEqual({ status: 'absent' })
  })

  test('keep their disks: one in use is not deleted', async () => {
    await hypervisor().ensureRunning(spec)
    const deleting = volumes().ensureDeleted(layerId)
    deleting.catch(() => {})
    await clock.advance(100)
    await expect(deleting).rejects.toThrow('in use')
    expect(await volumes().list()).toEqual([layerId])
  })
})

describe('disks of simulated machines', () => {
  const data = (digit: string, ...layerIds: string[]): DiskSpec => ({
    ...disk, volumeId: `vol-000000000000000${digit}1`, layers: layerIds.map((each) => ({ layerId: each, path: '', key: null })),
  })
  const [one, two, three, four] = ['1', '2', '3', '4'].map((digit) => `lay-0000000000000000${digit}`) as [string, string, string, string]
  const layer = (id: string, parentId: string | null = null) => volumes().ensureLayer({ layerId: id, sizeGib: 1, parentId, key: null })
  const shows = (id: string) => Object.fromEntries(world.dataOf(id))

  test('switch all at one instant, and lose nothing', async () => {
    for (const id of [one, two]) await layer(id)
    const driver = hypervisor()
    const disks = [disk, data('1', one), data('2', two)]
    await driver.ensureRunning({ ...spec, disks })
    for (const { volumeId } of disks) expect(world.guestWrites(ID, volumeId, 1)).toBe(true)
    await layer(three, one)
    await layer(four, two)
    const to = (digit: string, id: string) => ({ volumeId: data(digit).volumeId, to: { layerId: id, path: '', key: null } })
    const switches = [to('1', three), to('2', four)]
    expect(await driver.switchDisks(ID, switches, { quiesce: false })).toEqual({
      switched: disks.slice(1).map((each) => each.volumeId), isQuiesced: false })
    world.guestWrites(ID, data('1').volumeId, 2)
    world.guestWrites(ID, data('2').volumeId, 3, 7)
    expect([one, two, three, four].map(shows)).toEqual([{ 0: 1 }, { 0: 1 }, { 0: 2 }, { 0: 1, 7: 3 }])
    await volumes().ensureSealed(one)
    await expect(volumes().ensureSealed(three)).rejects.toThrow('in use')
  })

  test('are made of fewer layers in a while, whoever watches', async () => {
    await layer(one)
    world.makeLayer({ layerId: two, sizeGib: 1, parentId: one, key: null })
    await layer(three, two)
    world.layers.get(one)?.data.set(0, 1).set(1, 1)
    world.layers.get(two)?.data.set(1, 2)
    const driver = hypervisor()
    const made = data('1', three, two, one)
    await driver.ensureRunning({ ...spec, disks: [disk, made] })
    expect(await driver.ensureShortened(ID, made.volumeId, one)).toEqual({ state: 'running', percent: 0 })
    await clock.advance(500)
    world.guestWrites(ID, made.volumeId, 3, 2)
    expect(await hypervisor().ensureShortened(ID, made.volumeId, one)).toEqual({ state: 'running', percent: 50 })
    await clock.advance(500)
    expect(await driver.ensureShortened(ID, made.volumeId, one)).toEqual({ state: 'done' })
    expect(shows(three)).toEqual({ 0: 1, 1: 2, 2: 3 })
    const deleting = volumes().ensureDeleted(two)
    await clock.advance(100)
    await deleting
    expect(shows(three)).toEqual({ 0: 1, 1: 2, 2: 3 })
    await expect(driver.ensureShortened(ID, made.volumeId, four)).rejects.toThrow(four)
  })

  test('are free for another machine at once when they are cut off', async () => {
    await layer(one)
    const driver = hypervisor()
    await driver.ensureRunning({ ...spec, disks: [disk, data('1', one)] })
    expect(await driver.ensureDisks(ID, [disk], [data('1').volumeId])).toEqual([volumeId])
    await volumes().ensureSealed(one)
    expect(world.guestWrites(ID, data('1').volumeId, 1)).toBe(false)
  })

  test('are refused where QEMU would show a guest rubbish', async () => {
    await layer(one)
    await layer(two, one)
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    const plug = (made: DiskSpec) => driver.ensureDisks(ID, [disk, made])
    await expect(plug(data('1', two))).rejects.toThrow('is not made of')
    await expect(plug({ ...data('1', one), layers: [{ layerId: one, path: '', key: 'key' }] })).rejects.toThrow('wrong key')
    await expect(plug(data('1', four))).rejects.toThrow('not on this host')
    expect(await plug(data('1', two, one))).toEqual([volumeId, data('1').volumeId])
  })

  test('keep what the guest wrote when there was no room, once there is', async () => {
    await hypervisor().ensureRunning(spec)
    world.isDiskFull = true
    expect(world.guestWrites(ID, volumeId, 5)).toBe(false)
    world.isDiskFull = false
    expect(shows(layerId)).toEqual({})
    await hypervisor().resume(ID)
    expect(shows(layerId)).toEqual({ 0: 5 })
  })
})

describe('simulated machines that are frozen', () => {
  test('do nothing until they are thawed, and then what they were about to', async () => {
    const driver = hypervisor()
    await driver.ensureRunning(spec)
    await clock.advance(1000)
    await driver.ensureFrozen(ID)
    await clock.advance(60_000)
    expect([world.guestComputes(ID), world.guestWrites(ID)]).toEqual([false, false])
    world.guestPowersOff(ID)
    await expect(driver.requestShutdown(ID)).rejects.toThrow('does not answer')
    expect((await driver.consoleOutput(ID, 9999)).toString()).not.toContain('login:')
    await driver.ensureThawed(ID)
    expect((await driver.consoleOutput(ID, 9999)).toString()).toContain('login:')
    expect(world.guestWrites(ID, undefined, 4)).toBe(true)
    expect((await driver.observe(ID)).status).toBe('running')
  })

  test('go on with what their disks were busy with', async () => {
    const lower = 'lay-00000000000000001'
    const top = 'lay-00000000000000002'
    await volumes().ensureLayer({ layerId: lower, sizeGib: 1, parentId: layerId, key: null })
    await volumes().ensureLayer({ layerId: top, sizeGib: 1, parentId: lower, key: null })
    const driver = hypervisor()
    await driver.ensureRunning({ ...spec, disks: [{ ...disk, layers: [top, lower, layerId].map((each) => ({ layerId: each, path: '', key: null })) }] })
    await driver.ensureShortened(ID, volumeId, layerId)
    await clock.advance(400)
    await driver.ensureFrozen(ID)
    await clock.advance(5000)
    await driver.ensureThawed(ID)
    expect(await driver.ensureShortened(ID, volumeId, layerId)).toEqual({ state: 'running', percent: 40 })
    await clock.advance(600)
    expect(await driver.ensureShortened(ID, volumeId, layerId)).toEqual({ state: 'done' })
  })
})
