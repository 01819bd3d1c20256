import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, readlinkSync, statSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { Hypervisor, MachineSpec } from '../../src/hypervisor/driver.ts'
import { machineArguments } from '../../src/hypervisor/qemu/arguments.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { testGuestDisk } from '../../test/contract/test-guest.ts'

/** Milliseconds. */
interface Times {
  saveMs: number
  loadMs: number
}

export interface MemoryFigures {
  pairs: { driver: Times; plain: Times & { syncMs: number } }[]
  /** What is in the file, of a plain migrate. */
  gib: number
  longestWaitMs: number
}

const MIB = 1024 ** 2
const MEMORY_MIB = 1024
/** Nothing that could be left out, as zeros are. */
const RANDOM_MIB = 512
const TIMEOUT_MS = 120_000
const DRIVER_ID = 'i-00000000000000001'
const PLAIN_ID = 'i-00000000000000002'

/** Two machines that are alike, one of the driver and one by hand, saved and loaded by turns. */
export async function measureMemory(folder: string, rounds: number, progress: (line: string) => void): Promise<MemoryFigures> {
  const home = path.join(folder, 'home')
  mkdirSync(home)
  const driver = createQemuHypervisor({
    home, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg',
  })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const platform = await driver.platform()
  const specOf = async (instanceId: string, digit: string): Promise<MachineSpec> => ({
    instanceId, uuid: `ec200000-0000-4000-8000-00000000000${digit}`, slot: Number(digit), vcpus: 1, memoryMib: MEMORY_MIB, platform,
    disks: [await diskOf(home, folder, digit)], nics: [], maxNics: 1, netnsPath: null,
  })
  const spec = await specOf(DRIVER_ID, '1')
  const plain = new PlainMachine(path.join(folder, 'plain'), await specOf(PLAIN_ID, '2'))
  try {
    await driver.ensureRunning(spec)
    fillMemory(pidOf(home))
    await plain.start()
    fillMemory(plain.pid)
    const pairs: MemoryFigures['pairs'] = []
    let longestWaitMs = 0
    delay.enable()
    // The first round warms up.
    for (let round = 0; round <= rounds; round++) {
      progress(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
      const byHand = round % 2 === 0 ? await plain.measure() : undefined
      // What the other side did without a pause is not counted.
      await systemClock.sleep(50)
      delay.reset()
      const byDriver = await measureDriver(driver, spec)
      if (round > 0) longestWaitMs = Math.max(longestWaitMs, delay.max / 1e6)
      const pair = { driver: byDriver, plain: byHand ?? await plain.measure() }
      if (round > 0) pairs.push(pair)
    }
    return { pairs, gib: statSync(plain.file).size / 1024 ** 3, longestWaitMs }
  } finally {
    delay.disable()
    await plain.end()
    await driver.remove(DRIVER_ID)
    await driver.close()
  }
}

/** Hearth's disks are encrypted where guests are hibernated. */
async function diskOf(home: string, folder: string, digit: string): Promise<MachineSpec['disks'][number]> {
  const volumes = createQcow2Volumes({ home, log: silentLogger })
  const key = systemRandom.bytes(32).toString('base64')
  const [base, top] = [`lay-0000000000000000${digit}`, `lay-000000000000000a${digit}`]
  const [raw, qcow2] = [path.join(folder, `guest${digit}.raw`), path.join(folder, `guest${digit}.qcow2`)]
  writeFileSync(raw, testGuestDisk())
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, qcow2])
  await volumes.importLayer(base, qcow2)
  await volumes.ensureLayer({ layerId: top, sizeGib: 1, parentId: base, key })
  const layers = [{ layerId: top, path: volumes.pathOf(top), key }, { layerId: base, path: volumes.pathOf(base), key: null }]
  await volumes.close()
  return { volumeId: `vol-0000000000000000${digit}`, deviceName: '/dev/xvda', layers, sizeGib: 1, limits: null }
}

async function measureDriver(driver: Hypervisor, spec: MachineSpec): Promise<Times> {
  const image = { memoryId: `mem-${systemRandom.bytes(6).toString('hex')}`, key: systemRandom.bytes(32).toString('base64'), binding: 'bench' }
  const saveMs = await timeOf(async () => {
    if ((await driver.ensureSaved(DRIVER_ID, image, spec.disks)) !== 'saved') throw new Error('the memory was not saved')
  })
  const loadMs = await timeOf(async () => {
    if ((await driver.ensureLoaded(spec, image)) !== 'loaded') throw new Error('the memory was not loaded')
    await driver.ensureReleased(DRIVER_ID)
  })
  return { saveMs, loadMs }
}

/** The same machine, started without Hearth: no user of its own, no encryption, `cat` writes and reads the file. */
class PlainMachine {
  readonly file: string
  readonly #folder: string
  readonly #words: string[]
  #child: ChildProcess | undefined
  #qmp: QmpClient | undefined

  constructor(folder: string, spec: MachineSpec) {
    mkdirSync(folder)
    this.#folder = folder
    this.file = path.join(folder, 'memory')
    // It writes into the image itself, which is not encrypted: keys are the driver's business.
    const [disk] = spec.disks as [MachineSpec['disks'][number]]
    const words = machineArguments({ ...spec, disks: [{ ...disk, layers: disk.layers.slice(1) }] }, folder)
    // In the sandbox it may not start `cat`.
    this.#words = words.slice(0, words.indexOf('-sandbox'))
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  async start(incoming?: string): Promise<void> {
    for (const name of ['qmp.sock', 'qmp2.sock', 'serial.sock', 'qga.sock', 'vnc.sock']) execFileSync('rm', ['-f', path.join(this.#folder, name)])
    const extra = incoming === undefined ? [] : ['-S', '-incoming', incoming]
    this.#child = spawn('qemu-system-x86_64', [...this.#words, ...extra], { cwd: this.#folder, stdio: ['ignore', 'ignore', 'inherit'] })
    this.#qmp = await waitFor(systemClock, 'QEMU by hand', TIMEOUT_MS, () =>
      QmpClient.connect(this.#folder, 'qmp.sock', systemClock, TIMEOUT_MS).catch(() => undefined), 10)
  }

  async measure(): Promise<Times & { syncMs: number }> {
    const saveMs = await timeOf(async () => {
      await this.#execute('stop')
      await this.#execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 })
      await this.#execute('migrate', { uri: `exec:cat >${this.file}` })
      await this.#until('completed', async () => ((await this.#execute('query-migrate')) as { status?: string }).status)
      await this.end()
    })
    const syncMs = await timeOf(async () => {
      const handle = openSync(this.file, 'r+')
      fsyncSync(handle)
      closeSync(handle)
    })
    const loadMs = await timeOf(async () => {
      await this.start(`exec:cat ${this.file}`)
      await this.#until('paused', async () => ((await this.#execute('query-status')) as { status: string }).status)
      await this.#execute('cont')
    })
    return { saveMs, syncMs, loadMs }
  }

  async end(): Promise<void> {
    const child = this.#child
    if (!child) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    await this.#execute('quit').catch(() => child.kill('SIGKILL'))
    await ended
    this.#qmp?.close()
    this.#child = undefined
  }

  async #execute(command: string, args?: Record<string, unknown>): Promise<unknown> {
    return this.#qmp?.execute(command, args, TIMEOUT_MS)
  }

  async #until(status: string, read: () => Promise<string | undefined>): Promise<void> {
    await waitFor(systemClock, status, TIMEOUT_MS, async () => (await read()) === status, 10)
  }
}

async function timeOf(act: () => Promise<void>): Promise<number> {
  const startMs = performance.now()
  await act()
  return performance.now() - startMs
}

function pidOf(home: string): number {
  return (JSON.parse(readFileSync(path.join(home, 'instances', DRIVER_ID, 'machine.json'), 'utf8')) as { pid: number }).pid
}

/** Writes random bytes into the middle of a guest's memory, from outside. */
function fillMemory(pid: number): void {
  if (!readlinkSync(`/proc/${pid}/exe`).includes('qemu')) throw new Error(`process ${pid} is not QEMU`)
  const ranges = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').flatMap((line) => {
    const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    return from === '' ? [] : [{ from: Number.parseInt(from, 16), bytes: Number.parseInt(to, 16) - Number.parseInt(from, 16) }]
  })
  const memory = ranges.find(({ bytes }) => bytes === MEMORY_MIB * MIB)
  if (!memory) throw new Error('the guest\'s memory was not found')
  const handle = openSync(`/proc/${pid}/mem`, 'r+')
  const piece = Buffer.alloc(MIB)
  for (let index = 0; index < RANDOM_MIB; index++) writeSync(handle, randomFillSync(piece), 0, MIB, memory.from + (256 + index) * MIB)
  closeSync(handle)
}
