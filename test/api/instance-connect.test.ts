import {
  DisableSerialConsoleAccessCommand, EnableSerialConsoleAccessCommand, GetSerialConsoleAccessStatusCommand, RunInstancesCommand,
  StopInstancesCommand, TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, waitFor, type Clock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import { createSimHypervisor } from '../../src/hypervisor/sim.ts'
import { PUSHED_KEY_MS } from '../../src/model/pushed-key.ts'
import { sign } from '../../src/protocol/sigv4.ts'
import { ensureHostKey, hostKeyFingerprint } from '../../src/serial-console/host-key.ts'
import { createSerialConsole, type SerialConsole } from '../../src/serial-console/server.ts'
import { startTestCloud, TEST_KEY, tinyImageId, type TestCloud } from '../support/cloud.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

/** What a client of the SSH library is made of, and does not show. */
interface ClientInside {
  _sock: { cork(): void; uncork(): void }
  _protocol: {
    _handlers: Record<string, () => void>
    authPK(user: string, key: object, algorithm: string): void
    authNone(user: string): void
    session(channel: number, windowBytes: number, packetBytes: number): void
  }
}

/** The system's clock, some time ahead. */
let aheadMs = 0
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }
let folder: string
let cloud: TestCloud
let door: SerialConsole
/** One that waits for nobody. */
let hastyDoor: SerialConsole
let port: number
let instanceId: string
const sessions: ChildProcess[] = []

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'hearth-connect-'))
  cloud = await startTestCloud({ clock })
  Object.defineProperty(cloud.ec2.config, 'systemClockOffset', { get: () => aheadMs, set: () => {} })
  const hypervisor = createSimHypervisor({
    world: cloud.host.world, clock: systemClock, random: systemRandom, delays: { startMs: [0, 0], stopMs: [0, 0] },
  })
  const options = { store: cloud.store, clock, log: silentLogger, hypervisor, nodeId: 'h-sim', hostKey: await ensureHostKey(folder) }
  door = createSerialConsole(options)
  hastyDoor = createSerialConsole({ ...options, loginGraceMs: 200 })
  port = await door.listen(0, '127.0.0.1')
  for (const type of ['ed25519', 'rsa']) execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'me@home', '-f', path.join(folder, type)])
})
afterAll(async () => {
  for (const session of sessions) session.kill('SIGKILL')
  await door.close()
  await hastyDoor.close()
  await cloud.close()
  rmSync(folder, { recursive: true })
})
beforeEach(async () => {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({ ImageId: await tinyImageId(cloud), MinCount: 1, MaxCount: 1 }))
  instanceId = Instances?.[0]?.InstanceId ?? ''
})

/** A call of EC2 Instance Connect, for which there is no client here. */
async function call(operation: string, input: object): Promise<Record<string, unknown>> {
  const body = JSON.stringify(input)
  const headers = {
    host: new URL(cloud.endpoint).host, 'content-type': 'application/x-amz-json-1.1',
    'x-amz-target': `AWSEC2InstanceConnectService.${operation}`,
  }
  const request = { method: 'POST', url: '/', headers, body: Buffer.from(body) }
  const { host: _, ...signed } = sign(request, TEST_KEY, { region: 'us-east-1', service: 'ec2-instance-connect' }, clock.now())
  const answer = await fetch(cloud.endpoint, { method: 'POST', headers: { ...headers, ...signed } as Record<string, string>, body })
  return { status: answer.status, ...(await answer.json() as object) }
}

const publicKey = (type = 'ed25519') => readFileSync(path.join(folder, `${type}.pub`), 'utf8')
const pushSsh = (input: object = {}) => call('SendSSHPublicKey', { InstanceId: instanceId, InstanceOSUser: 'root', SSHPublicKey: publicKey(), ...input })
const pushSerial = (input: object = {}) => call('SendSerialConsoleSSHPublicKey', { InstanceId: instanceId, SSHPublicKey: publicKey(), ...input })
const keysInGuest = () => [...(cloud.host.world.machines.get(instanceId)?.authorizedKeys.get('root') ?? [])]

/** A user's own ssh. */
function ssh(options: { user?: string; key?: string; words?: string[] } = {}): { child: ChildProcess; said: () => string; ended: Promise<number | null> } {
  const { user = `${instanceId}.port0`, key = 'ed25519', words = [] } = options
  const settings = ['BatchMode=yes', 'StrictHostKeyChecking=accept-new', `UserKnownHostsFile=${folder}/known`, 'IdentitiesOnly=yes']
  const child = spawn('ssh', [
    '-F', 'none', '-i', path.join(folder, key), '-p', String(port), ...settings.flatMap((each) => ['-o', each]), '-tt', `${user}@127.0.0.1`, ...words,
  ])
  sessions.push(child)
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  return { child, said: () => said, ended: new Promise((resolve) => child.once('close', resolve)) }
}
const shows = (session: { said: () => string }, text: string) =>
  waitFor(systemClock, `"${text}" in ssh's terminal`, 5000, () => session.said().includes(text))

describe('SendSSHPublicKey', () => {
  it('lets in for a minute', async () => {
    expect(await pushSsh()).toEqual({ status: 200, RequestId: expect.any(String), Success: true })
    const [type, blob] = publicKey().split(' ')
    expect(keysInGuest()).toEqual([expect.stringMatching(new RegExp(`^${type} ${blob?.replaceAll('+', '\\+')} ec2-instance-connect pk-`))])
    aheadMs += PUSHED_KEY_MS
    await pushSsh({ SSHPublicKey: publicKey('rsa') })
    await cloud.settle()
    expect(keysInGuest()).toEqual([expect.stringContaining('ssh-rsa')])
  })

  it('tells what is wrong in the words of its service', async () => {
    const errorOf = async (answer: Promise<Record<string, unknown>>) => {
      const { __type, message, Message, status } = await answer
      expect([message, status]).toEqual([Message, 400])
      return `${String(__type)}: ${String(message)}`
    }
    expect(await errorOf(pushSsh({ InstanceId: 'mi-0123456789abcdef0' }))).toMatch(
      /^InvalidArgsException: 1 validation error detected: Value 'mi-0123456789abcdef0' at 'instanceId' .* pattern: \^i-\[a-f0-9\]\+\$$/)
    expect(await errorOf(pushSsh({ InstanceOSUser: '-oProxyCommand=x' }))).toMatch(/^InvalidArgsException: .*'instanceOSUser'/)
    expect(await errorOf(pushSsh({ InstanceOSUser: 'nobody' }))).toMatch(/^InvalidArgsException: .*user 'nobody'/)
    expect(await errorOf(pushSsh({ SSHPublicKey: `ssh-rsa ${'A'.repeat(80)}` }))).toMatch(/^InvalidArgsException: SSH Public key is invalid/)
    expect(await errorOf(pushSsh({ SSHPublicKey: `${publicKey()}${publicKey()}` }))).toMatch(/^InvalidArgsException: .*one line/)
    expect(await errorOf(pushSsh({ InstanceId: 'i-0123456789abcdef0' }))).toMatch(/^EC2InstanceNotFoundException: /)
    expect(await errorOf(pushSsh({ AvailabilityZone: 'us-east-1f' }))).toMatch(/^EC2InstanceNotFoundException: /)
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId], Force: true }))
    expect(await errorOf(pushSsh())).toMatch(/^EC2InstanceStateInvalidException: Unable to connect/)
  })
})

describe('the serial console', () => {
  it('is closed until the account opens it', async () => {
    const status = async () => (await cloud.ec2.send(new GetSerialConsoleAccessStatusCommand({}))).SerialConsoleAccessEnabled
    expect(await status()).toBe(false)
    expect(await pushSerial()).toMatchObject({ __type: 'SerialConsoleAccessDisabledException', status: 400 })
    expect(await cloud.ec2.send(new EnableSerialConsoleAccessCommand({}))).toMatchObject({ SerialConsoleAccessEnabled: true })
    expect(await status()).toBe(true)
    const other = cloud.client({ account: OTHER_ACCOUNT })
    expect((await other.send(new GetSerialConsoleAccessStatusCommand({}))).SerialConsoleAccessEnabled).toBe(false)
    other.destroy()
    expect(await pushSerial()).toMatchObject({ Success: true })
    expect(await pushSerial({ SerialPort: 1 })).toMatchObject({ __type: 'InvalidArgsException' })
    await cloud.ec2.send(new DisableSerialConsoleAccessCommand({}))
    const refused = ssh()
    expect(await refused.ended).not.toBe(0)
    expect(refused.said()).toContain('Permission denied (publickey)')
    await cloud.ec2.send(new EnableSerialConsoleAccessCommand({}))
  })

  it('lets in who holds a key that was pushed, one at a time, until the machine ends', async () => {
    await pushSerial()
    const session = ssh()
    await shows(session, `serial console of ${instanceId}`)
    session.child.stdin?.write('hello\r')
    await shows(session, 'hello\r\nsimulated login: ')

    expect(await pushSerial({ SSHPublicKey: publicKey('rsa') })).toMatchObject({ __type: 'SerialConsoleSessionLimitExceededException' })
    const second = ssh()
    expect(await second.ended).toBe(1)
    expect(await pushSerial()).toMatchObject({ __type: 'SerialConsoleSessionLimitExceededException' })
    expect(second.said()).toContain('Only 1 session is supported at a time')

    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }))
    expect(await session.ended).toBe(0)
    expect(session.said()).toContain('the machine has ended')
  })

  it('is free again when the client leaves, by ~. too; RSA keys do as well', async () => {
    await pushSerial({ SSHPublicKey: publicKey('rsa') })
    const session = ssh({ key: 'rsa' })
    await shows(session, `serial console of ${instanceId}`)
    session.child.stdin?.write('\r~.')
    await session.ended
    const again = ssh({ key: 'rsa' })
    await shows(again, `serial console of ${instanceId}`)
    again.child.kill('SIGKILL')
    await again.ended
    await waitFor(systemClock, 'the console to be free', 5000, () => cloud.host.world.machines.get(instanceId)?.serial === null)
  })

  it('refuses other keys, other names, keys of a minute ago, and everything but a shell', async () => {
    await pushSerial()
    const others = [
      ssh({ key: 'rsa' }), ssh({ user: 'root' }), ssh({ user: `${instanceId}.port1` }), ssh({ user: 'i-0123456789abcdef0.port0' }),
    ]
    for (const each of others) {
      expect(await each.ended).toBe(255)
      expect(each.said()).toContain('Permission denied (publickey)')
    }
    const command = ssh({ words: ['id'] })
    expect(await command.ended).not.toBe(0)
    expect(command.said()).not.toContain('serial console of')
    aheadMs += PUSHED_KEY_MS
    const late = ssh()
    expect(await late.ended).toBe(255)
  })

  it('survives what is no SSH, and clients that say nothing', async () => {
    const hastyPort = await hastyDoor.listen(0, '127.0.0.1')
    for (const bytes of [Buffer.alloc(0), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.concat([Buffer.from('SSH-2.0-x\r\n'), systemRandom.bytes(40_000)])]) {
      const socket = connect(hastyPort, '127.0.0.1')
      socket.on('error', () => {})
      socket.write(bytes)
      socket.resume()
      await new Promise((resolve) => socket.once('close', resolve))
    }
    const socket = connect(hastyPort, '127.0.0.1')
    await new Promise((resolve) => socket.once('data', resolve))
    socket.destroy()
  })

  it('ends the connection of who asks out of turn, or wants packets of no size, and nothing else', async () => {
    const key = ssh2.utils.parseKey(readFileSync(path.join(folder, 'ed25519'), 'utf8'))
    if (key instanceof Error) throw key
    const username = `${instanceId}.port0`
    /** What the library does not let its users do is done by its inside. */
    const ended = (options: ssh2.ConnectConfig, act: (inside: ClientInside) => void) => new Promise<void>((resolve) => {
      const client = new ssh2.Client()
      client.on('error', () => {}).on('close', () => resolve())
      client.on('ready', () => act(client as unknown as ClientInside))
      client.connect({ host: '127.0.0.1', port, username, ...options, ...(options.authHandler ? {} : { privateKey: readFileSync(path.join(folder, 'ed25519')) }) })
      if (options.authHandler) client.on('handshake', () => act(client as unknown as ClientInside))
    })
    await pushSerial()
    const outOfTurn = ended({ authHandler: () => {} }, ({ _protocol: protocol, _sock: socket }) => {
      const { _handlers: handlers } = protocol
      handlers.USERAUTH_FAILURE = () => {}
      handlers.USERAUTH_PK_OK = () => protocol.authPK(username, key, 'ssh-ed25519')
      socket.cork()
      protocol.authPK(username, key, 'ssh-ed25519')
      protocol.authNone(username)
      socket.uncork()
    })
    const withoutSize = ended({}, ({ _protocol: protocol }) => protocol.session(0, 1024 * 1024, 0))
    await Promise.all([outOfTurn, withoutSize])
    const session = ssh()
    await shows(session, `serial console of ${instanceId}`)
  })

  it('is known again by its host key', async () => {
    const known = await new Promise<string>((resolve, reject) => {
      execFile('ssh-keygen', ['-l', '-f', path.join(folder, 'known')], (error, stdout) => error ? reject(error) : resolve(stdout))
    })
    expect(known).toContain(hostKeyFingerprint(folder))
    expect(await ensureHostKey(folder)).toBe(readFileSync(path.join(folder, 'serial-console.pem'), 'utf8'))
  })
})
