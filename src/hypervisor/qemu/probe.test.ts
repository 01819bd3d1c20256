import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { execFileSync } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { silentLogger } from '../../core/logger.ts'
import { UID_BASE } from '../../core/machine-uid.ts'
import { bootProbeGuest, probeAccelerator } from './probe.ts'

function hasQemu(): boolean {
  try {
    execFileSync('qemu-system-x86_64', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
if (!hasQemu()) console.warn('the probe is not tested: qemu-system-x86_64 is not installed')

let home: string
beforeEach(() => (home = mkdtempSync(join(tmpdir(), 'hearth-home-'))))
afterEach(() => rmSync(home, { recursive: true, force: true }))
const options = () => ({ home, clock: systemClock, log: silentLogger })
const uid = process.getuid?.() === 0 ? UID_BASE - 1 : null

describe.skipIf(!hasQemu())('the probe', () => {
  test('its guest runs to its end under emulation, unprivileged', { timeout: 20_000 }, async () => {
    expect(await bootProbeGuest({ clock: systemClock, accelerator: 'tcg', cpuModel: 'max', uid })).toBeNull()
  })

  test('its guest\'s death is told apart, with what QEMU said', { timeout: 20_000 }, async () => {
    const failure = await bootProbeGuest({ clock: systemClock, accelerator: 'tcg', cpuModel: 'no-such-model', uid })
    expect(failure).toMatch(/^QEMU ended under TCG before its guest ran \(.*no-such-model/)
  })

  test('a guest that makes no headway is a guest that hangs', { timeout: 20_000 }, async () => {
    // The deadline passes at once: emulation does not get there in no time either.
    const clock = { ...systemClock, after: (_delayMs: number, run: () => void) => systemClock.after(100, run) }
    expect(await bootProbeGuest({ clock, accelerator: 'tcg', cpuModel: 'max', uid })).toBe('a guest hung under TCG')
  })

  test('without the device it says so, and keeps nothing', async () => {
    const result = await probeAccelerator({ ...options(), device: join(home, 'kvm') })
    expect(result).toMatchObject({ accelerator: 'tcg', kernel: release() })
    expect(result.reason).toMatch(/^no .*\/kvm: /)
    expect(existsSync(join(home, 'probe.json'))).toBe(false)
  })

  test('an outcome is kept for this kernel and QEMU, and sought anew on request', { timeout: 30_000 }, async () => {
    // Stands in for a device that opens; what the guest then does is up to this host's /dev/kvm.
    const device = join(home, 'device')
    writeFileSync(device, '', { mode: 0o666 })
    const first = await probeAccelerator({ ...options(), device })
    const file = join(home, 'probe.json')
    const kept = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
    expect(kept).toMatchObject({ kernel: first.kernel, qemuVersion: first.qemuVersion, probedAtMs: first.probedAtMs })

    writeFileSync(file, JSON.stringify({ ...kept, failure: 'a guest hung under KVM', probedAtMs: 1 }))
    expect(await probeAccelerator({ ...options(), device })).toMatchObject({
      accelerator: 'tcg', reason: 'a guest hung under KVM; using emulation (TCG)', probedAtMs: 1,
    })
    expect((await probeAccelerator({ ...options(), device, force: true })).probedAtMs).toBeGreaterThan(1)
    const old = { ...kept, probedAtMs: 1 }
    for (const other of [{ ...old, kernel: 'other' }, { ...old, qemuVersion: 'other' }, 'garbage']) {
      writeFileSync(file, JSON.stringify(other))
      expect((await probeAccelerator({ ...options(), device })).probedAtMs).toBeGreaterThan(1)
    }
  })

  test('this host\'s own answer agrees with what a guest does here', { timeout: 30_000 }, async () => {
    const result = await probeAccelerator(options())
    expect(result.reason).not.toBe('')
    if (!canOpen('/dev/kvm')) return expect(result.accelerator).toBe('tcg')
    const user = (statSync('/dev/kvm').mode & 0o006) === 0o006 ? uid : null
    const failure = await bootProbeGuest({ clock: systemClock, accelerator: 'kvm', cpuModel: 'host', uid: user })
    if (failure !== null) expect(result.reason).toBe(`${failure}; using emulation (TCG)`)
    else expect(result.reason).toMatch(/a guest ran under KVM|is open to root only/)
  })
})

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}
