import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import type { DiskSpec, Hypervisor, MachineSpec } from '../../src/hypervisor/driver.ts'
import type { TestHost } from './hypervisor-hosts.ts'

/** A part of the contract of Hypervisor, on one machine that goes on running; `another` is as after the agent died. */
export function diskContract(now: () => { host: TestHost; driver: Hypervisor }, another: () => void): void {
  describe('disks of a running machine', () => {
    let spec: MachineSpec
    let id: string
    let root: DiskSpec
    beforeAll(async () => {
      spec = await now().host.spec()
      id = spec.instanceId
      root = spec.disks[0]!
    })
    afterAll(() => now().driver.remove(id))
    afterEach(async () => {
      // Whatever a test leaves is for its machine only.
      await now().driver.ensureStopped(id)
    })

    const start = (...disks: DiskSpec[]) => now().driver.ensureRunning({ ...spec, disks: [root, ...disks] })
    const ensure = async (disks: DiskSpec[], cutOff: DiskSpec[] = []) =>
      (await now().driver.ensureDisks(id, [root, ...disks], cutOff.map((disk) => disk.volumeId))).toSorted()
    const ids = (...disks: DiskSpec[]) => [root, ...disks].map((disk) => disk.volumeId).toSorted()
    const holds = (disk: DiskSpec) => now().host.holds(id, disk.layers[0])
    const disks = async (count: number) => Promise.all(Array.from({ length: count }, () => now().host.disk()))

    test('a machine that does not run has none, and switches none', async () => {
      const [disk] = await disks(1) as [DiskSpec]
      expect(await ensure([disk])).toEqual([])
      const switches = [{ volumeId: disk.volumeId, to: await now().host.layerOver(disk) }]
      expect(await now().driver.switchDisks(id, switches, { quiesce: true })).toEqual({ switched: [], isQuiesced: false })
      expect(await now().driver.ensureShortened(id, disk.volumeId, null)).toEqual({ state: 'absent' })
    })

    test('are plugged in while it runs, once, beside those of its start, by agents that follow each other', async () => {
      const [first, second, third] = await disks(3) as [DiskSpec, DiskSpec, DiskSpec]
      await start(first)
      const before = await now().driver.observe(id)
      expect(await ensure([first, second])).toEqual(ids(first, second))
      await now().driver.close()
      another()
      expect(await ensure([first, second, third])).toEqual(ids(first, second, third))
      expect(await ensure([first, second, third])).toEqual(ids(first, second, third))
      expect(await now().driver.observe(id)).toEqual(before)
    })

    test('leave when the guest gives them up, which listeners hear of; the root stays', async () => {
      const [first, second] = await disks(2) as [DiskSpec, DiskSpec]
      await start(first)
      await ensure([first, second])
      const heard: string[] = []
      now().driver.onChange((instanceId) => heard.push(instanceId))
      await now().driver.ensureDisks(id, [])
      heard.length = 0
      await now().host.guestLetsGo(id)
      await waitFor(systemClock, 'news of it', 10_000, () => heard.includes(id))
      await waitFor(systemClock, 'the disks to go', 10_000, async () => (await ensure([])).length === 1)
      expect([first, second, root].map(holds)).toEqual([false, false, true])
      expect(await ensure([second])).toEqual(ids(second))
    })

    test('that are cut off lose their files at once, and may come again before the guest lets go', async () => {
      const [first, second] = await disks(2) as [DiskSpec, DiskSpec]
      await start()
      await ensure([first, second])
      expect(await ensure([first], [second])).toEqual(ids(first))
      expect([first, second].map(holds)).toEqual([true, false])
      expect(await ensure([first, second])).toEqual(ids(first, second))
      expect(await ensure([second], [first])).toEqual(ids(second))
      await now().host.guestLetsGo(id)
      await waitFor(systemClock, 'the guest to let go', 10_000, async () => (await ensure([second, first])).length === 3)
      expect([first, second].map(holds)).toEqual([true, true])
    })

    test('keep the others when one cannot be had', async () => {
      const [first, second] = await disks(2) as [DiskSpec, DiskSpec]
      await start()
      const lost = { ...first, layers: [first.layers[0]!, await now().host.layerOver(first)] }
      await now().host.volumes.ensureDeleted(lost.layers[1]!.layerId)
      await expect(ensure([lost, second])).rejects.toThrow(lost.layers[1]!.layerId)
      expect(await ensure([second])).toEqual(ids(second))
      expect(await ensure([first, second])).toEqual(ids(first, second))
    })

    test('go on in other layers, once, and are started from them; those before may be made immutable', async () => {
      const [data] = await disks(1) as [DiskSpec]
      await start(data)
      const volumes = [root, data]
      const switches = await Promise.all(volumes.map(async (disk) => ({ volumeId: disk.volumeId, to: await now().host.layerOver(disk) })))
      const outcome = { switched: volumes.map((disk) => disk.volumeId), isQuiesced: false }
      expect(await now().driver.switchDisks(id, switches, { quiesce: true })).toEqual(outcome)
      await now().driver.close()
      another()
      expect(await now().driver.switchDisks(id, switches, { quiesce: true })).toEqual(outcome)
      for (const disk of volumes) await now().host.volumes.ensureSealed(disk.layers[0]!.layerId)
      const [newRoot, newData] = volumes.map((disk, index) => ({ ...disk, layers: [switches[index]!.to, ...disk.layers] })) as [DiskSpec, DiskSpec]
      root = newRoot
      expect(await ensure([newData])).toEqual(ids(newData))
      await now().driver.ensureStopped(id)
      await start(newData)
      expect(await ensure([newData])).toEqual(ids(newData))
    })

    test('are made of fewer layers, and the others may go', async () => {
      let [data] = await disks(1) as [DiskSpec]
      await start(data)
      for (let count = 0; count < 3; count++) {
        const to = await now().host.layerOver(data)
        await now().driver.switchDisks(id, [{ volumeId: data.volumeId, to }], { quiesce: false })
        data = { ...data, layers: [to, ...data.layers] }
      }
      const [top, third, second, base] = data.layers as [DiskSpec['layers'][number], ...DiskSpec['layers']]
      const shorten = async () => (await now().driver.ensureShortened(id, data.volumeId, base!.layerId)).state
      await waitFor(systemClock, 'two layers', 20_000, async () => (await shorten()) === 'done')
      expect(await shorten()).toBe('done')
      expect([top, third, second, base].map((layer) => now().host.holds(id, layer))).toEqual([true, false, false, true])
      await now().driver.ensureStopped(id)
      for (const layer of [third, second]) await now().host.volumes.ensureDeleted(layer!.layerId)
      await start({ ...data, layers: [top, base!] })
      await waitFor(systemClock, 'one layer', 20_000, async () => (await now().driver.ensureShortened(id, data.volumeId, null)).state === 'done')
      await expect(now().driver.ensureShortened(id, data.volumeId, base!.layerId)).rejects.toThrow('not under its top layer')
    })
  })
}
