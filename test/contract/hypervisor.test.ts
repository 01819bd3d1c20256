import { execFileSync } from 'node:child_process'
import {
  chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync,
  symlinkSync, writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { parsePpm } from '../../src/core/ppm.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { Hypervisor, MachineSpec, NicSpec } from '../../src/hypervisor/driver.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import { diskContract } from './hypervisor-disks.ts'
import { qemuDisks } from './hypervisor-disks-qemu.ts'
import { frozenContract } from './hypervisor-frozen.ts'
import { memoryContract } from './hypervisor-memory.ts'
import { qemuMemory } from './hypervisor-memory-qemu.ts'
import { consoleShows, qemuHost, simHost, whyNoQemu, writeToSerial, type NicBench, type TestHost } from './hypervisor-hosts.ts'

const noQemu = whyNoQemu()
if (noQemu !== undefined) console.warn(`the hypervisor suite skips real QEMU: ${noQemu}`)

function until(driver: Hypervisor, instanceId: string, status: 'absent' | 'running' | 'shutdown'): Promise<unknown> {
  return waitFor(systemClock, `${instanceId} to be ${status}`, 30_000, async () =>
    (await driver.observe(instanceId)).status === status,
  )
}

async function sitAt(driver: Hypervisor, instanceId: string): Promise<Duplex> {
  const serial = await driver.openSerial(instanceId)
  if (typeof serial === 'string') throw new Error(`the console of ${instanceId} is ${serial}`)
  return serial
}

function ip(...words: string[]): string {
  return execFileSync('ip', words, { encoding: 'utf8' })
}

function contract(makeHost: () => Promise<TestHost>): void {
  let host: TestHost
  let driver: Hypervisor
  beforeAll(async () => {
    host = await makeHost()
    driver = host.driver()
  })
  afterAll(() => host?.close())

  const started = async (): Promise<MachineSpec> => {
    const spec = await host.spec()
    await driver.ensureRunning(spec)
    return spec
  }

  test('a machine that was never started is absent, and stopping or removing it does nothing', async () => {
    const { instanceId } = await host.spec()
    expect(await driver.observe(instanceId)).toEqual({ status: 'absent' })
    await driver.ensureStopped(instanceId)
    await driver.requestShutdown(instanceId)
    await driver.remove(instanceId)
    expect(await driver.list()).not.toContain(instanceId)
    expect((await driver.consoleOutput(instanceId, 100)).length).toBe(0)
  })

  test('starts a machine, which is running once the call returns', async () => {
    const before = Date.now()
    const { instanceId } = await started()
    const seen = await driver.observe(instanceId)
    expect(seen).toMatchObject({ status: 'running', pid: expect.any(Number) })
    // The kernel tells the start of a process to about a second.
    if (seen.status === 'running') expect(Math.abs(seen.startedAtMs - before)).toBeLessThan(30_000)
    expect(await driver.list()).toContain(instanceId)
    await consoleShows(driver, instanceId, 'guest')
  })

  test('starts once when called again and when called at the same time', async () => {
    const spec = await host.spec()
    await Promise.all([driver.ensureRunning(spec), driver.ensureRunning(spec), driver.ensureRunning(spec)])
    const first = await driver.observe(spec.instanceId)
    await driver.ensureRunning(spec)
    expect(await driver.observe(spec.instanceId)).toEqual(first)
    expect(host.countProcesses(spec.instanceId)).toBe(1)
  })

  test('two drivers at once start one machine', async () => {
    const spec = await host.spec()
    const others = [host.driver(), host.driver()]
    await Promise.all([driver, ...others].map((each) => each.ensureRunning(spec)))
    expect(host.countProcesses(spec.instanceId)).toBe(1)
    const seen = await Promise.all([driver, ...others].map((each) => each.observe(spec.instanceId)))
    expect(seen[0]?.status).toBe('running')
    expect(seen[1]).toEqual(seen[0])
    expect(seen[2]).toEqual(seen[0])
    await Promise.all(others.map((each) => each.close()))
  })

  test('a new driver adopts what an earlier one started, which closing did not disturb', async () => {
    const earlier = host.driver()
    const spec = await host.spec()
    await earlier.ensureRunning(spec)
    const before = await earlier.observe(spec.instanceId)
    await earlier.close()
    const later = host.driver()
    expect(await later.list()).toContain(spec.instanceId)
    expect(await later.observe(spec.instanceId)).toEqual(before)
    await later.ensureRunning(spec)
    expect(await later.observe(spec.instanceId)).toEqual(before)
    await later.ensureStopped(spec.instanceId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
  })

  test('ensureStopped leaves no process, twice is once, and the console stays', async () => {
    const { instanceId } = await started()
    await consoleShows(driver, instanceId, 'guest')
    await driver.ensureStopped(instanceId)
    expect(host.countProcesses(instanceId)).toBe(0)
    expect(await driver.observe(instanceId)).toEqual({ status: 'absent' })
    await driver.ensureStopped(instanceId)
    expect((await driver.consoleOutput(instanceId, 65_536)).toString()).toContain('guest')
    expect(await driver.list()).toContain(instanceId)
  })

  test('the console keeps what all boots wrote, and gives its last bytes', async () => {
    const spec = await started()
    const first = await consoleShows(driver, spec.instanceId, 'guest')
    await driver.ensureStopped(spec.instanceId)
    await driver.ensureRunning(spec)
    const whole = await waitFor(systemClock, 'a second boot on the console', 30_000, async () => {
      const output = await driver.consoleOutput(spec.instanceId, 65_536)
      return output.toString().split('guest').length > first.split('guest').length ? output : undefined
    })
    await driver.ensureStopped(spec.instanceId)
    const all = await driver.consoleOutput(spec.instanceId, 65_536)
    expect(all.subarray(0, whole.length)).toEqual(whole)
    expect(await driver.consoleOutput(spec.instanceId, 7)).toEqual(all.subarray(-7))
  })

  test('one at a time sits at the serial console, until the machine ends', async () => {
    const { instanceId } = await started()
    await consoleShows(driver, instanceId, 'guest')
    const serial = await sitAt(driver, instanceId)
    expect(await driver.channels(instanceId)).toMatchObject({ isSerialTaken: true })
    const other = host.driver()
    expect([await driver.openSerial(instanceId), await other.openSerial(instanceId)]).toEqual(['busy', 'busy'])
    await other.close()
    // The guest starts anew; the simulated one only says what was typed.
    const answer = new Promise<Buffer>((resolve) => serial.once('data', resolve))
    serial.write('r')
    expect((await answer).length).toBeGreaterThan(0)
    serial.destroy()
    await waitFor(systemClock, 'the console to be free', 5000, async () => !(await driver.channels(instanceId))?.isSerialTaken)

    const last = await sitAt(driver, instanceId)
    const ended = new Promise((resolve) => last.resume().once('close', resolve))
    await driver.ensureStopped(instanceId)
    await ended
    expect([await driver.openSerial(instanceId), await driver.channels(instanceId)]).toEqual(['absent', undefined])
    expect(await driver.changeAuthorizedKeys(instanceId, { osUser: 'root', add: ['ssh-rsa A'], remove: [] })).toBe('unreachable')
  })

  test('a process that is killed is seen as absent, and is started again', async () => {
    const spec = await started()
    await host.killProcess(spec.instanceId)
    await until(driver, spec.instanceId, 'absent')
    await driver.ensureRunning(spec)
    expect((await driver.observe(spec.instanceId)).status).toBe('running')
    expect(host.countProcesses(spec.instanceId)).toBe(1)
  })

  test('tells how a machine does, also one that answers nobody any more, which can be ended all the same', async () => {
    const { instanceId } = await started()
    const late = host.driver()
    expect(await driver.health(instanceId)).toBe('running')
    host.hangProcess(instanceId)
    // One driver is connected to it, the other is not.
    expect(await Promise.all([driver, late].map((each) => each.health(instanceId)))).toEqual(['silent', 'silent'])
    expect(await driver.observe(instanceId)).toMatchObject({ status: 'running' })
    await driver.ensureStopped(instanceId)
    expect(await driver.health(instanceId)).toBe('absent')
  })

  test('a guest that powers itself off is seen in shutdown, also by a late driver, and starts afresh', async () => {
    const spec = await started()
    const before = await driver.observe(spec.instanceId)
    await host.guestPowersOff(spec.instanceId)
    await until(driver, spec.instanceId, 'shutdown')
    await driver.close()
    driver = host.driver()
    expect(await driver.observe(spec.instanceId)).toMatchObject({ status: 'shutdown' })
    expect(await driver.health(spec.instanceId)).toBe('still')
    await driver.ensureRunning(spec)
    const after = await driver.observe(spec.instanceId)
    expect(after.status).toBe('running')
    expect(after).not.toEqual(before)
    expect(host.countProcesses(spec.instanceId)).toBe(1)
  })

  test('the power button makes the guest shut down, and says so', async () => {
    const spec = await started()
    await consoleShows(driver, spec.instanceId, 'guest')
    // A press before the guest listens is lost, as on any computer; so it is pressed until it works.
    await waitFor(systemClock, 'the guest to shut down', 30_000, async () => {
      await driver.requestShutdown(spec.instanceId)
      return (await driver.observe(spec.instanceId)).status === 'shutdown'
    }, 200)
    expect((await driver.consoleOutput(spec.instanceId, 65_536)).toString().toLowerCase()).toContain('power button')
    await driver.ensureStopped(spec.instanceId)
    expect(await driver.observe(spec.instanceId)).toEqual({ status: 'absent' })
  })

  test('listeners hear of a power-off and of a death, also those of a driver that adopted', async () => {
    const heard: string[] = []
    const spec = await started()
    await driver.close()
    driver = host.driver()
    driver.onChange((instanceId) => heard.push(instanceId))
    await driver.list()
    await driver.observe(spec.instanceId)
    heard.length = 0
    await host.guestPowersOff(spec.instanceId)
    await waitFor(systemClock, 'news of the power-off', 10_000, () => heard.includes(spec.instanceId))
    await until(driver, spec.instanceId, 'shutdown')
    heard.length = 0
    await host.killProcess(spec.instanceId)
    await waitFor(systemClock, 'news of the death', 10_000, () => heard.includes(spec.instanceId))
  })

  test('gives a picture of the screen of a machine that runs, and of no other', async () => {
    const { instanceId } = await started()
    const [one, two] = await Promise.all([driver.screenshot(instanceId), driver.screenshot(instanceId)])
    const { width, height } = parsePpm(one)
    expect(width).toBeGreaterThanOrEqual(640)
    expect(height).toBeGreaterThanOrEqual(350)
    expect(parsePpm(two).width).toBe(width)
    await driver.pressKey(instanceId)
    await driver.ensureStopped(instanceId)
    await expect(driver.screenshot(instanceId)).rejects.toThrow(instanceId)
    await driver.pressKey(instanceId)
  })

  test('interrupts a machine that runs, which goes on, and no other', async () => {
    const { instanceId } = await started()
    await driver.interrupt(instanceId)
    await until(driver, instanceId, 'running')
    await driver.ensureStopped(instanceId)
    await expect(driver.interrupt(instanceId)).rejects.toThrow(instanceId)
  })

  test('starts a machine with several disks, and one is no more use elsewhere', async () => {
    const spec = await host.spec()
    const data = await host.disk()
    await driver.ensureRunning({ ...spec, disks: [...spec.disks, data] })
    expect((await driver.observe(spec.instanceId)).status).toBe('running')
    const thief = await host.spec()
    await expect(driver.ensureRunning({ ...thief, disks: [...thief.disks, data] })).rejects.toThrow(thief.instanceId)
    await driver.ensureStopped(spec.instanceId)
  })

  test('a guest whose disk has no room stands still, says so, and goes on when there is room', async () => {
    const { spec, guestWrites, makeRoom, close } = await host.specOnFullDisk()
    try {
      const heard: string[] = []
      driver.onChange((instanceId) => heard.push(instanceId))
      await driver.ensureRunning(spec)
      guestWrites()
      const standsStill = (wanted: boolean) => waitFor(systemClock, `out of space: ${wanted}`, 30_000, async () => {
        const seen = await driver.observe(spec.instanceId)
        return seen.status === 'running' && (seen.outOfSpace ?? false) === wanted
      })
      await standsStill(true)
      expect(heard).toContain(spec.instanceId)
      await driver.resume(spec.instanceId)
      guestWrites()
      await standsStill(true)
      makeRoom()
      await driver.resume(spec.instanceId)
      await standsStill(false)
      await driver.resume(spec.instanceId)
      await driver.remove(spec.instanceId)
    } finally {
      await driver.ensureStopped(spec.instanceId)
      close()
    }
  })

  describe('interfaces of a running machine', () => {
    let bench: NicBench
    let id: string
    beforeEach(async () => {
      bench = await host.specWithNics()
      id = bench.spec.instanceId
    })
    afterEach(async () => {
      await driver.remove(id)
      bench.close()
    })

    const [primary, first, second] = [0, 1, 2].map((index) => () => bench.nic(index)) as [() => NicSpec, () => NicSpec, () => NicSpec]
    const attachments = (...nics: NicSpec[]) => nics.map((nic) => nic.attachmentId).toSorted()
    const has = async (...nics: NicSpec[]) => (await driver.ensureNics(id, [primary(), ...nics])).toSorted()

    test('a machine that does not run has none', async () => {
      expect(await has(first())).toEqual([])
    })

    test('are plugged in while it runs, once, beside those of its start', async () => {
      await driver.ensureRunning({ ...bench.spec, nics: [primary(), second()] })
      const before = await driver.observe(id)
      expect(bench.hasLink(first())).toBe(false)
      expect(await has(second(), first())).toEqual(attachments(first(), second()))
      expect([first(), second()].map(bench.hasLink)).toEqual([true, true])
      expect(await has(second(), first())).toEqual(attachments(first(), second()))
      expect(await driver.observe(id)).toEqual(before)
    })

    test('are there once when two drivers plug them in, one after the other died', async () => {
      await driver.ensureRunning(bench.spec)
      await has(first())
      await driver.close()
      driver = host.driver()
      expect(await has(first())).toEqual(attachments(first()))
      expect(bench.hasLink(first())).toBe(true)
    })

    test('leave when the guest gives them up, which listeners hear of; the primary one stays', async () => {
      await driver.ensureRunning({ ...bench.spec, nics: [primary(), second()] })
      await has(first(), second())
      const heard: string[] = []
      driver.onChange((instanceId) => heard.push(instanceId))
      await driver.ensureNics(id, [])
      heard.length = 0
      await host.guestLetsGo(id)
      await waitFor(systemClock, 'news of it', 10_000, () => heard.includes(id))
      await waitFor(systemClock, 'the interfaces to go', 10_000, async () => (await driver.ensureNics(id, [])).length === 0)
      expect([first(), second(), primary()].map(bench.hasLink)).toEqual([false, false, true])
      expect(await has(first())).toEqual(attachments(first()))
      expect(bench.hasLink(first())).toBe(true)
    })

    test('that are cut off have no link at once, and may be attached anew before the guest lets go', async () => {
      await driver.ensureRunning(bench.spec)
      await has(first())
      expect(await driver.ensureNics(id, [primary()], attachments(first()))).toEqual(attachments(first()))
      expect(bench.hasLink(first())).toBe(false)
      const again = bench.nic(1, 1)
      expect(await has(again)).toContain(again.attachmentId)
      expect(bench.hasLink(again)).toBe(true)
      await host.guestLetsGo(id)
      await waitFor(systemClock, 'the old one to go', 10_000, async () => (await has(again)).length === 1)
      expect(bench.hasLink(again)).toBe(true)
    })
  })

  diskContract(() => ({ host, driver }), () => (driver = host.driver()))
  memoryContract(() => ({ host, driver }), () => (driver = host.driver()))
  frozenContract(() => ({ host, driver }), () => (driver = host.driver()))

  test('remove stops the machine and leaves nothing of it', async () => {
    const { instanceId } = await started()
    await driver.remove(instanceId)
    expect(host.countProcesses(instanceId)).toBe(0)
    expect(await driver.list()).not.toContain(instanceId)
    expect((await driver.consoleOutput(instanceId, 100)).length).toBe(0)
    await driver.remove(instanceId)
  })

  test('a machine without its disk fails to start, with a reason, and leaves no process', async () => {
    const spec = await host.spec()
    const { layerId } = spec.disks[0]!.layers[0]!
    await host.volumes.ensureDeleted(layerId)
    await expect(driver.ensureRunning(spec)).rejects.toThrow(layerId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
    expect(await driver.observe(spec.instanceId)).toEqual({ status: 'absent' })
  })

  test('two machines cannot have one disk', async () => {
    const spec = await started()
    const thief = { ...(await host.spec()), disks: spec.disks }
    await expect(driver.ensureRunning(thief)).rejects.toThrow(thief.instanceId)
    expect(host.countProcesses(thief.instanceId)).toBe(0)
    expect((await driver.observe(spec.instanceId)).status).toBe('running')
  })

  test.each(['', '..', 'i-', 'i-xyz', '../i-0123456789abcdef0', 'i-0123456789abcdef0/..'])(
    'refuses %j as an instance id', async (instanceId) => {
      await expect((async () => driver.observe(instanceId))()).rejects.toThrow('not an instance id')
      await expect((async () => driver.remove(instanceId))()).rejects.toThrow('not an instance id')
    },
  )
}

describe('simulated hypervisor', () => contract(simHost))

describe.skipIf(noQemu !== undefined)('QEMU hypervisor', () => contract(qemuHost))

describe.skipIf(noQemu !== undefined)('QEMU hypervisor on this host', () => {
  let host: Awaited<ReturnType<typeof qemuHost>>
  let driver: Hypervisor
  beforeAll(async () => {
    host = await qemuHost()
    driver = host.driver()
  })
  afterAll(() => host?.close())

  const folderOf = (instanceId: string) => join(host.home, 'instances', instanceId)
  const started = async (): Promise<MachineSpec> => {
    const spec = await host.spec()
    await driver.ensureRunning(spec)
    return spec
  }

  test('runs unprivileged: own user, no capabilities, seccomp, own session, relative paths', async () => {
    const spec = await started()
    const pid = host.pidOf(spec.instanceId)
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const uid = UID_BASE + spec.slot
    expect(status).toMatch(new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'))
    expect(status).toMatch(new RegExp(`^Gid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, 'm'))
    expect(status).toMatch(/^Groups:\s*$/m)
    expect(status).toMatch(/^CapEff:\t0+$/m)
    expect(status).toMatch(/^CapBnd:\t0+$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^Seccomp:\t2$/m)
    expect(execFileSync('ps', ['-o', 'sid=', '-p', String(pid)], { encoding: 'utf8' }).trim()).toBe(String(pid))
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(host.home)
    // Its disk is its own; its folder lets it make sockets, not replace what is not its own.
    expect(statSync(spec.disks[0]!.layers[0]!.path)).toMatchObject({ uid, mode: 0o100600 })
    expect(statSync(folderOf(spec.instanceId))).toMatchObject({ uid: 0, gid: uid, mode: 0o41770 })
    const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n')
    const joined = cgroups.filter((line) => line.endsWith(`/${spec.instanceId}`))
    const offered = existsSync('/sys/fs/cgroup/cgroup.controllers') || existsSync('/sys/fs/cgroup/memory/cgroup.procs')
    expect(joined.length > 0).toBe(offered)
    const memoryFiles = ['/sys/fs/cgroup', '-path', `*/${spec.instanceId}/memory.*`]
    const limits = execFileSync('find', memoryFiles, { encoding: 'utf8' }).split('\n')
      .filter((file) => /memory\.(max|limit_in_bytes)$/.test(file))
    for (const file of limits) expect(readFileSync(file, 'utf8').trim()).toBe(String((64 + 1536) * 1024 ** 2))
  })

  test.each([
    ['garbage', 'not json at all'],
    ['a stranger\'s pid', JSON.stringify({ pid: process.pid, startTicks: 1 })],
    ['pid 1', JSON.stringify({ pid: 1, startTicks: 1 })],
    ['only the mark of a start', JSON.stringify({ pid: null, startTicks: null })],
    ['nothing', undefined],
  ])('finds the process when machine.json holds %s', async (_what, text) => {
    const spec = await started()
    const before = await driver.observe(spec.instanceId)
    const file = join(folderOf(spec.instanceId), 'machine.json')
    if (text === undefined) rmSync(file)
    else writeFileSync(file, text)
    const later = host.driver()
    expect(await later.observe(spec.instanceId)).toEqual(before)
    await later.ensureRunning(spec)
    expect(await later.observe(spec.instanceId)).toEqual(before)
    expect(host.countProcesses(spec.instanceId)).toBe(1)
    await later.remove(spec.instanceId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
  })

  test('a machine whose QEMU was replaced by a newer one goes on, and is adopted and ended', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'hearth-upgrade-'))
    const searchPath = process.env.PATH
    const program = join(folder, 'bin', 'qemu-system-x86_64')
    try {
      chmodSync(folder, 0o755)
      mkdirSync(join(folder, 'bin'))
      // It looks for its modules and firmware beside itself.
      for (const each of ['lib', 'share']) symlinkSync(`/usr/${each}`, join(folder, each))
      copyFileSync(execFileSync('which', ['qemu-system-x86_64'], { encoding: 'utf8' }).trim(), program)
      process.env.PATH = `${join(folder, 'bin')}:${searchPath}`
      const spec = await started()
      const before = await driver.observe(spec.instanceId)
      // As a package manager does it: a new file under the old name.
      copyFileSync(program, `${program}.new`)
      renameSync(`${program}.new`, program)
      const later = host.driver()
      await later.ensureRunning(spec)
      expect(await later.observe(spec.instanceId)).toEqual(before)
      expect(host.countProcesses(spec.instanceId)).toBe(1)
      await later.ensureStopped(spec.instanceId)
      expect(host.countProcesses(spec.instanceId)).toBe(0)
    } finally {
      process.env.PATH = searchPath
      rmSync(folder, { recursive: true })
    }
  })

  test('with all its traces gone, the lock still keeps a second QEMU from the disk', async () => {
    const spec = await started()
    const pid = host.pidOf(spec.instanceId)
    for (const name of ['machine.json', 'qmp.sock', 'qmp2.sock', 'serial.sock', 'vnc.sock']) {
      rmSync(join(folderOf(spec.instanceId), name))
    }
    const later = host.driver()
    await later.ensureRunning(spec)
    expect(await later.observe(spec.instanceId)).toMatchObject({ status: 'running', pid })
    expect(host.countProcesses(spec.instanceId)).toBe(1)
    await later.ensureStopped(spec.instanceId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
  })

  test('a machine whose folder was deleted is listed, and can be ended', async () => {
    const spec = await started()
    rmSync(folderOf(spec.instanceId), { recursive: true })
    expect(await driver.list()).toContain(spec.instanceId)
    await driver.remove(spec.instanceId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
    expect(await driver.list()).not.toContain(spec.instanceId)
  })

  test('a machine whose QEMU hangs is running, and ends all the same', async () => {
    const spec = await started()
    process.kill(host.pidOf(spec.instanceId), 'SIGSTOP')
    expect((await driver.observe(spec.instanceId)).status).toBe('running')
    await driver.ensureStopped(spec.instanceId)
    expect(host.countProcesses(spec.instanceId)).toBe(0)
  })

  test('a guest\'s power-off is seen while somebody else holds the first monitor socket', async () => {
    const spec = await started()
    await driver.close()
    driver = host.driver()
    const holder = connect(join(folderOf(spec.instanceId), 'qmp.sock'))
    await new Promise((resolve) => holder.once('data', resolve))
    await host.guestPowersOff(spec.instanceId)
    await until(driver, spec.instanceId, 'shutdown')
    holder.destroy()
  })

  test('a guest\'s reset stays in its process, and its disk keeps what it wrote', async () => {
    const spec = await started()
    const before = await driver.observe(spec.instanceId)
    await consoleShows(driver, spec.instanceId, 'test guest, boot 1')
    await writeToSerial(folderOf(spec.instanceId), 'r')
    await consoleShows(driver, spec.instanceId, 'test guest, boot 2')
    expect(await driver.observe(spec.instanceId)).toEqual(before)
    await driver.ensureStopped(spec.instanceId)
    await driver.ensureRunning(spec)
    await consoleShows(driver, spec.instanceId, 'test guest, boot 3')
  })

  test('ensureStopped leaves only the logs and the lock, no cgroup', async () => {
    const spec = await started()
    await driver.ensureStopped(spec.instanceId)
    expect(readdirSync(folderOf(spec.instanceId)).toSorted()).toEqual(['console.log', 'lock', 'qemu.log'])
    expect(execFileSync('find', ['/sys/fs/cgroup', '-name', spec.instanceId], { encoding: 'utf8' })).toBe('')
  })

  test('a machine that QEMU refuses fails with what QEMU said', async () => {
    const spec = await host.spec()
    const odd = { ...spec, platform: { ...spec.platform, machineType: 'pc-q35-0.1' } }
    await expect(driver.ensureRunning(odd)).rejects.toThrow(/did not start: .*exit code 1[^]*unsupported machine type/)
    expect(await driver.observe(spec.instanceId)).toEqual({ status: 'absent' })
    await driver.ensureRunning(spec)
    expect((await driver.observe(spec.instanceId)).status).toBe('running')
  })

  test('runs in the network namespace it is given, on a tap that its user owns', async () => {
    const spec = await host.spec()
    const name = `hearth-hv-${process.pid}`
    ip('netns', 'add', name)
    try {
      ip('-n', name, 'tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'user', String(UID_BASE + spec.slot))
      ip('-n', name, 'link', 'set', 'tap0', 'up')
      const nics = [{
        interfaceId: 'eni-0123456789abcdef0', attachmentId: 'eni-attach-0123456789abcdef0', deviceIndex: 0,
        mac: '0a:00:00:00:00:01', tap: 'tap0',
      }]
      await driver.ensureRunning({ ...spec, nics, netnsPath: `/run/netns/${name}` })
      const pid = host.pidOf(spec.instanceId)
      expect(statSync(`/proc/${pid}/ns/net`).ino).toBe(statSync(`/run/netns/${name}`).ino)
      // The carrier is there only while a process holds the tap.
      expect(ip('-n', name, 'link', 'show', 'tap0')).toContain('LOWER_UP')
      await driver.remove(spec.instanceId)
    } finally {
      ip('netns', 'del', name)
    }
  })

  test('what an agent left that died between the halves of plugging in is cleared away, or completed', async () => {
    const bench = await host.specWithNics()
    const { spec, nic } = bench
    const { instanceId } = spec
    try {
      await driver.ensureRunning(spec)
      const halfPlugged = async () => {
        const { attachmentId, tap } = nic(1)
        const client = await QmpClient.connect(folderOf(instanceId), 'qmp2.sock', systemClock, 5000)
        const netdev = { type: 'tap', id: `link-${attachmentId}`, ifname: tap, script: 'no', downscript: 'no' }
        await client.execute('netdev_add', netdev, 5000)
        client.close()
        expect(bench.hasLink(nic(1))).toBe(true)
      }
      await halfPlugged()
      expect(await driver.ensureNics(instanceId, [nic(0)])).toEqual([])
      expect(bench.hasLink(nic(1))).toBe(false)
      await halfPlugged()
      expect(await driver.ensureNics(instanceId, [nic(0), nic(1)])).toEqual([nic(1).attachmentId])
      expect(bench.hasLink(nic(1))).toBe(true)
    } finally {
      await driver.remove(instanceId)
      bench.close()
    }
  })

  qemuDisks(() => ({ host, driver }))
  qemuMemory(() => ({ host, driver }))

  test('works in a home too deep for the path of a socket', async () => {
    const home = join(host.home, 'd'.repeat(120))
    const options = { home, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg' as const }
    const deep = createQemuHypervisor(options)
    const spec = await host.spec()
    await deep.ensureRunning({ ...spec, disks: [] })
    expect((await deep.observe(spec.instanceId)).status).toBe('running')
    expect(existsSync(join(home, 'instances', spec.instanceId, 'qmp.sock'))).toBe(true)
    await deep.remove(spec.instanceId)
    await deep.close()
  })
})
