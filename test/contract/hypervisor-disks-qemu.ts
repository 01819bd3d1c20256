import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import type { DiskSpec, Hypervisor, MachineSpec } from '../../src/hypervisor/driver.ts'
import { machineArguments } from '../../src/hypervisor/qemu/arguments.ts'
import { MachineFolder } from '../../src/hypervisor/qemu/folder.ts'
import { giveToMachine, spawnQemu } from '../../src/hypervisor/qemu/launch.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { consoleShows, newDigits, type TestHost } from './hypervisor-hosts.ts'

/** What of disks is QEMU's own. */
export function qemuDisks(now: () => { host: TestHost & { home: string }; driver: Hypervisor }): void {
  const folderOf = ({ instanceId }: MachineSpec) => join(now().host.home, 'instances', instanceId)
  const onMonitor = async <T>(spec: MachineSpec, use: (execute: (command: string, args?: Record<string, unknown>) => Promise<unknown>) => Promise<T>) => {
    const client = await QmpClient.connect(folderOf(spec), 'qmp2.sock', systemClock, 5000)
    return use((command, args) => client.execute(command, args, 5000)).finally(() => client.close())
  }
  const nodesOf = (spec: MachineSpec) => onMonitor(spec, async (execute) =>
    ((await execute('query-named-block-nodes', { flat: true })) as { 'node-name': string }[]).map((node) => node['node-name']))
  const started = async (...disks: DiskSpec[]): Promise<MachineSpec> => {
    const spec = await now().host.spec()
    const whole = { ...spec, disks: [...spec.disks, ...disks] }
    await now().driver.ensureRunning(whole)
    return whole
  }

  describe('disks', () => {
    test('what an agent left that died in the middle of plugging in or switching is cleared away, or completed', async () => {
      const disk = await now().host.disk()
      const spec = await started()
      const { instanceId } = spec
      const top = disk.layers[0]!
      const node = `${top.layerId}.${disk.volumeId.slice(-8)}`
      const halfPlugged = () => onMonitor(spec, async (execute) => {
        giveToMachine(top.path, UID_BASE + spec.slot)
        const file = { driver: 'file', filename: relative(folderOf(spec), top.path) }
        await execute('object-add', { 'qom-type': 'secret', id: `key-${node}`, data: 'x' })
        await execute('object-add', { 'qom-type': 'throttle-group', id: `rate-${disk.volumeId}` })
        await execute('blockdev-add', {
          driver: 'throttle', 'node-name': `limits-${disk.volumeId}`, 'throttle-group': `rate-${disk.volumeId}`,
          file: { driver: 'qcow2', 'node-name': node, file, backing: null },
        })
      })
      await halfPlugged()
      expect(await now().driver.ensureDisks(instanceId, [])).toEqual([spec.disks[0]!.volumeId])
      expect(await nodesOf(spec)).not.toContain(node)
      await halfPlugged()
      expect(await now().driver.ensureDisks(instanceId, [disk])).toContain(disk.volumeId)
      const to = await now().host.layerOver(disk)
      await onMonitor(spec, async (execute) => {
        giveToMachine(to.path, UID_BASE + spec.slot)
        const file = { driver: 'file', filename: relative(folderOf(spec), to.path) }
        await execute('blockdev-add', { driver: 'qcow2', 'node-name': `${to.layerId}.${disk.volumeId.slice(-8)}`, file, backing: null })
      })
      const switches = [{ volumeId: disk.volumeId, to }]
      expect((await now().driver.switchDisks(instanceId, switches, { quiesce: false })).switched).toEqual([disk.volumeId])
      expect(now().host.holds(instanceId, to)).toBe(true)
      await now().driver.remove(instanceId)
    })

    test('a job that is at work gives way to another size, to a switch, and to the guest that gives the disk up', async () => {
      let disk = await now().host.disk()
      execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 4M', disk.layers[0]!.path])
      for (let count = 0; count < 2; count++) disk = { ...disk, layers: [await now().host.layerOver(disk), ...disk.layers] }
      const spec = await started()
      const { instanceId } = spec
      await now().driver.ensureDisks(instanceId, [disk])
      const begin = () => onMonitor(spec, (execute) => execute('block-stream', {
        'job-id': `shorten-${disk.volumeId}`, device: `${disk.layers[0]!.layerId}.${disk.volumeId.slice(-8)}`, speed: 1, 'auto-dismiss': false,
      }))
      const shorten = () => now().driver.ensureShortened(instanceId, disk.volumeId, null)
      await begin()
      expect(await shorten()).toMatchObject({ state: 'running' })
      disk = { ...disk, sizeGib: 2 }
      expect(await now().driver.ensureDisks(instanceId, [disk])).toContain(disk.volumeId)
      await begin()
      const to = await now().host.layerOver(disk)
      expect(await now().driver.switchDisks(instanceId, [{ volumeId: disk.volumeId, to }], { quiesce: false })).toMatchObject({ switched: [disk.volumeId] })
      disk = { ...disk, layers: [to, ...disk.layers] }
      await begin()
      await now().driver.ensureDisks(instanceId, [])
      await now().host.guestLetsGo(instanceId)
      await waitFor(systemClock, 'the disk to go', 10_000, async () => (await now().driver.ensureDisks(instanceId, [])).length === 1)
      expect(disk.layers.map((layer) => now().host.holds(instanceId, layer))).toEqual([false, false, false, false])
      await now().driver.remove(instanceId)
    })

    test('under another key are refused, and nothing of them is left', async () => {
      const disk = await now().host.disk()
      const layerId = `lay-${newDigits()}`
      await now().host.volumes.ensureLayer({ layerId, sizeGib: 1, parentId: null, key: 'a2V5' })
      const under = (key: string | null) => ({ ...disk, layers: [{ layerId, path: now().host.volumes.pathOf(layerId), key }] })
      const spec = await started()
      const ensure = (key: string | null) => now().driver.ensureDisks(spec.instanceId, [under(key)])
      await expect(ensure('b3RoZXI=')).rejects.toThrow(`${disk.volumeId} cannot be opened: blockdev-add: Invalid password`)
      await expect(ensure(null)).rejects.toThrow(`${disk.volumeId} cannot be opened`)
      expect(await ensure('a2V5')).toContain(disk.volumeId)
      const whole = { ...spec, disks: [...spec.disks, under('b3RoZXI=')] }
      await now().driver.ensureStopped(spec.instanceId)
      await expect(now().driver.ensureRunning(whole)).rejects.toThrow('Invalid password')
      await now().driver.ensureRunning({ ...spec, disks: [...spec.disks, under('a2V5')] })
      const objects = await onMonitor(spec, (execute) => execute('qom-list', { path: '/objects' })) as { name: string }[]
      expect(objects.filter(({ name }) => /^(key-|master)/.test(name))).toEqual([])
      await now().driver.remove(spec.instanceId)
    })

    test('of a machine that an earlier version started are known, and can be had with all else', async () => {
      const { spec, volumes: [root, data] } = await startedByEarlierVersion()
      const { instanceId } = spec
      await consoleShows(now().driver, instanceId, 'test guest, boot 1')
      const ensure = (disks: DiskSpec[], cutOff: string[] = []) => now().driver.ensureDisks(instanceId, disks, cutOff)
      const more = await now().host.disk()
      const limits = { iops: 100, burst: { iops: 300, seconds: 5 }, bytesPerSecond: null }
      const grown = { ...root, limits, sizeGib: 2 }
      expect((await ensure([grown, data, more])).toSorted()).toEqual([root, data, more].map((disk) => disk.volumeId).toSorted())
      const [seen] = await onMonitor(spec, (execute) => execute('query-block')) as { inserted: Record<string, unknown> & { image: object } }[]
      expect(seen?.inserted).toMatchObject({ iops: 100, iops_max: 300, image: { 'virtual-size': 2 * 1024 ** 3 } })
      // What sits on the root bus stays until the machine is stopped.
      expect(await ensure([root])).toEqual(expect.arrayContaining([root.volumeId, data.volumeId]))
      await expect(ensure([root], [data.volumeId])).rejects.toThrow('stop the instance')
      const to = await now().host.layerOver(root)
      const switches = [{ volumeId: root.volumeId, to }]
      expect((await now().driver.switchDisks(instanceId, switches, { quiesce: true })).switched).toEqual([root.volumeId])
      const shorten = async () => (await now().driver.ensureShortened(instanceId, root.volumeId, root.layers[1]!.layerId)).state
      await waitFor(systemClock, 'two layers', 20_000, async () => (await shorten()) === 'done')
      expect(now().host.holds(instanceId, root.layers[0])).toBe(false)
      await now().driver.ensureStopped(instanceId)
      await now().driver.ensureRunning({ ...spec, disks: [{ ...root, layers: [to, root.layers[1]!], sizeGib: 2 }, data] })
      await consoleShows(now().driver, instanceId, 'test guest, boot 2')
      await now().driver.remove(instanceId)
    })
  })

  /** As it started machines: nodes named by their volumes, lower layers as the files say, all disks on the root bus. */
  async function startedByEarlierVersion(): Promise<{ spec: MachineSpec; volumes: [DiskSpec, DiskSpec] }> {
    const { host } = now()
    const made = await host.spec()
    const snapshot = made.disks[0]!.layers[1]!
    const disks = await Promise.all([snapshot.layerId, null].map(async (parentId, index): Promise<DiskSpec> => {
      const volumeId = `vol-${newDigits()}`
      await host.volumes.ensureLayer({ layerId: volumeId, sizeGib: 1, parentId, key: null })
      const own = { layerId: volumeId, path: host.volumes.pathOf(volumeId), key: null }
      return { volumeId, deviceName: `/dev/sd${index}`, layers: parentId === null ? [own] : [own, snapshot], sizeGib: 1, limits: null }
    }))
    const spec = { ...made, disks }
    const folder = new MachineFolder(host.home, spec.instanceId)
    const uid = UID_BASE + spec.slot
    folder.prepare(uid)
    const others = machineArguments({ ...spec, disks: [] }, folder.path)
    const words = disks.flatMap(({ volumeId, layers: [top] }, index) => {
      giveToMachine(top!.path, uid)
      const file = { driver: 'file', filename: relative(folder.path, top!.path), discard: 'unmap' }
      const device = `virtio-blk-pci,id=disk-${volumeId},drive=${volumeId},serial=${volumeId.replace('-', '')},bootindex=${index + 1}`
      return [
        '-blockdev', JSON.stringify({ driver: 'qcow2', 'node-name': volumeId, discard: 'unmap', file }),
        '-device', `${device},bus=pcie.0,addr=0x1${index}`,
      ]
    })
    const log = openSync(join(folder.path, 'qemu.log'), 'a')
    spawnQemu({ folder: folder.path, uid, kvm: false, netnsPath: null, tun: false, cgroupFiles: [], arguments: [...others, ...words] }, log)
    closeSync(log)
    await now().driver.ensureRunning(spec)
    return { spec, volumes: disks as [DiskSpec, DiskSpec] }
  }
}
