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
  world = createSimWorld({ clock, random, delays: { bootMs: [2000, 2000], shutdownMs: [1500, 1500], unplugMs: [300, 300] } })
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
