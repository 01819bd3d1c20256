import { beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { settlePromises, VirtualClock } from '../core/virtual-clock.ts'
import { createSimVolumes } from '../volumes/sim.ts'
import { MemoryImageError, type DiskSpec, type MachineSpec, type MemoryImage } from './driver.ts'
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
  platform: { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' }, disks: [disk], nics: [], maxNics: 1, netnsPath: null,
}
const image: MemoryImage = { memoryId: 'mem-0123456789abcdef0', key: 'a key', binding: 'these disks' }
const random = seededRandom(7)
let clock: VirtualClock
let world: SimWorld

const hypervisor = (delayMs = 0) => createSimHypervisor({
  world, clock, random, delays: { startMs: [0, 0], stopMs: [delayMs, delayMs], saveMs: [delayMs, delayMs], loadMs: [delayMs, delayMs] },
})
const memory = () => world.machines.get(ID)?.process?.memory
const images = () => [...world.machines.get(ID)?.images.keys() ?? []]

beforeEach(async () => {
  clock = new VirtualClock(random)
  world = createSimWorld({ clock, random, delays: { bootMs: [0, 0], shutdownMs: [1500, 1500], unplugMs: [300, 300] } })
  await createSimVolumes({ world, clock, random, delays: { createMs: [0, 0], deleteMs: [0, 0], importMs: [0, 0] } })
    .ensureLayer({ layerId, sizeGib: 1, parentId: null, key: null })
  await hypervisor().ensureRunning(spec)
  world.guestWrites(ID, volumeId, 5)
  world.guestComputes(ID)
})

/** A driver whose agent dies while it does that. */
async function dyingIn(body: (driver: ReturnType<typeof hypervisor>) => Promise<unknown>): Promise<void> {
  const driver = hypervisor(500)
  const call = body(driver)
  call.catch(() => {})
  await settlePromises()
  await driver.close()
  await expect(call).rejects.toThrow('closed')
}

describe('the memory of a simulated guest', () => {
  test('goes on where it was, in a new process, and its file is gone', async () => {
    const before = { ...memory() }
    expect(before.counter).toBe(2)
    const driver = hypervisor()
    expect(await driver.ensureSaved(ID, image, [disk])).toBe('saved')
    expect(await driver.ensureSaved(ID, image, [disk])).toBe('saved')
    expect(await driver.observe(ID)).toEqual({ status: 'absent' })
    expect(await driver.ensureLoaded(spec, image)).toBe('loaded')
    const loaded = await driver.observe(ID)
    expect(loaded.status).toBe('paused')
    expect(await driver.ensureLoaded(spec, image)).toBe('loaded')
    expect(await driver.observe(ID)).toEqual(loaded)
    await driver.ensureReleased(ID)
    expect((await driver.observe(ID)).status).toBe('running')
    expect(memory()).toEqual(before)
    expect(images()).toEqual([])
    expect(await driver.ensureLoaded(spec, image)).toBe('missing')
    expect(world.harm).toEqual([])
  })

  test('is not changed while the guest stands still, which does not hear the power button either', async () => {
    const driver = hypervisor()
    await dyingIn((each) => each.ensureSaved(ID, image, [disk]))
    expect((await driver.observe(ID)).status).toBe('paused')
    await driver.requestShutdown(ID)
    expect([world.guestWrites(ID, volumeId, 6), world.guestComputes(ID)]).toEqual([false, false])
    await clock.advance(5000)
    expect((await driver.observe(ID)).status).toBe('paused')
    // A save that was cut short left no memory behind.
    expect(await driver.ensureLoaded(spec, image)).toBe('missing')
    expect(await driver.ensureSaved(ID, image, [disk])).toBe('saved')
  })

  test('is lost with a process that ends while it is saved, and with a guest that has powered itself off', async () => {
    await dyingIn((driver) => driver.ensureSaved(ID, image, [disk]))
    world.processDies(ID)
    expect(await hypervisor().ensureSaved(ID, image, [disk])).toBe('absent')
    await hypervisor().ensureRunning(spec)
    expect(images()).toEqual([])
    world.guestPowersOff(ID)
    expect(await hypervisor().ensureSaved(ID, image, [disk])).toBe('absent')
  })

  test('that cannot be saved leaves the guest as it was', async () => {
    const driver = hypervisor()
    world.hibernationFails = true
    await expect(driver.ensureSaved(ID, image, [disk])).rejects.toThrow(MemoryImageError)
    expect((await driver.observe(ID)).status).toBe('running')
    expect([memory()?.counter, images()]).toEqual([2, []])
  })

  test('is not saved any more once that is aborted, and the guest goes on', async () => {
    const [aborting, why] = [new AbortController(), new Error('its devices are to change')]
    const saving = hypervisor(500).ensureSaved(ID, image, [disk], aborting.signal)
    const ended = expect(saving).rejects.toBe(why)
    await settlePromises()
    expect((await hypervisor().observe(ID)).status).toBe('paused')
    aborting.abort(why)
    await ended
    expect((await hypervisor().observe(ID)).status).toBe('running')
    expect([memory()?.counter, images()]).toEqual([2, []])
  })

  test('of a guest without space writes when there is some', async () => {
    world.isDiskFull = true
    world.guestWrites(ID, volumeId, 9)
    const driver = hypervisor()
    await expect(driver.ensureSaved(ID, image, [disk])).rejects.toThrow('full')
    expect(await driver.observe(ID)).toMatchObject({ status: 'running', outOfSpace: true })
    world.isDiskFull = false
    await driver.ensureSaved(ID, image, [disk])
    await driver.ensureLoaded(spec, image)
    expect(Object.fromEntries(world.dataOf(layerId))).toEqual({ 0: 5 })
    await driver.ensureReleased(ID)
    expect(Object.fromEntries(world.dataOf(layerId))).toEqual({ 0: 9 })
    expect(world.harm).toEqual([])
  })

  test.each<[string, Partial<MemoryImage>, Partial<MachineSpec>]>([
    ['another key', { key: 'other' }, {}],
    ['another binding', { binding: 'newer disks' }, {}],
    ['other disks', {}, { disks: [] }],
    ['other interfaces', {}, { nics: [{ interfaceId: 'eni-1', attachmentId: 'eni-attach-1', deviceIndex: 0, mac: '', tap: '' }] }],
  ])('does not load with %s, and stays', async (_what, asked, machine) => {
    await hypervisor().ensureSaved(ID, image, [disk])
    await expect(hypervisor().ensureLoaded({ ...spec, ...machine }, { ...image, ...asked })).rejects.toThrow(MemoryImageError)
    expect(await hypervisor().observe(ID)).toEqual({ status: 'absent' })
    expect(await hypervisor().ensureLoaded(spec, image)).toBe('loaded')
  })

  test('is deleted before the disks move on without it', async () => {
    const driver = hypervisor()
    await driver.ensureSaved(ID, image, [disk])
    await driver.ensureRunning(spec)
    expect(images()).toEqual([])
    expect(memory()?.counter).toBe(0)
    await driver.ensureSaved(ID, image, [disk])
    await driver.ensureForgotten(ID)
    expect(await driver.ensureLoaded(spec, image)).toBe('missing')
  })

  test('that was loaded and whose agent died is let go on by the next, and only once', async () => {
    await hypervisor().ensureSaved(ID, image, [disk])
    await hypervisor().ensureLoaded(spec, image)
    await dyingIn((driver) => driver.ensureReleased(ID))
    expect((await hypervisor().observe(ID)).status).toBe('paused')
    expect(images()).toEqual([])
    await hypervisor().ensureReleased(ID)
    expect((await hypervisor().observe(ID)).status).toBe('running')
  })

  test('that goes on with disks that have changed is noticed', async () => {
    await hypervisor().ensureSaved(ID, image, [disk])
    world.layers.get(layerId)?.data.set(0, 6)
    await hypervisor().ensureLoaded(spec, image)
    await hypervisor().ensureReleased(ID)
    expect(world.harm.join()).toContain('goes on')
  })
})
