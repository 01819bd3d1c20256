import { execFileSync } from 'node:child_process'
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom, systemRandom } from '../../src/core/random.ts'
import type { DiskSpec, Hypervisor, MachineSpec, NicSpec } from '../../src/hypervisor/driver.ts'
import { UID_BASE } from '../../src/core/machine-uid.ts'
import { createQemuHypervisor } from '../../src/hypervisor/qemu/index.ts'
import { QmpClient } from '../../src/hypervisor/qemu/qmp.ts'
import { createSimWorld } from '../../src/hypervisor/sim-world.ts'
import { createSimHypervisor } from '../../src/hypervisor/sim.ts'
import { createQcow2Volumes } from '../../src/volumes/qcow2/index.ts'
import { createSimVolumes } from '../../src/volumes/sim.ts'
import type { LayerRef, Volumes } from '../../src/volumes/driver.ts'
import { testGuestDisk } from './test-guest.ts'

/** A host to run the suite on; drivers made by `driver` share it, as agents that follow each other do. */
export interface TestHost {
  driver(): Hypervisor
  volumes: Volumes
  /** A machine of its own, with a disk that holds the test guest. */
  spec(): Promise<MachineSpec>
  /** An empty disk of 1 GiB for any machine. */
  disk(): Promise<DiskSpec>
  /** A new layer over the top one of the disk. */
  layerOver(disk: DiskSpec): Promise<LayerRef>
  /** Whether the machine holds the file of a layer. */
  holds(instanceId: string, layer: LayerRef | undefined): boolean
  /** Something in the guest's memory that no other boot of it has. */
  contentOf(instanceId: string): Promise<string>
  /** The guest, which takes its time, gives up the devices that it was asked for. */
  guestLetsGo(instanceId: string): Promise<void>
  /** A machine whose disk takes nothing that its guest writes, until `makeRoom`. */
  specOnFullDisk(): Promise<{ spec: MachineSpec; guestWrites(): void; makeRoom(): void; close(): void }>
  /** A machine with its primary interface, and what it takes to give it others. */
  specWithNics(): Promise<NicBench>
  guestPowersOff(instanceId: string): Promise<void>
  killProcess(instanceId: string): Promise<void>
  /** Its process does nothing any more, and does not end. */
  hangProcess(instanceId: string): void
  /** Processes that there are of that machine. */
  countProcesses(instanceId: string): number
  close(): Promise<void>
}

export interface NicBench {
  spec: MachineSpec
  /** An interface whose tap is there, attached for the n-th time. */
  nic(deviceIndex: number, attachment?: number): NicSpec
  /** Whether packets pass between the interface's tap and the machine. */
  hasLink(nic: NicSpec): boolean
  close(): void
}

function nicSpec(deviceIndex: number, attachment: number): NicSpec {
  return {
    interfaceId: `eni-0000000000000000${deviceIndex}`, attachmentId: `eni-attach-000000000000000${attachment}${deviceIndex}`,
    deviceIndex, mac: `0a:00:00:00:00:0${deviceIndex}`, tap: `tap${deviceIndex}`,
  }
}

const SNAPSHOT_ID = 'snap-0123456789abcdef0'

export function newDigits(): string {
  return systemRandom.bytes(9).toString('hex').slice(0, 17)
}

/** A disk of 1 GiB that writes into a layer of its own, over others. */
function diskOf(volumes: Volumes, digits: string, ...lowerIds: string[]): DiskSpec {
  const layers = [`lay-${digits}`, ...lowerIds].map((layerId) => ({ layerId, path: volumes.pathOf(layerId), key: null }))
  return { volumeId: `vol-${digits}`, deviceName: '/dev/xvda', layers, sizeGib: 1, limits: null }
}

async function newLayer(volumes: Volumes, { layers: [top] }: DiskSpec): Promise<LayerRef> {
  const layerId = `lay-${newDigits()}`
  await volumes.ensureLayer({ layerId, sizeGib: 1, parentId: top?.layerId ?? null, key: null })
  return { layerId, path: volumes.pathOf(layerId), key: null }
}

async function newDisk(volumes: Volumes): Promise<DiskSpec> {
  const digits = newDigits()
  await volumes.ensureLayer({ layerId: `lay-${digits}`, sizeGib: 1, parentId: null, key: null })
  return { ...diskOf(volumes, digits), deviceName: '/dev/sdf' }
}

/** An instance id that no other machine of this host has, so that processes can be counted. */
async function newSpec(slot: number, volumes: Volumes): Promise<Omit<MachineSpec, 'platform'>> {
  const digits = newDigits()
  await volumes.ensureLayer({ layerId: `lay-${digits}`, sizeGib: 1, parentId: SNAPSHOT_ID, key: null })
  return {
    instanceId: `i-${digits}`,
    uuid: `ec2${digits.slice(0, 5)}-${digits.slice(5, 9)}-4000-8000-${digits.slice(5, 17)}`,
    slot,
    vcpus: 1,
    memoryMib: 64,
    disks: [diskOf(volumes, digits, SNAPSHOT_ID)],
    nics: [],
    maxNics: 4,
    netnsPath: null,
  }
}

export async function simHost(): Promise<TestHost> {
  const random = seededRandom(1)
  const clock = systemClock
  const world = createSimWorld({ clock, random, delays: { bootMs: [0, 5], shutdownMs: [5, 20], unplugMs: [5, 20] } })
  const volumes = createSimVolumes({
    world, clock, random, delays: { createMs: [0, 0], deleteMs: [0, 0], importMs: [0, 0] },
  })
  await volumes.importLayer(SNAPSHOT_ID, 'test guest')
  const drivers: Hypervisor[] = []
  const driver = () => {
    const made = createSimHypervisor({ world, clock, random, delays: { startMs: [1, 10], stopMs: [1, 10] } })
    drivers.push(made)
    return made
  }
  let lastSlot = 0
  const newMachine = async () => {
    return { ...(await newSpec(++lastSlot, volumes)), platform: await driver().platform() }
  }
  return {
    volumes,
    driver,
    spec: newMachine,
    disk: () => newDisk(volumes),
    layerOver: (disk) => newLayer(volumes, disk),
    holds: (instanceId, layer) => [...world.machines.get(instanceId)?.process?.disks.all.values() ?? []].some(({ spec }) =>
      spec.layers.some(({ layerId }) => layerId === layer?.layerId)),
    contentOf: async (instanceId) => String(world.machines.get(instanceId)?.process?.memory.bootId),
    async guestLetsGo() {},
    async specOnFullDisk() {
      const spec = await newMachine()
      world.isDiskFull = true
      return {
        spec, guestWrites: () => world.guestWrites(spec.instanceId), makeRoom: () => void (world.isDiskFull = false), close() {},
      }
    },
    async specWithNics() {
      const spec = await newMachine()
      const nicsNow = () => world.machines.get(spec.instanceId)?.process?.nics
      const nic = (deviceIndex: number, attachment = 0) => nicSpec(deviceIndex, attachment)
      return {
        spec: { ...spec, nics: [nic(0)] }, nic, hasLink: ({ attachmentId }) => nicsNow()?.get(attachmentId)?.hasLink ?? false,
        close() {},
      }
    },
    guestPowersOff: async (instanceId) => world.guestPowersOff(instanceId),
    killProcess: async (instanceId) => world.processDies(instanceId),
    hangProcess: (instanceId) => world.processHangs(instanceId),
    countProcesses: (instanceId) => (world.machines.get(instanceId)?.process ? 1 : 0),
    async close() {
      await Promise.all(drivers.map((driver) => driver.close()))
    },
  }
}

/** Why the suite cannot run on real QEMU here; undefined when it can. */
export function whyNoQemu(): string | undefined {
  for (const program of ['qemu-system-x86_64', 'qemu-img']) {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' })
    } catch {
      return `${program} is not installed (apt install qemu-system-x86 qemu-utils)`
    }
  }
  return process.getuid?.() === 0 ? undefined : 'only root can run machines under users of their own'
}

export async function qemuHost(): Promise<TestHost & { home: string; pidOf(instanceId: string): number }> {
  const parent = mkdtempSync(join(tmpdir(), 'hearth-contract-'))
  // As under /root: nobody but root may pass the folder above the home.
  const home = join(parent, 'home')
  mkdirSync(home)
  const volumes = createQcow2Volumes({ home, log: silentLogger })
  writeFileSync(join(parent, 'guest.raw'), testGuestDisk())
  const files = [join(parent, 'guest.raw'), join(parent, 'guest.qcow2')]
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...files])
  await volumes.importLayer(SNAPSHOT_ID, join(parent, 'guest.qcow2'))
  const drivers: Hypervisor[] = []
  const driver = () => {
    const made = createQemuHypervisor({
      home, clock: systemClock, log: silentLogger, random: systemRandom, accelerator: 'tcg',
    })
    drivers.push(made)
    return made
  }
  const pidOf = (instanceId: string) => {
    const text = readFileSync(join(home, 'instances', instanceId, 'machine.json'), 'utf8')
    return (JSON.parse(text) as { pid: number }).pid
  }
  let lastSlot = 0
  const newMachine = async () => {
    return { ...(await newSpec(++lastSlot, volumes)), platform: await driver().platform() }
  }
  return {
    home,
    volumes,
    driver,
    pidOf,
    spec: newMachine,
    disk: () => newDisk(volumes),
    layerOver: (disk) => newLayer(volumes, disk),
    holds(instanceId, layer) {
      const handles = `/proc/${pidOf(instanceId)}/fd`
      return readdirSync(handles).some((handle) => {
        try {
          return readlinkSync(join(handles, handle)) === layer?.path
        } catch {
          return false
        }
      })
    },
    // The test guest keeps there how often it was booted; when it says so, it has written that to its disk.
    async contentOf(instanceId) {
      let last = 0
      return waitFor(systemClock, 'the guest to have booted', 30_000, async () => {
        const client = await QmpClient.connect(join(home, 'instances', instanceId), 'qmp2.sock', systemClock, 5000)
        const text = await client.execute('human-monitor-command', { 'command-line': 'xp /1db 0x8000' }, 5000).finally(() => client.close())
        const boots = Number(/: *(\d+)/.exec(String(text))?.[1] ?? 0)
        const output = (await driver().consoleOutput(instanceId, 65_536)).toString()
        // For a moment it holds what it has read from its disk: the boot before.
        const isSettled = boots > 0 && boots === last
        last = boots
        return isSettled && output.includes(`test guest, boot ${String.fromCharCode(0x30 + boots)}`) ? `boot ${boots}` : undefined
      })
    },
    // The test guest does not know how; but what is pending ends with a reset.
    async guestLetsGo(instanceId) {
      const boots = async () => (await consoleShows(driver(), instanceId, 'test guest, boot')).split('test guest').length
      const before = await boots()
      await writeToSerial(join(home, 'instances', instanceId), 'r')
      await waitFor(systemClock, 'the guest to boot again', 30_000, async () => (await boots()) > before)
    },
    async specOnFullDisk() {
      const spec = await newMachine()
      const folder = join(home, 'volumes', `small-${spec.slot}`)
      mkdirSync(folder)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=711', 'hearth-test', folder])
      const file = join(folder, 'disk.qcow2')
      const [root] = spec.disks as [DiskSpec]
      copyFileSync(root.layers[0]!.path, file)
      const filler = join(folder, 'filler')
      fill(filler)
      return {
        spec: { ...spec, disks: [{ ...root, layers: [{ ...root.layers[0]!, path: file }, ...root.layers.slice(1)] }] },
        guestWrites() {},
        makeRoom: () => rmSync(filler),
        close: () => void execFileSync('umount', [folder]),
      }
    },
    async specWithNics() {
      const spec = await newMachine()
      const name = `hearth-hv-${process.pid}-${spec.slot}`
      const ip = (...words: string[]) => execFileSync('ip', words, { encoding: 'utf8' })
      ip('netns', 'add', name)
      for (const index of [0, 1, 2]) {
        ip('-n', name, 'tuntap', 'add', 'dev', `tap${index}`, 'mode', 'tap', 'user', String(UID_BASE + spec.slot), 'vnet_hdr')
        ip('-n', name, 'link', 'set', `tap${index}`, 'up')
      }
      const nic = (deviceIndex: number, attachment = 0) => nicSpec(deviceIndex, attachment)
      return {
        spec: { ...spec, nics: [nic(0)], netnsPath: `/run/netns/${name}` },
        nic,
        // The carrier is there only while a process holds the tap.
        hasLink: ({ tap }) => ip('-n', name, 'link', 'show', tap).includes('LOWER_UP'),
        close: () => void ip('netns', 'del', name),
      }
    },
    async guestPowersOff(instanceId) {
      await consoleShows(driver(), instanceId, 'boot')
      await writeToSerial(join(home, 'instances', instanceId), 'p')
    },
    async killProcess(instanceId) {
      process.kill(pidOf(instanceId), 'SIGKILL')
    },
    hangProcess: (instanceId) => void process.kill(pidOf(instanceId), 'SIGSTOP'),
    countProcesses: (instanceId) => processesOf(instanceId).length,
    async close() {
      const last = driver()
      for (const instanceId of await last.list()) await last.remove(instanceId)
      await Promise.all(drivers.map((each) => each.close()))
      rmSync(parent, { recursive: true, force: true })
    },
  }
}

/** Writes until the disk takes no more. */
function fill(file: string): void {
  const handle = openSync(file, 'w')
  try {
    for (const size of [65_536, 4096]) {
      for (;;) {
        try {
          writeSync(handle, Buffer.alloc(size))
        } catch {
          break
        }
      }
    }
  } finally {
    closeSync(handle)
  }
}

export async function consoleShows(driver: Hypervisor, instanceId: string, text: string): Promise<string> {
  return waitFor(systemClock, `"${text}" on the console`, 30_000, async () => {
    const output = (await driver.consoleOutput(instanceId, 65_536)).toString()
    return output.includes(text) ? output : undefined
  })
}

/** Types on the machine's serial port, as `hearth console` does. */
export async function writeToSerial(folder: string, text: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(join(folder, 'serial.sock'), () => socket.end(text))
    socket.once('error', reject)
    socket.once('close', () => resolve())
    socket.resume()
  })
}

/** Counted by other means than the driver's own: ps. Zombies do not count. */
function processesOf(instanceId: string): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,stat=,args='], { encoding: 'utf8' }).split('\n')
  return lines
    .filter((line) => line.includes(`guest=${instanceId},`) && !/^\s*\d+\s+Z/.test(line))
    .map((line) => Number.parseInt(line, 10))
}
