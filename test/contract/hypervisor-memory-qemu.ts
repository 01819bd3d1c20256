import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import { systemRandom } from '../../src/core/random.ts'
import { MemoryImageError, type Hypervisor, type MachineSpec, type MemoryImage } from '../../src/hypervisor/driver.ts'
import { machineArguments } from '../../src/hypervisor/qemu/arguments.ts'
import type { Execute } from '../../src/hypervisor/qemu/devices.ts'
import type { Hardware } from '../../src/hypervisor/qemu/hardware.ts'
import { spawnQemu } from '../../src/hypervisor/qemu/launch.ts'
import { openMemoryFile, writeMemoryFile } from '../../src/hypervisor/qemu/memory-file.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { saveMemory } from '../../src/hypervisor/qemu/save.ts'
import { newDigits, type TestHost } from './hypervisor-hosts.ts'

/** What of saved memory is QEMU's own: above all what it is left in by an agent that died. */
export function qemuMemory(now: () => { host: TestHost & { home: string }; driver: Hypervisor }): void {
  describe('saved memory', () => {
    let spec: MachineSpec
    let id: string
    let image: MemoryImage
    let content: string
    const folder = () => join(now().host.home, 'instances', id)
    const ofMemory = () => readdirSync(folder()).filter((name) => name.startsWith('memory'))
    const file = () => join(folder(), `memory-${image.memoryId}`)
    const status = async () => (await now().driver.observe(id)).status
    const save = () => now().driver.ensureSaved(id, image, spec.disks)
    const load = (what = spec) => now().driver.ensureLoaded(what, image)
    const onMonitor = async <T>(use: (execute: Execute) => Promise<T>) => {
      const client = await QmpClient.connect(folder(), 'qmp2.sock', systemClock, 5000)
      return use((command, args) => client.execute(command, args, 10_000)).finally(() => client.close())
    }
    /** With an encrypted disk: QEMU closes those when it has sent the memory. */
    beforeEach(async () => {
      const made = await now().host.spec()
      const disk = await now().host.disk()
      const key = systemRandom.bytes(32).toString('base64')
      const layerId = `lay-${newDigits()}`
      await now().host.volumes.ensureLayer({ layerId, sizeGib: 1, parentId: null, key })
      spec = { ...made, disks: [...made.disks, { ...disk, layers: [{ layerId, path: now().host.volumes.pathOf(layerId), key }] }] }
      id = spec.instanceId
      image = { memoryId: `mem-${newDigits()}`, key: systemRandom.bytes(32).toString('base64'), binding: 'these disks' }
      await now().driver.ensureRunning(spec)
      content = await now().host.contentOf(id)
    })
    afterEach(() => now().driver.remove(id))

    const goesOn = async () => {
      expect(await status()).toBe('running')
      expect(await now().host.contentOf(id)).toBe(content)
      expect(ofMemory()).toEqual([])
      const objects = (await onMonitor((execute) => execute('qom-list', { path: '/objects' }))) as { name: string }[]
      expect(objects.filter(({ name }) => /^(key-|master|loaded-)/.test(name))).toEqual([])
      // Its disks take what is written.
      await onMonitor((execute) => execute('human-monitor-command', { 'command-line': `qemu-io limits-${spec.disks[1]!.volumeId} "write -P 7 0 4k"` }))
        .then((said) => expect(String(said)).not.toContain('error'))
    }
    const isSavedAndLoads = async () => {
      expect(await save()).toBe('saved')
      expect(ofMemory()).toEqual([`memory-${image.memoryId}`])
      expect(await load()).toBe('loaded')
      await now().driver.ensureReleased(id)
      await goesOn()
    }
    /** Has QEMU send its memory to somebody who takes `bytes` of it. */
    const sendTo = (bytes: number) => onMonitor(async (execute) => {
      const path = join(folder(), 'elsewhere.sock')
      let taken = 0
      const server = createServer((socket) => {
        socket.on('error', () => {})
        socket.on('data', (data) => {
          taken += data.length
          if (taken > bytes) socket.destroy()
        })
      })
      await new Promise<void>((resolve) => server.listen(path, resolve))
      execFileSync('chown', [String(UID_BASE + spec.slot), path])
      await execute('migrate', { uri: 'unix:elsewhere.sock' })
      const ended = await waitFor(systemClock, 'the end of it', 20_000, async () => {
        const { status: state = '' } = (await execute('query-migrate')) as { status?: string }
        return ['completed', 'failed'].includes(state) && state
      })
      await new Promise((resolve) => server.close(resolve))
      rmSync(path, { force: true })
      return ended
    })
    const leaveHalfAFile = () => writeFileSync(`${file()}.part`, 'half a file')

    test('belongs to root alone, and nothing else is left of it', async () => {
      expect(await save()).toBe('saved')
      const { uid, mode } = statSync(file())
      expect([uid, mode & 0o777]).toEqual([0, 0o600])
      expect(readdirSync(folder()).toSorted()).toEqual(['console.log', 'lock', `memory-${image.memoryId}`, 'qemu.log'])
    })

    test.each<[string, () => Promise<unknown>]>([
      ['had stopped the guest', () => onMonitor((execute) => execute('stop'))],
      ['was being sent the memory', async () => {
        await onMonitor((execute) => execute('stop'))
        leaveHalfAFile()
        expect(await sendTo(1000)).toBe('failed')
      }],
      // QEMU has closed its disks then, and does not know the key of the encrypted one.
      ['had been sent all, and had not written it', async () => {
        await onMonitor((execute) => execute('stop'))
        leaveHalfAFile()
        expect(await sendTo(Number.POSITIVE_INFINITY)).toBe('completed')
      }],
    ])('is made by the next agent when one died that %s', async (_what, before) => {
      await before()
      expect(await status()).toBe('paused')
      await isSavedAndLoads()
    })

    test('that an agent still sends somewhere when it died is sent anew', async () => {
      const listener = createServer((socket) => socket.pause().on('error', () => {}))
      await new Promise<void>((resolve) => listener.listen(join(folder(), 'elsewhere.sock'), resolve))
      execFileSync('chown', [String(UID_BASE + spec.slot), join(folder(), 'elsewhere.sock')])
      await onMonitor(async (execute) => {
        await execute('stop')
        await execute('migrate', { uri: 'unix:elsewhere.sock' })
      })
      await isSavedAndLoads()
      listener.close()
    })

    const pidOf = async () => {
      const found = await now().driver.observe(id)
      if (!('pid' in found)) throw new Error(`${id} has no process`)
      return found.pid
    }

    test.each([[''], [' and does not answer']])('that is whole is enough when the process was not ended%s', async (silent) => {
      const pid = await pidOf()
      await onMonitor((execute) => saveMemory(
        { qemu: { execute, folder: folder(), uid: UID_BASE + spec.slot }, pid, clock: systemClock, random: systemRandom }, image, spec.disks))
      expect(await status()).toBe('paused')
      const { mtimeMs } = statSync(file())
      if (silent) process.kill(pid, 'SIGSTOP')
      expect(await save()).toBe('saved')
      expect(await status()).toBe('absent')
      expect(statSync(file()).mtimeMs).toBe(mtimeMs)
    })

    test('is not said to be let go on by a QEMU that does not answer', async () => {
      expect(await save()).toBe('saved')
      expect(await load()).toBe('loaded')
      rmSync(file())
      const pid = await pidOf()
      process.kill(pid, 'SIGSTOP')
      await expect(now().driver.ensureReleased(id)).rejects.toThrow('does not answer')
      process.kill(pid, 'SIGCONT')
      await now().driver.ensureReleased(id)
      await goesOn()
    })

    test('that an agent let go on when it died leaves no keys and marks behind', async () => {
      expect(await save()).toBe('saved')
      expect(await load()).toBe('loaded')
      rmSync(file())
      await onMonitor((execute) => execute('cont'))
      await now().driver.ensureReleased(id)
      await goesOn()
    })

    test('is not sent where the machine has put a folder, and the guest goes on', async () => {
      const [inPlace, precious] = [join(folder(), 'memory.sock'), join(now().host.home, 'precious')]
      for (const made of [inPlace, precious, join(folder(), 'memory-mine')]) mkdirSync(made)
      symlinkSync(precious, join(inPlace, 'link'))
      await expect(save()).rejects.toThrow(MemoryImageError)
      expect(await status()).toBe('running')
      await now().driver.ensureStopped(id)
      expect(readdirSync(folder()).toSorted()).toEqual(['console.log', 'lock', 'memory-mine', 'qemu.log'])
      rmSync(precious, { recursive: true })
    })

    test('is begun anew when an agent died that was loading it', async () => {
      expect(await save()).toBe('saved')
      const log = openSync(join(folder(), 'qemu.log'), 'a')
      const { disks: [root], ...rest } = spec
      spawnQemu({
        folder: folder(), uid: UID_BASE + spec.slot, kvm: false, netnsPath: null, tun: false, cgroupFiles: [],
        arguments: [...machineArguments({ ...rest, disks: [root!] }, folder()), '-S', '-incoming', 'defer'],
      }, log)
      closeSync(log)
      await waitFor(systemClock, 'QEMU', 20_000, async () => (await status()) === 'paused')
      await expect(now().driver.ensureReleased(id)).rejects.toThrow('not loaded')
      expect(ofMemory()).toHaveLength(1)
      expect(await load()).toBe('loaded')
      await now().driver.ensureReleased(id)
      await goesOn()
    })

    test('that has no room on the disk is not made, and the guest goes on', async () => {
      await now().driver.ensureStopped(id)
      rmSync(folder(), { recursive: true })
      mkdirSync(folder())
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'hearth-test', folder()])
      try {
        await now().driver.ensureRunning(spec)
        content = await now().host.contentOf(id)
        await expect(save()).rejects.toThrow(/no room/)
        await goesOn()
        execFileSync('mount', ['-o', 'remount,size=64m', folder()])
        await isSavedAndLoads()
      } finally {
        await now().driver.ensureStopped(id)
        execFileSync('umount', [folder()])
      }
    })

    test.each<[string, (whole: MachineSpec) => MachineSpec, RegExp]>([
      ['more memory', (whole) => ({ ...whole, memoryMib: 128 }), /another memory: 64M, and the instance has 128M/],
      ['more processors', (whole) => ({ ...whole, vcpus: 2 }), /another number of processors/],
      ['another machine type', (whole) => ({ ...whole, platform: { ...whole.platform, machineType: 'pc-q35-6.2' } }), /another machine type/],
      ['another accelerator', (whole) => ({ ...whole, platform: { ...whole.platform, accelerator: 'kvm' } }), /another accelerator/],
    ])('is not loaded into a machine with %s, and says so', async (_what, change, words) => {
      expect(await save()).toBe('saved')
      await expect(load(change(spec))).rejects.toThrow(words)
      expect(await status()).toBe('absent')
      expect(ofMemory()).toHaveLength(1)
    })

    test('of a machine that this QEMU does not know, or memory that it cannot read, says what QEMU said', async () => {
      expect(await save()).toBe('saved')
      const opened = (await openMemoryFile(file(), image))!
      const about = opened.about as Hardware
      const chunks: Buffer[] = []
      for await (const chunk of opened.chunks()) chunks.push(Buffer.from(chunk))
      await opened.close()
      const rewrite = async (hardware: Hardware, pieces: Buffer[]) => {
        rmSync(file())
        await writeMemoryFile(file(), image, hardware, (async function* () { yield* pieces })(), systemRandom)
      }
      const odd = { ...spec, platform: { ...spec.platform, machineType: 'pc-q35-0.1' } }
      await rewrite({ ...about, options: { ...about.options, '-machine': 'pc-q35-0.1' } }, chunks)
      await expect(load(odd)).rejects.toSatisfy((error) => error instanceof MemoryImageError && error.message.includes('unsupported machine type'))
      await rewrite(about, [Buffer.from('this is no memory of a guest at all')])
      await expect(load()).rejects.toSatisfy((error) => error instanceof MemoryImageError && error.message.includes('Not a migration stream'))
      expect(await status()).toBe('absent')
      await rewrite(about, chunks)
      expect(await load()).toBe('loaded')
    })
  })
}
