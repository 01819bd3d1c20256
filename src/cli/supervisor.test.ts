import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../core/clock.ts'
import { processOf } from '../hypervisor/qemu/process.ts'
import { readSettings } from '../settings.ts'
import { Supervisor } from './supervisor.ts'

let folder: string
let said: string[]
let supervisor: Supervisor | undefined

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-supervisor-'))
  said = []
})

afterEach(async () => {
  await supervisor?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A supervisor of one child with that code. */
function supervise(code: string): Supervisor {
  const script = path.join(folder, 'child.mjs')
  writeFileSync(script, code)
  supervisor = new Supervisor({
    children: [{ name: 'api', script, orders: { engine: { engine: 'qemu', accelerator: 'tcg', reason: 'a test' } } }],
    settings: readSettings({ home: folder, port: 0 }, {}), logFolder: folder, clock: systemClock,
    say: (line) => said.push(line),
  })
  return supervisor
}

const READY = `
  const { port } = JSON.parse(process.env.HEARTH_SETTINGS)
  console.log('port', port)
  process.send({ type: 'ready', port: port || 4711 })
  process.on('SIGTERM', () => process.exit(0))
  process.on('disconnect', () => process.exit(0))
`

const log = () => readFileSync(path.join(folder, 'api.log'), 'utf8')

describe('the supervisor', () => {
  it('starts a killed child again, on the port that was found free', async () => {
    await supervise(READY).start()
    const first = supervisor?.pids.api
    expect(supervisor?.settings.port).toBe(4711)
    process.kill(first ?? 0, 'SIGKILL')
    await waitFor(systemClock, 'another process', 10_000, () => said.includes('api is back'))
    expect(supervisor?.pids.api).not.toBe(first)
    expect(log()).toBe('port 0\nport 4711\n')
    expect(said[0]).toBe('api was ended by SIGKILL; starting it again in 100 ms')
  })

  it('ends its child and starts no other', async () => {
    await supervise(READY).start()
    const pid = supervisor?.pids.api ?? 0
    await supervisor?.stop()
    expect(processOf(pid)).toBeUndefined()
    expect(supervisor?.pids.api).toBeNull()
    expect(said).toEqual([])
  })

  it('gives up at once on a child that says why it cannot start', async () => {
    const code = `process.send({ type: 'failed', message: 'the port is taken' }, () => process.exit(1))`
    await expect(supervise(code).start()).rejects.toThrow('the api process cannot start: the port is taken')
    expect(supervisor?.pids.api).toBeNull()
  })

  it('gives up on a child that keeps dying before it is ready, with its last words', async () => {
    const code = `import { appendFileSync } from 'node:fs'
      appendFileSync(${JSON.stringify(path.join(folder, 'starts'))}, 'x')
      console.error('no such thing')
      process.exit(3)`
    await expect(supervise(code).start()).rejects.toThrow(/ended with status 3: no such thing/)
    expect(readFileSync(path.join(folder, 'starts'), 'utf8')).toBe('xxxxx')
    expect(existsSync(path.join(folder, 'api.log'))).toBe(true)
  }, 20_000)
})
