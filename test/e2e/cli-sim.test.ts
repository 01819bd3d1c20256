import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { openRunningCloud } from '../../src/cli/running-cloud.ts'
import type { Status } from '../../src/cli/status.ts'
import type { UpRecord } from '../../src/cli/up-record.ts'
import { readSettings } from '../../src/settings.ts'

// `hearth` as a person uses it, over simulated machines. The tests tell one story, in order.

const hearth = path.join(packageRoot(), 'bin/hearth')
const TIMEOUT_MS = 60_000
let folder: string
let home: string
let running: Up | undefined

interface Up {
  child: ChildProcess
  output: () => string
  said: () => string
  exit: Promise<number | null>
}

interface Result {
  code: number
  output: string
  said: string
}

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-cli-sim-'))
  home = path.join(folder, 'home')
})

afterEach(async () => {
  running?.child.kill('SIGTERM')
  await running?.exit
  running = undefined
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs a command to its end. */
function run(...words: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(hearth, words, { timeout: TIMEOUT_MS, env: { ...process.env, HEARTH_HOME: home } }, (error, output, said) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, output, said })
    })
  })
}

/** Starts `hearth up` and waits for its line. */
async function up(...words: string[]): Promise<Up> {
  const child = spawn(hearth, ['up', '--engine', 'sim', '--port', '0', '--home', home, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const exit = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)))
  running = { child, output: () => output, said: () => said, exit }
  await waitFor(systemClock, 'the line that says ready', TIMEOUT_MS, () => output.includes('\n') || child.exitCode !== null)
  return running
}

async function status(): Promise<Status> {
  const { code, output, said } = await run('status', '--json')
  expect({ code, said }).toEqual({ code: 0, said: '' })
  return JSON.parse(output) as Status
}

/** A disk becomes an AMI, and what is none does not. */
async function importDisks(): Promise<void> {
  const disk = path.join(folder, 'debian.img')
  writeFileSync(disk, Buffer.alloc(1024 ** 2))
  const { code, output, said } = await run('image', 'import', disk, '--name', 'mine', '--boot-mode', 'uefi', '--json')
  expect(code, said).toBe(0)
  const made = JSON.parse(output) as { imageId: string }
  expect(made).toMatchObject({ name: 'mine', format: 'RAW', sizeGib: 1, sshUser: 'debian' })
  expect((await status()).images).toContainEqual({ imageId: made.imageId, name: 'mine', state: 'available' })
  expect(readdirSync(path.join(home, 'imports'))).toEqual([])
  writeFileSync(disk, '# Disk DescriptorFile')
  expect(await run('image', 'import', disk, '--name', 'other')).toMatchObject({
    code: 1, output: '', said: expect.stringMatching(/^hearth: debian.img cannot be used: it is a VMDK descriptor/) as string,
  })
}

/** A stopped instance that is terminated by mistake comes back. */
async function undoTermination(instanceId: string): Promise<void> {
  const rule = await run('retention', 'set', '--tag', 'Name=first', '--days', '3', '--json')
  expect(JSON.parse(rule.output)).toMatchObject({ tag: { key: 'Name', value: 'first' }, days: 3 })
  const { api } = await openRunningCloud(readSettings({ home }, {}))
  await api.call('TerminateInstances', { 'InstanceId.1': instanceId })
  await waitFor(systemClock, 'the end', TIMEOUT_MS, async () => (await status()).restorable === 1)
  expect(JSON.parse((await run('restore', '--json')).output)).toMatchObject([{ instanceId, name: 'first', obstacle: null }])
  const { code, output } = await run('restore', 'first')
  expect({ code, output }).toEqual({ code: 0, output: expect.stringMatching(`^${instanceId} is back, stopped, at 172`) as string })
  expect(await status()).toMatchObject({ restorable: 0, instances: [{ instanceId, state: 'stopped' }] })
}

const record = () => JSON.parse(readFileSync(path.join(home, 'run/up.json'), 'utf8')) as UpRecord

describe('hearth over simulated machines', () => {
  it('says what to do before there is a cloud', async () => {
    for (const command of ['status', 'env', 'ssh', 'console']) {
      const { code, output, said } = await run(command, ...(command === 'ssh' || command === 'console' ? ['first'] : []))
      expect({ command, code, output }).toEqual({ command, code: 1, output: '' })
      expect(said).toMatch(/^hearth: there (is no cloud|are no credentials) in .* up/)
    }
    expect(existsSync(home)).toBe(false)
  })

  it('comes up with one line on standard output and launches the first instance', async () => {
    const cloud = await up()
    expect(cloud.output()).toMatch(/^ready http:\/\/127\.0\.0\.1:\d+\n$/)
    await waitFor(systemClock, 'the last line of the welcome', TIMEOUT_MS, () => cloud.said().includes('aws ec2 describe-instances'))
    expect(cloud.output().trim().split('\n')).toHaveLength(1)

    const { output } = await run('env')
    const endpoint = cloud.output().trim().split(' ')[1]
    expect(output).toMatch(/^export AWS_ENDPOINT_URL=(\S+) AWS_URL=\1 AWS_ACCESS_KEY_ID=AKIA[A-Z2-7]{16} AWS_SECRET_ACCESS_KEY=[\w+/]{40} AWS_/)
    expect(output).toMatch(/ AWS_DEFAULT_REGION=us-east-1\n$/)
    expect(output).toContain(`AWS_ENDPOINT_URL=${endpoint} `)
    for (const file of ['credentials.json', 'keys/hearth.pem']) expect(statSync(path.join(home, file)).mode & 0o777).toBe(0o600)

    const shown = await status()
    expect(shown).toMatchObject({ home, isUp: true, endpoint, region: 'us-east-1' })
    expect(shown).toMatchObject({ serialConsole: { host: '127.0.0.1', port: expect.any(Number), hostKey: expect.stringMatching(/^SHA256:.{43}$/) } })
    expect(shown.host).toMatchObject({ engine: 'sim', used: { vcpus: 2, memoryMib: 1024 } })
    expect(shown.instances).toHaveLength(1)
    expect(shown.instances[0]).toMatchObject({ name: 'first', state: 'running', type: 't3.micro' })
    expect((await run('ssh', 'first')).said).toMatch(/^hearth: i-\w+ is simulated/)
    await importDisks()
  })

  it('keeps its state, refuses a second up, and starts a killed process again', async () => {
    const cloud = await up()
    const again = await run('up', '--engine', 'sim', '--port', '0')
    expect(again).toMatchObject({ code: 1, output: '' })
    expect(again.said).toMatch(/^hearth: hearth up runs already for .* \(pid \d+\)/)

    const before = record()
    process.kill(before.children.sim ?? 0, 'SIGKILL')
    await waitFor(systemClock, 'another process', TIMEOUT_MS, () => cloud.said().includes('sim is back'))
    expect(record().settings.port).toBe(before.settings.port)
    const { instances } = await status()
    expect(instances.map((each) => [each.name, each.state])).toEqual([['first', 'running']])

    cloud.child.kill('SIGTERM')
    expect(await cloud.exit).toBe(0)
    expect(await status()).toMatchObject({ isUp: false, endpoint: null, processes: {} })
  })

  it('leaves no process behind when it is killed, and down stops what the database says runs', async () => {
    const cloud = await up()
    const { children } = record()
    cloud.child.kill('SIGKILL')
    await cloud.exit
    await waitFor(systemClock, 'the child to end', TIMEOUT_MS, () => !existsSync(`/proc/${children.sim}`))
    expect(await status()).toMatchObject({ isUp: false, instances: [{ state: 'running' }] })
    const result = await run('down')
    expect(result).toMatchObject({ code: 0, output: '' })
    expect((await status()).instances.map((each) => each.state)).toEqual(['stopped'])
  })

  it('goes down with its machines, and twice is once', async () => {
    const cloud = await up()
    const instanceId = (await status()).instances[0]?.instanceId ?? ''
    await undoTermination(instanceId)
    const started = await run('start', 'first', '--json')
    expect(JSON.parse(started.output)).toEqual({ instanceId, state: 'running', isHibernated: false })
    expect(await run('stop', 'first')).toMatchObject({ code: 0, output: '', said: expect.stringMatching(/ is stopped\n$/) as string })
    expect((await run('start', instanceId)).said).toBe(`${instanceId} is running\n`)
    expect(await run('stop', 'first', '--hibernate')).toMatchObject({
      code: 1, said: expect.stringContaining('was not configured at launch for hibernation') as string,
    })
    const result = await run('down')
    expect(result).toMatchObject({ code: 0, output: '' })
    expect(result.said).toContain('stopping 1 machine\n')
    expect(await cloud.exit).toBe(0)
    expect((await status()).instances.map((each) => each.state)).toEqual(['stopped'])
    expect(await run('down')).toEqual({ code: 0, output: '', said: 'nothing was running\n' })
  })

  it('clones an instance over zones', async () => {
    const cloud = await up()
    await run('start', 'first')
    const made = await run('clone', 'first', '--zone', 'a,us-east-1c', '--json')
    expect(made.code, made.said).toBe(0)
    const { clones, imageId } = JSON.parse(made.output) as { clones: { zone: string; instanceId: string; name: string }[]; imageId: string }
    expect(clones.map((each) => [each.zone, each.name])).toEqual([['us-east-1a', 'first-clone-a'], ['us-east-1c', 'first-clone-c']])
    expect(made.said).toContain(`${imageId} is available\n`)
    expect((await status()).instances.map((each) => [each.name, each.state])).toContainEqual(['first-clone-c', 'running'])
    expect(await run('clone', 'first', '--zone', 'x')).toMatchObject({
      code: 1, output: '', said: 'hearth: there is no zone "x"; there are: us-east-1a, us-east-1b, us-east-1c\n',
    })
    const failed = await run('clone', 'first', '--zone', 'b', '--key', 'nobodys')
    expect(failed).toMatchObject({ code: 1, output: '' })
    expect(failed.said).toBe("hearth: nothing was made, since no clone could be launched: The key pair 'nobodys' does not exist\n")
    const kept = await run('clone', 'first', '--zone', 'b', '--name', 'copy', '--keep-image')
    expect(kept.output).toMatch(/^ZONE +INSTANCE +NAME +PRIVATE +PUBLIC\nus-east-1b +i-\w+ +copy-b +172\.31\.\S+ +198\.1[89]\.\S+\n$/)
    expect((await status()).images.filter((each) => each.name.startsWith('clone-of-'))).toHaveLength(1)
    expect((await run('down')).code).toBe(0)
    expect(await cloud.exit).toBe(0)
  })

  it.each([
    [['up', '--port', 'abc'], 'hearth: --port must be a whole number from 0 to 65535, not abc\n'],
    [['up', '--frob'], "hearth: unknown option '--frob'\n"],
    [['frob'], "hearth: unknown command 'frob'\n"],
    [['status', '--engine', 'bochs'], 'hearth: --engine must be one of auto, qemu, sim, not bochs\n'],
    [['image', 'build', 'windows'], 'hearth: there is no recipe "windows"; there is: tiny, debian-12, tiny-arm64\n'],
    [['ssh'], "hearth: missing required argument 'instance'\n"],
  ])('answers %j with one sentence', async (words, said) => {
    expect(await run(...words)).toEqual({ code: 1, output: '', said })
  })

  it('has help with examples for every command', async () => {
    const commands = [
      '', 'up', 'down', 'status', 'env', 'start', 'stop', 'ssh', 'console', 'clone', 'image', 'image bake', 'image build', 'image import', 'image list',
      'restore', 'retention set', 'account', 'account create', 'account list', 'doctor', 'reset',
    ]
    for (const words of commands) {
      const { code, output } = await run(...words.split(' ').filter((word) => word !== ''), '--help')
      expect({ words, code }).toEqual({ words, code: 0 })
      expect(output).toContain('Examples:')
    }
  })

  it('never takes over or deletes a folder with other things', async () => {
    const other = path.join(folder, 'other')
    const file = path.join(other, 'thesis.txt')
    mkdirSync(other)
    writeFileSync(file, 'years of work')
    expect((await run('up', '--home', other, '--engine', 'sim')).said).toContain('holds other things')
    expect((await run('reset', '--yes', '--home', other)).said).toContain('does not look like a home of Hearth')
    expect(readFileSync(file, 'utf8')).toBe('years of work')
  })

  it('asks before a reset, and leaves nothing after it', async () => {
    const unasked = await run('reset')
    expect(unasked.code).toBe(1)
    expect(unasked.said).toContain('--yes')
    expect(existsSync(home)).toBe(true)
    expect((await run('reset', '--yes')).code).toBe(0)
    expect(existsSync(home)).toBe(false)
  })
})
