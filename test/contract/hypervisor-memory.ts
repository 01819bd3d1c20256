import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { MemoryImageError, type DiskSpec, type Hypervisor, type MachineSpec, type MemoryImage } from '../../src/hypervisor/driver.ts'
import { newDigits, type TestHost } from './hypervisor-hosts.ts'

/** A part of the contract of Hypervisor, on one machine; `another` is as after the agent died. */
export function memoryContract(now: () => { host: TestHost; driver: Hypervisor }, another: () => void): void {
  describe('the memory of a machine', () => {
    let spec: MachineSpec
    let id: string
    let image: MemoryImage
    beforeAll(async () => {
      spec = await now().host.spec()
      id = spec.instanceId
    })
    afterAll(() => now().driver.remove(id))
    afterEach(() => now().driver.ensureStopped(id))

    const start = async (whole = spec) => {
      image = { memoryId: `mem-${newDigits()}`, key: systemRandom.bytes(32).toString('base64'), binding: '["these","disks"]' }
      await now().driver.ensureRunning(whole)
      return now().host.contentOf(id)
    }
    const status = async () => (await now().driver.observe(id)).status
    const save = (whole = spec) => now().driver.ensureSaved(id, image, whole.disks)
    const load = (whole = spec, what = image) => now().driver.ensureLoaded(whole, what)
    const nextAgent = async () => {
      await now().driver.close()
      another()
    }

    test('is saved, and then there is no process; loaded, and it stands still; let go on, and it is what it was', async () => {
      const before = await start()
      expect(await save()).toBe('saved')
      expect(await status()).toBe('absent')
      expect(now().host.countProcesses(id)).toBe(0)
      expect(await load()).toBe('loaded')
      expect(await status()).toBe('paused')
      await now().driver.ensureReleased(id)
      expect(await status()).toBe('running')
      expect(await now().host.contentOf(id)).toBe(before)
      // What was loaded once is never loaded again.
      await now().driver.ensureStopped(id)
      expect(await load()).toBe('missing')
      expect(await status()).toBe('absent')
    })

    test('is saved, loaded and let go on once, however often and by whichever agent', async () => {
      const before = await start()
      expect(await save()).toBe('saved')
      expect(await save()).toBe('saved')
      await nextAgent()
      expect(await save()).toBe('saved')
      expect(await load()).toBe('loaded')
      const loaded = await now().driver.observe(id)
      await nextAgent()
      expect(await load()).toBe('loaded')
      expect(await now().driver.observe(id)).toEqual(loaded)
      expect(now().host.countProcesses(id)).toBe(1)
      await now().driver.ensureReleased(id)
      await now().driver.ensureReleased(id)
      expect(await status()).toBe('running')
      await expect(load()).resolves.toBe('missing')
      expect(await status()).toBe('running')
      expect(await now().host.contentOf(id)).toBe(before)
    })

    test('is saved and loaded several times in a life', async () => {
      const before = await start()
      for (const round of [1, 2]) {
        image = { ...image, memoryId: `mem-${newDigits()}`, binding: `round ${round}` }
        expect(await save()).toBe('saved')
        expect(await load()).toBe('loaded')
        await now().driver.ensureReleased(id)
      }
      expect(await now().host.contentOf(id)).toBe(before)
    })

    test('of a machine without a process, or whose guest has powered itself off, is absent', async () => {
      await start()
      await now().host.guestPowersOff(id)
      await waitFor(systemClock, 'the power-off', 30_000, async () => (await status()) === 'shutdown')
      expect(await save()).toBe('absent')
      expect(await status()).toBe('shutdown')
      await now().driver.ensureStopped(id)
      expect(await save()).toBe('absent')
      expect(await load()).toBe('missing')
      await now().driver.ensureReleased(id)
      await now().driver.ensureForgotten(id)
    })

    test('is not loaded with another key or another binding, nor without a disk that the guest has, and stays', async () => {
      const disk = await now().host.disk()
      const whole = { ...spec, disks: [...spec.disks, disk] }
      await start(whole)
      expect(await save(whole)).toBe('saved')
      const otherKey = systemRandom.bytes(32).toString('base64')
      await expect(load(whole, { ...image, key: otherKey })).rejects.toThrow(MemoryImageError)
      await expect(load(whole, { ...image, binding: 'newer disks' })).rejects.toThrow(MemoryImageError)
      await expect(load(spec)).rejects.toThrow(MemoryImageError)
      expect(await status()).toBe('absent')
      expect(await load(whole)).toBe('loaded')
    })

    test('is not saved when that is aborted, and the guest goes on', async () => {
      const before = await start()
      const why = new Error('its devices are to change')
      await expect(now().driver.ensureSaved(id, image, spec.disks, AbortSignal.abort(why))).rejects.toBe(why)
      expect(await status()).toBe('running')
      expect(await now().host.contentOf(id)).toBe(before)
      expect(await save()).toBe('saved')
    })

    test('goes with disks that were plugged in while it ran', async () => {
      const [atStart, later] = [await now().host.disk(), await now().host.disk()] as [DiskSpec, DiskSpec]
      const whole = { ...spec, disks: [...spec.disks, atStart, later] }
      const before = await start({ ...spec, disks: [...spec.disks, atStart] })
      await now().driver.ensureDisks(id, whole.disks)
      // In another order than they came.
      const turned = { ...spec, disks: [...spec.disks, later, atStart] }
      expect(await save(whole)).toBe('saved')
      expect(await load(turned)).toBe('loaded')
      expect(now().host.holds(id, later.layers[0])).toBe(true)
      await now().driver.ensureReleased(id)
      expect((await now().driver.ensureDisks(id, whole.disks)).toSorted()).toEqual(whole.disks.map((disk) => disk.volumeId).toSorted())
      expect(await now().host.contentOf(id)).toBe(before)
    })

    test('is deleted before the machine is started afresh, also of one that stands still', async () => {
      const before = await start()
      expect(await save()).toBe('saved')
      await now().driver.ensureRunning(spec)
      expect(await status()).toBe('running')
      await now().driver.ensureStopped(id)
      expect(await load()).toBe('missing')
      await start()
      expect(await save()).toBe('saved')
      expect(await load()).toBe('loaded')
      const paused = await now().driver.observe(id)
      await now().driver.ensureRunning(spec)
      expect(await status()).toBe('running')
      expect(await now().driver.observe(id)).not.toMatchObject({ pid: 'pid' in paused ? paused.pid : 0 })
      expect(await now().host.contentOf(id)).not.toBe(before)
      await now().driver.ensureStopped(id)
      expect(await load()).toBe('missing')
    })

    test('outlives the end of a machine that was loaded with it, until it is forgotten', async () => {
      const before = await start()
      expect(await save()).toBe('saved')
      expect(await load()).toBe('loaded')
      await now().host.killProcess(id)
      await waitFor(systemClock, 'its end', 10_000, async () => (await status()) === 'absent')
      expect(await load()).toBe('loaded')
      await now().driver.ensureStopped(id)
      expect(await load()).toBe('loaded')
      await now().driver.ensureReleased(id)
      expect(await now().host.contentOf(id)).toBe(before)
      expect(await save()).toBe('saved')
      await now().driver.ensureForgotten(id)
      await now().driver.ensureForgotten(id)
      expect(await load()).toBe('missing')
    })

    test('of a machine that is removed goes with it', async () => {
      await start()
      expect(await save()).toBe('saved')
      await now().driver.remove(id)
      expect(await load()).toBe('missing')
      expect(await now().driver.list()).not.toContain(id)
    })
  })
}
