import {
  accessSync, chownSync, closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync,
  statSync, writeFileSync,
} from 'node:fs'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { SANDBOX } from './arguments.ts'
import { ensureSharedFolders } from './folder.ts'
import { UID_BASE } from '../../core/machine-uid.ts'
import { isOpenToMachines, isRoot, spawnQemu } from './launch.ts'
import { PROBE_EXIT_CODE, probeDisk } from './probe-guest.ts'
import { qemuVersion } from './version.ts'

export interface ProbeOptions {
  home: string
  clock: Clock
  log: Logger
  /** Boots the guest again even if the outcome is known for this kernel and QEMU. */
  force?: boolean
  /** /dev/kvm by default. */
  device?: string
}

export interface ProbeResult {
  accelerator: 'kvm' | 'tcg'
  /** A sentence for people; where acceleration is missing, with the remedy if there is one. */
  reason: string
  kernel: string
  qemuVersion: string
  /** When a guest was last booted to find out, or now where none was needed. */
  probedAtMs: number
}

/** What `<home>/probe.json` keeps: how a guest fared under KVM with this kernel and QEMU. */
interface Trial {
  kernel: string
  qemuVersion: string
  probedAtMs: number
  /** Null when the guest ran to its end. */
  failure: string | null
}

const BOOT_TIMEOUT_MS = 5_000

/**
 * Finds out whether machines can be accelerated here, by booting a small guest: on some hosts
 * /dev/kvm opens and guests hang. The outcome is kept per kernel and QEMU version.
 *
 * @throws Error when QEMU is not installed.
 */
export async function probeAccelerator(options: ProbeOptions): Promise<ProbeResult> {
  const { clock, device = '/dev/kvm' } = options
  const host = { kernel: release(), qemuVersion: await qemuVersion() }
  const without = deviceProblem(device)
  if (without !== undefined) return { accelerator: 'tcg', reason: without, ...host, probedAtMs: clock.now() }

  const isOpen = !isRoot() || isOpenToMachines(statSync(device))
  const trial = await tryGuest(options, host, isOpen && isRoot() ? UID_BASE - 1 : null)
  const seen = { ...host, probedAtMs: trial.probedAtMs }
  if (trial.failure !== null) {
    return { accelerator: 'tcg', reason: `${trial.failure}; using emulation (TCG)`, ...seen }
  }
  if (!isOpen) {
    const remedy = `groupadd -f kvm && chgrp kvm ${device} && chmod 660 ${device}`
    const reason = `${device} is open to root only, and machines do not run as root: ${remedy}`
    return { accelerator: 'tcg', reason, ...seen }
  }
  return { accelerator: 'kvm', reason: 'a guest ran under KVM', ...seen }
}

function deviceProblem(device: string): string | undefined {
  if (!existsSync(device)) {
    const remedy = 'enable VT-x or AMD-V in its firmware, or nested virtualisation on its hypervisor'
    return `no ${device}: this host offers no hardware virtualisation (${remedy}); using emulation (TCG)`
  }
  try {
    accessSync(device, constants.R_OK | constants.W_OK)
    return undefined
  } catch {
    const remedy = 'add yourself to group kvm (sudo usermod -aG kvm "$USER", then log in again)'
    return `permission denied on ${device}: ${remedy}; using emulation (TCG)`
  }
}

async function tryGuest(
  options: ProbeOptions,
  host: Pick<Trial, 'kernel' | 'qemuVersion'>,
  uid: number | null,
): Promise<Trial> {
  const { home, clock, log } = options
  const known = options.force ? undefined : readTrial(join(home, 'probe.json'))
  if (known?.kernel === host.kernel && known.qemuVersion === host.qemuVersion) return known
  const failure = await bootProbeGuest({ clock, accelerator: 'kvm', cpuModel: 'host', uid })
  const trial = { ...host, probedAtMs: clock.now(), failure }
  log.info('tried a guest under KVM', { ...trial })
  ensureSharedFolders(home, [])
  writeTrial(join(home, 'probe.json'), trial)
  return trial
}

/** Boots the guest; null when it ran to its end in time, else what happened, as part of a sentence. */
export async function bootProbeGuest(options: {
  clock: Clock
  accelerator: 'kvm' | 'tcg'
  cpuModel: string
  uid: number | null
}): Promise<string | null> {
  const { clock, accelerator, cpuModel, uid } = options
  const folder = mkdtempSync(join(tmpdir(), 'hearth-probe-'))
  try {
    writeFileSync(join(folder, 'disk'), probeDisk(), { mode: 0o444 })
    if (uid !== null) chownSync(folder, uid, uid)
    const log = openSync(join(folder, 'log'), 'a', 0o600)
    const rest = { netnsPath: null, tun: false, cgroupFiles: [], diesWithParent: true }
    const words = guestArguments(accelerator, cpuModel)
    const child = spawnQemu({ folder, uid, kvm: accelerator === 'kvm', arguments: words, ...rest }, log)
    closeSync(log)
    let timedOut = false
    const deadline = clock.after(BOOT_TIMEOUT_MS, () => {
      timedOut = true
      child.kill('SIGKILL')
    })
    const end = await new Promise<number | string>((resolve) => {
      child.once('error', (error) => resolve(error.message))
      child.once('exit', (code, signal) => resolve(code ?? String(signal)))
    })
    deadline.cancel()
    const name = accelerator.toUpperCase()
    if (timedOut) return `a guest hung under ${name}`
    if (end === PROBE_EXIT_CODE) return null
    const said = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n', 1)[0]
    return `QEMU ended under ${name} before its guest ran (${said || `it ended with ${end}`})`
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function guestArguments(accelerator: 'kvm' | 'tcg', cpuModel: string): string[] {
  return [
    '-nodefaults', '-no-user-config', '-display', 'none',
    '-machine', 'q35', '-accel', accelerator, '-cpu', cpuModel, '-m', '64M',
    '-blockdev', '{"driver":"file","node-name":"disk","filename":"disk","read-only":true}',
    '-device', 'virtio-blk-pci,drive=disk', '-device', 'isa-debug-exit,iobase=0x501,iosize=1', '-sandbox', SANDBOX,
  ]
}

function readTrial(path: string): Trial | undefined {
  try {
    const trial = JSON.parse(readFileSync(path, 'utf8')) as Partial<Trial> | null
    if (typeof trial?.probedAtMs !== 'number') return undefined
    return trial.failure === null || typeof trial.failure === 'string' ? (trial as Trial) : undefined
  } catch {
    return undefined
  }
}

function writeTrial(path: string, trial: Trial): void {
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, `${JSON.stringify(trial, null, 2)}\n`)
  renameSync(temporary, path)
}
