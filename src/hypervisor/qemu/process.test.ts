import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../core/clock.ts'
import { findMachine, findMachineIds, isAlive, isMachine, processOf, startedAtMs } from './process.ts'

const INSTANCE_ID = 'i-0123456789abcdef0'
let folder: string
const pids: number[] = []

beforeEach(() => (folder = realpathSync(mkdtempSync(join(tmpdir(), 'hearth-process-')))))
afterEach(() => {
  for (const pid of pids.splice(0)) process.kill(pid, 'SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

/** A stand-in that is named like a machine: a shell that waits for input, and never forks. */
async function standIn(instanceId: string, cwd = folder): Promise<number> {
  const words = ['-c', 'read line', 'x', '-name', `guest=${instanceId},debug-threads=on`]
  const child = spawn('sh', words, { cwd, stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  const pid = child.pid!
  pids.push(-pid)
  const commandLine = () => readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  await waitFor(systemClock, 'the stand-in', 5000, () => commandLine().includes('guest='))
  return pid
}

describe('processes', () => {
  test('one is told from another by when it started', () => {
    const self = processOf(process.pid)!
    expect(isAlive(self)).toBe(true)
    expect(isAlive({ ...self, startTicks: self.startTicks + 1 })).toBe(false)
    const ageSeconds = Number(execFileSync('ps', ['-o', 'etimes=', '-p', String(process.pid)], { encoding: 'utf8' }))
    expect(Math.abs(startedAtMs(self) - (Date.now() - ageSeconds * 1000))).toBeLessThan(5000)
  })

  test('a pid that nobody has is no process', () => {
    expect(processOf(99_999_999)).toBeUndefined()
  })

  test('a zombie is no process', async () => {
    // The shell becomes a sleep that never waits for its child, which ends after that.
    const words = ['-c', 'sleep 1 & echo $!; exec sleep 600']
    const parent = spawn('sh', words, { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
    pids.push(-parent.pid!)
    const child = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)))
    await waitFor(systemClock, 'a zombie', 5000, () => / Z /.test(readFileSync(`/proc/${child}/stat`, 'utf8')))
    expect(processOf(child)).toBeUndefined()
  })

  test('a machine is found by its name and its folder, from the moment it is spawned', async () => {
    const pid = await standIn(INSTANCE_ID)
    expect(isMachine(pid, INSTANCE_ID, folder)).toBe(true)
    expect(findMachine(INSTANCE_ID, folder).map((each) => each.pid)).toContain(pid)
    expect(isMachine(pid, 'i-0123456789abcdef1', folder)).toBe(false)
    expect(isMachine(pid, INSTANCE_ID, tmpdir())).toBe(false)
    expect(isMachine(process.pid, INSTANCE_ID, folder)).toBe(false)
  })

  test('machines of one home are listed, those of others not', async () => {
    const own = join(folder, INSTANCE_ID)
    execFileSync('mkdir', [own])
    await standIn(INSTANCE_ID, own)
    await standIn('i-0123456789abcdef1')
    expect(findMachineIds(folder)).toEqual([INSTANCE_ID])
    rmSync(own, { recursive: true })
    expect(findMachineIds(folder)).toEqual([INSTANCE_ID])
  })
})
