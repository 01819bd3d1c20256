import { execFile, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import type { Envelope } from '../../src/events/envelope.ts'
import { signatureOf } from '../../src/events/signature.ts'
import { startHearth } from '../support/hearth-process.ts'

// `hearth events` as a person uses it, over simulated machines. The tests tell one story, in order.

const hearth = path.join(packageRoot(), 'bin/hearth')
const TIMEOUT_MS = 60_000
const STATE_CHANGES = '{"detail-type":["EC2 Instance State-change Notification"]}'

let folder: string
let home: string
let cloud: ChildProcess
let server: Server
let calls: { headers: IncomingHttpHeaders; body: string }[]
/** What the webhook answers next; 200 where nothing is said. */
let replies: number[]

const environment = () => ({ ...process.env, HEARTH_HOME: home })

function run(...words: string[]): Promise<{ code: number; output: string; said: string }> {
  return new Promise((resolve) => {
    execFile(hearth, words, { timeout: TIMEOUT_MS, env: environment() }, (error, output, said) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, output, said })
    })
  })
}

const start = (...words: string[]) => startHearth(words, environment())

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-cli-events-'))
  home = path.join(folder, 'home')
  calls = []
  replies = []
  server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      calls.push({ headers: request.headers, body: Buffer.concat(chunks).toString() })
      response.writeHead(replies.shift() ?? 200).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const up = start('up', '--engine', 'sim', '--port', '0', '--serial-console-port', '0')
  cloud = up.child
  await waitFor(systemClock, 'the line that says ready', TIMEOUT_MS, () => up.output().includes('\n') || up.child.exitCode !== null)
  expect(up.child.exitCode, up.said()).toBeNull()
  await waitFor(systemClock, 'the first instance', TIMEOUT_MS, async () => (await run('events', '--pattern', STATE_CHANGES)).output.includes('running'))
})

afterAll(async () => {
  const ended = new Promise((resolve) => cloud.once('close', resolve))
  cloud.kill('SIGTERM')
  await ended
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

const endpoint = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/events`
const states = (lines: readonly string[]) => lines.map((line) => (JSON.parse(line) as Envelope).detail.state)

describe('hearth events', () => {
  it('shows what has happened as a table, and as EventBridge\'s JSON', async () => {
    const { code, output } = await run('events', '--pattern', STATE_CHANGES)
    expect(code).toBe(0)
    const [head, first, second] = output.split('\n')
    expect(head).toMatch(/^TIME +TYPE +RESOURCE +DETAIL$/)
    expect(first).toMatch(/^[-\d]{10} [:\d]{8}Z  EC2 Instance State-change Notification  i-[0-9a-f]{17}  +pending$/)
    expect(second).toMatch(/running$/)
    const json = await run('events', '--json', '--pattern', STATE_CHANGES, '--since', '10m')
    const events = json.output.trim().split('\n').map((line) => JSON.parse(line) as Envelope)
    expect(events[0]).toEqual({
      version: '0', id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      'detail-type': 'EC2 Instance State-change Notification', source: 'aws.ec2', account: expect.stringMatching(/^\d{12}$/),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/), region: 'us-east-1',
      resources: [expect.stringMatching(/^arn:aws:ec2:us-east-1:\d{12}:instance\/i-/)],
      detail: { 'instance-id': expect.stringMatching(/^i-/), state: 'pending' },
    })
  })

  it('says what is wrong with a pattern, in EventBridge\'s words', async () => {
    const { code, output, said } = await run('events', '--pattern', '{"source":"aws.ec2"}')
    expect([code, output, said.trim()]).toEqual([1, '', 'hearth: Event pattern is not valid. Reason: "source" must be an object or an array'])
  })

  it('says where nothing has happened', async () => {
    const { code, output, said } = await run('events', '--pattern', '{"source":["aws.s3"]}')
    expect([code, output]).toEqual([0, ''])
    expect(said).toMatch(/nothing of that has happened/)
  })

  it('follows what happens until it is told to end, and has it delivered to a webhook and into a file', async () => {
    const file = path.join(folder, 'events.jsonl')
    writeFileSync(path.join(folder, 'pattern.json'), STATE_CHANGES)
    const following = start('events', '--follow', '--json', '--pattern', `@${folder}/pattern.json`)
    await waitFor(systemClock, 'the follower to wait', TIMEOUT_MS, () => following.said().includes('Ctrl-C'))
    const added = await run('events', 'target', 'add', 'hook', '--webhook', endpoint(), '--pattern', STATE_CHANGES)
    expect(added.code, added.said).toBe(0)
    const secret = added.output.trim()
    expect((await run('events', 'target', 'add', 'log', '--file', file)).code).toBe(0)
    // The webhook is not well at first.
    replies = [503]
    expect((await run('stop', 'first')).code).toBe(0)
    await waitFor(systemClock, 'the follower to show it', TIMEOUT_MS, () => following.output().includes('"stopped"'))
    await waitFor(systemClock, 'the webhook to be told', TIMEOUT_MS, () => calls.length === 3)
    await waitFor(systemClock, 'the file to have it', TIMEOUT_MS, () => readFileSync(file, 'utf8').includes('"stopped"'))
    following.child.kill('SIGINT')
    expect(await following.exit).toBe(0)
    const shown = following.output().trim().split('\n')
    expect(states(shown)).toEqual(['stopping', 'stopped'])
    expect(calls.map((call) => call.body)).toEqual([shown[0], shown[0], shown[1]])
    for (const { headers, body } of calls) expect(headers['x-hearth-signature-256']).toBe(signatureOf(secret, body))
    const lines = readFileSync(file, 'utf8').trim().split('\n')
    expect(lines.filter((line) => line.includes('State-change'))).toEqual(shown)
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('lists, tries and removes targets', async () => {
    calls = []
    expect((await run('events', 'target', 'test', 'hook')).said).toMatch(/answered 200/)
    expect(JSON.parse(calls[0]?.body ?? '')).toMatchObject({ 'detail-type': 'Hearth Test Event', source: 'hearth' })
    replies = [404]
    expect(await run('events', 'target', 'test', 'hook')).toMatchObject({ code: 1, said: expect.stringMatching(/answered 404/) })
    const { output } = await run('events', 'target', 'list', '--json')
    expect(JSON.parse(output)).toMatchObject({ targets: [
      { name: 'hook', kind: 'webhook', delivered: 2, dead: 0, failure: null }, { name: 'log', kind: 'file', pattern: null },
    ] })
    expect(output).not.toContain('secret')
    expect((await run('events', 'target', 'remove', 'hook')).code).toBe(0)
    expect(await run('events', 'target', 'remove', 'hook')).toMatchObject({ code: 1, said: expect.stringMatching(/there is no target hook/) })
    expect((await run('events', 'target', 'list')).output).not.toContain('hook')
  })

  it('refuses targets that make no sense', async () => {
    const refused = async (...words: string[]) => {
      const { code, said } = await run('events', 'target', 'add', ...words)
      return [code, said.trim()]
    }
    expect(await refused('x')).toEqual([1, 'hearth: say where to, once: --webhook URL, or --file PATH'])
    expect(await refused('x', '--webhook', 'ftp://host/')).toEqual([1, 'hearth: --webhook ftp://host/ is not a URL of the form http://host/path'])
    expect(await refused('x', '--file', `${folder}/none/events`)).toEqual([1, `hearth: there is no folder ${folder}/none; make it first`])
    expect(await refused('a b', '--file', `${folder}/events`)).toEqual([1, expect.stringMatching(/"a b" is no name for a target/)])
    expect(await refused('log', '--file', `${folder}/events`)).toEqual([1, expect.stringMatching(/there is a target log already/)])
  })
})
