import { execFile } from 'node:child_process'
import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import type { Clock } from '../core/clock.ts'
import { messageOf } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import type { GuestArchitecture } from '../hypervisor/driver.ts'
import { bootableArchitectures, uefiFirmware } from '../hypervisor/qemu/architecture.ts'
import { probeAccelerator } from '../hypervisor/qemu/probe.ts'
import { imageRecipes, listBuiltImages } from '../images/build.ts'
import { lackOfConnections, probeStore } from '../main.ts'
import { describeDatabase, type Settings } from '../settings.ts'
import { mayBeHome } from './command.ts'
import { endpointOf, readUpRecord } from './up-record.ts'

/** One thing that was looked at. */
export interface Check {
  name: string
  /** 'missing': hearth up cannot run without it. */
  status: 'ok' | 'warning' | 'missing'
  detail: string
  /** What to do; undefined when all is well. */
  remedy?: string
}

/** Free space below which images and disks of machines soon have no room, bytes. */
const LITTLE_SPACE = 2 * 2 ** 30

/** Looks at everything that `hearth up` needs with these settings. Notes the probe's outcome, and changes nothing else. */
export async function diagnose(settings: Settings, ambient: { clock: Clock; forceProbe: boolean }): Promise<Check[]> {
  const common = [checkNode(), checkHome(settings.home), await checkPort(settings), ...(await checkDatabase(settings))]
  const machines = settings.engine === 'sim' ? [] : [
    checkRoot(), checkTun(), ...checkPrograms(), await checkAcceleration(settings, ambient), checkCgroups(),
    await checkImage(settings.home), checkOtherGuests(),
  ]
  return [...common, ...machines, await checkAwsCli()]
}

function checkNode(): Check {
  return { name: 'Node', status: 'ok', detail: process.versions.node }
}

/** SQLite needs nothing but the home. */
async function checkDatabase(settings: Settings): Promise<Check[]> {
  if (settings.database === null) return []
  const name = 'database'
  const where = describeDatabase(settings)
  try {
    const detail = `${await probeStore(settings)}, ${where}`
    const lack = await lackOfConnections(settings)
    if (lack === undefined) return [{ name, status: 'ok', detail }]
    return [{ name, status: 'warning', detail: `${detail}: ${lack}`, remedy: RAISE_CONNECTIONS }]
  } catch (error) {
    const remedy = 'see that it runs and lets this user in, or leave out --database'
    return [{ name, status: 'missing', detail: `${where}: ${messageOf(error)}`, remedy }]
  }
}

/** What to do about too few connections. */
export const RAISE_CONNECTIONS = 'raise max_connections in its postgresql.conf, or have fewer regions or zones'

function checkRoot(): Check {
  const name = 'rights'
  if (process.getuid?.() === 0) return { name, status: 'ok', detail: 'root' }
  const remedy = 'sudo npm start, or simulated machines: --engine sim'
  return { name, status: 'missing', detail: 'not root, so no network can be made', remedy }
}

function checkTun(): Check {
  const name = '/dev/net/tun'
  if (existsSync(name)) return { name, status: 'ok', detail: 'there' }
  return { name, status: 'missing', detail: 'absent, so machines get no network', remedy: 'sudo modprobe tun' }
}

/** Program → Debian package that has it. */
const PROGRAMS: Record<string, string> = {
  ip: 'iproute2', nft: 'nftables', nsenter: 'util-linux', setpriv: 'util-linux', 'qemu-img': 'qemu-utils',
  ssh: 'openssh-client',
}

/** Folders of programs, with those that a user's PATH may lack. */
function findProgram(program: string, searchPath: string): string | undefined {
  const folders = [...searchPath.split(':').filter((folder) => folder !== ''), '/usr/sbin', '/usr/bin', '/sbin', '/bin']
  return folders.map((folder) => path.join(folder, program)).find((file) => existsSync(file))
}

function checkPrograms(): Check[] {
  return Object.entries(PROGRAMS).map(([name, packageName]) => {
    const file = findProgram(name, process.env.PATH ?? '')
    if (file) return { name, status: 'ok', detail: file }
    const status = name === 'ssh' ? 'warning' : 'missing'
    return { name, status, detail: 'not installed', remedy: `sudo apt-get install ${packageName}` }
  })
}

async function checkAcceleration(
  { home }: Settings,
  { clock, forceProbe }: { clock: Clock; forceProbe: boolean },
): Promise<Check> {
  const name = 'QEMU'
  try {
    const probe = await probeAccelerator({ home, clock, log: silentLogger, force: forceProbe })
    const isFast = probe.accelerator === 'kvm'
    const when = `tried ${new Date(probe.probedAtMs).toISOString().slice(0, 16).replace('T', ' ')} on Linux ${probe.kernel}`
    return {
      name, status: isFast ? 'ok' : 'warning',
      detail: `${probe.qemuVersion} with ${probe.accelerator.toUpperCase()} (${when})`,
      ...(isFast ? {} : { remedy: probe.reason }),
    }
  } catch (error) {
    return { name, status: 'missing', detail: messageOf(error), remedy: 'sudo apt-get install qemu-system-x86' }
  }
}

/** What images of other kinds than Hearth's own need; nothing else does. */
function checkOtherGuests(): Check {
  const name = 'UEFI, arm64'
  const packages = [
    ...(hasUefi('x86_64') ? [] : ['ovmf']),
    ...(bootableArchitectures().includes('arm64') ? [] : ['qemu-system-arm', 'qemu-efi-aarch64']),
  ]
  if (packages.length === 0) return { name, status: 'ok', detail: 'images of both boot here' }
  return {
    name, status: 'warning', detail: 'some images cannot boot here; only needed for those that want it',
    remedy: `sudo apt-get install ${packages.join(' ')}`,
  }
}

function hasUefi(architecture: GuestArchitecture): boolean {
  try {
    uefiFirmware(architecture)
    return true
  } catch {
    return false
  }
}

function checkCgroups(): Check {
  const name = 'cgroups'
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) return { name, status: 'ok', detail: 'version 2' }
  if (existsSync('/sys/fs/cgroup/cpu')) return { name, status: 'ok', detail: 'version 1' }
  const detail = 'absent: machines run without limits of their own'
  return { name, status: 'warning', detail, remedy: 'mount -t cgroup2 none /sys/fs/cgroup' }
}

function checkHome(home: string): Check {
  const name = 'home'
  if (!mayBeHome(home)) {
    return { name, status: 'missing', detail: `${home} holds other things`, remedy: 'give Hearth a folder of its own: --home' }
  }
  const folder = nearestFolder(home)
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
  } catch {
    const detail = `${folder} cannot be written to`
    return { name, status: 'missing', detail, remedy: 'give Hearth another folder: --home' }
  }
  const { bavail, bsize } = statfsSync(folder)
  const free = `${home}, ${(bavail * bsize / 2 ** 30).toFixed(1)} GiB free`
  if (bavail * bsize < LITTLE_SPACE) {
    return { name, status: 'warning', detail: free, remedy: 'make room, or take another disk: --home' }
  }
  return { name, status: 'ok', detail: free }
}

/** The folder, or the nearest above it that exists. */
function nearestFolder(folder: string): string {
  return existsSync(folder) ? folder : nearestFolder(path.dirname(folder))
}

async function checkPort(settings: Settings): Promise<Check> {
  const name = 'port'
  const up = readUpRecord(settings.home)
  if (up?.isRunning) return { name, status: 'ok', detail: `this cloud listens at ${endpointOf(up.record.settings)}` }
  const problem = await tryPort(settings)
  const free = settings.port === 0 ? 'any free one' : `${settings.port} is free`
  if (problem === undefined) return { name, status: 'ok', detail: free }
  return { name, status: 'missing', detail: problem, remedy: 'end what listens there, or take another: --port' }
}

function tryPort({ host, port }: Pick<Settings, 'host' | 'port'>): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(messageOf(error)))
    server.listen(port, host, () => server.close(() => resolve(undefined)))
  })
}

async function checkImage(home: string): Promise<Check> {
  const name = 'tiny image'
  const built = (await listBuiltImages(home)).find((each) => each.recipe === 'tiny')
  if (built) return { name, status: 'ok', detail: built.name }
  const duration = imageRecipes.find((each) => each.name === 'tiny')?.duration ?? ''
  return { name, status: 'ok', detail: `not built yet; hearth up builds it (${duration})` }
}

async function checkAwsCli(): Promise<Check> {
  const name = 'AWS CLI'
  const version = await awsVersion()
  if (version === undefined) {
    const detail = 'not installed; only needed to type aws'
    return { name, status: 'warning', detail, remedy: 'sudo apt-get install awscli' }
  }
  if (knowsEndpointVariable(version)) return { name, status: 'ok', detail: version }
  const remedy = 'aws --endpoint-url "$AWS_ENDPOINT_URL" …, or version 2.13 or newer'
  return { name, status: 'warning', detail: `${version} does not know AWS_ENDPOINT_URL`, remedy }
}

/** Whether that version ("2.9.19") of the AWS CLI heeds AWS_ENDPOINT_URL: 2.13, or 1.29 of the old line. */
export function knowsEndpointVariable(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 2 || (major === 2 && minor >= 13) || (major === 1 && minor >= 29)
}

const AWS_TIMEOUT_MS = 10_000

function awsVersion(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile('aws', ['--version'], { timeout: AWS_TIMEOUT_MS }, (error, stdout, stderr) =>
      resolve(error ? undefined : /aws-cli\/([\d.]+)/.exec(stdout + stderr)?.[1]))
  })
}
