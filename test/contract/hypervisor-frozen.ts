import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { Hypervisor, MachineSpec, MemoryImage } from '../../src/hypervisor/driver.ts'
import { newDigits, type TestHost } from './hypervisor-hosts.ts'

/** A part of the contract of Hypervisor, on one machine; `another` is as after the agent died. */
export function frozenContract(now: () => { host: TestHost; driver: Hypervisor }, another: () => void): void {
  describe('a machine that is frozen', () => {
    let spec: MachineSpec
    let id: string
    beforeAll(async () => {
      spec = await now().host.spec()
      id = spec.instanceId
    })
    afterAll(() => now().driver.remove(id))
    afterEach(() => now().driver.ensureStopped(id))

    const start = async () => {
      await now().driver.ensureRunning(spec)
      return { content: await now().host.contentOf(id), seen: await now().driver.observe(id) }
    }
    const health = () => now().driver.health(id)
    const nextAgent = async () => {
      await now().driver.close()
      another()
    }

    test('is silent and seen as running, and goes on where it was when it is thawed', async () => {
      const before = await start()
      await now().driver.ensureFrozen(id)
      expect(await health()).toBe('silent')
      expect(await now().driver.observe(id)).toEqual(before.seen)
      await expect(now().driver.screenshot(id)).rejects.toThrow()
      await now().driver.ensureThawed(id)
      expect(await health()).toBe('running')
      expect(await now().driver.observe(id)).toEqual(before.seen)
      expect(await now().host.contentOf(id)).toBe(before.content)
    })

    test('is so once, however often and by whichever agent', async () => {
      const before = await start()
      await now().driver.ensureFrozen(id)
      await now().driver.ensureFrozen(id)
      await nextAgent()
      expect(await health()).toBe('silent')
      await now().driver.ensureFrozen(id)
      // Nor does it start a second one.
      await now().driver.ensureRunning(spec)
      expect(now().host.countProcesses(id)).toBe(1)
      expect(await health()).toBe('silent')
      await nextAgent()
      await now().driver.ensureThawed(id)
      await now().driver.ensureThawed(id)
      expect(await health()).toBe('running')
      expect(await now().host.contentOf(id)).toBe(before.content)
    })

    test('is frozen while others wait for it to answer', async () => {
      await start()
      const stopping = now().driver.ensureNics(id, spec.nics)
      await now().driver.ensureFrozen(id)
      await stopping.catch(() => {})
      expect(await health()).toBe('silent')
    })

    test('ends when it is to be stopped, and is none when it starts again', async () => {
      await start()
      await now().driver.ensureFrozen(id)
      await now().driver.ensureStopped(id)
      expect(now().host.countProcesses(id)).toBe(0)
      expect(await health()).toBe('absent')
      await start()
      expect(await health()).toBe('running')
    })

    test('is none without a process', async () => {
      await now().driver.ensureFrozen(id)
      await now().driver.ensureThawed(id)
      expect(await now().driver.observe(id)).toEqual({ status: 'absent' })
      await start()
      expect(await health()).toBe('running')
    })

    test('stands still as before when it was loaded and not let go on, whoever thaws it', async () => {
      const before = await start()
      const image: MemoryImage = { memoryId: `mem-${newDigits()}`, key: systemRandom.bytes(32).toString('base64'), binding: '[]' }
      const { driver } = now()
      expect(await driver.ensureSaved(id, image, spec.disks)).toBe('saved')
      expect(await driver.ensureLoaded(spec, image)).toBe('loaded')
      // It is not frozen.
      await driver.ensureThawed(id)
      expect(await driver.observe(id)).toMatchObject({ status: 'paused' })
      await driver.ensureFrozen(id)
      expect(await health()).toBe('silent')
      await expect(driver.ensureReleased(id)).rejects.toThrow()
      await nextAgent()
      await now().driver.ensureThawed(id)
      expect(await now().driver.observe(id)).toMatchObject({ status: 'paused' })
      expect(await now().driver.ensureLoaded(spec, image)).toBe('loaded')
      await now().driver.ensureReleased(id)
      expect(await now().host.contentOf(id)).toBe(before.content)
    })

    test('stands still as before when its guest has no space', async () => {
      const full = await now().host.specOnFullDisk()
      const instanceId = full.spec.instanceId
      try {
        await now().driver.ensureRunning(full.spec)
        full.guestWrites()
        const isOut = async () => {
          const seen = await now().driver.observe(instanceId)
          return seen.status === 'running' && seen.outOfSpace === true
        }
        await waitFor(systemClock, 'it to be out of space', 30_000, isOut)
        await now().driver.ensureFrozen(instanceId)
        await now().driver.ensureThawed(instanceId)
        expect(await isOut()).toBe(true)
        expect(await now().driver.health(instanceId)).toBe('still')
      } finally {
        full.makeRoom()
        await now().driver.remove(instanceId)
        full.close()
      }
    })
  })
}
