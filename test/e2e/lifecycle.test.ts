import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { systemClock } from '../../src/core/clock.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Only in the guest's memory; nowhere on the host's disk. */
const SECRET = 'a thought that was never written down, 0815'

/** Deaths of the agent on the way into hibernation and out of it. */
const SAVE_POINTS = ['commit:instance.hibernating:after', 'hypervisor.ensureSaved:after', 'commit:instance.hibernated:before']
const LOAD_POINTS = [
  'hypervisor.ensureLoaded:after', 'commit:instance.memory-consumed:after', 'hypervisor.ensureReleased:after', 'commit:instance.running:before',
]

describe.skipIf(whyNotReal !== undefined)(`the life of a real instance${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('life')
  let keyName: string
  let tiny: string
  let root: string
  let id: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  const ofInstance = (query: string, instanceId = id) =>
    ec2(`Reservations[0].Instances[0].${query}`, 'describe-instances', '--instance-ids', instanceId)
  const isInState = (state: string, instanceId = id) =>
    cloud.until(`${instanceId} to be ${state}`, 90_000, async () => (await ofInstance('State.Name', instanceId)) === state)
  const stop = (...words: string[]) => ec2('StoppingInstances[0].CurrentState.Name', 'stop-instances', '--instance-ids', id, ...words)
  const start = () => ec2('StartingInstances[0].CurrentState.Name', 'start-instances', '--instance-ids', id)
  const memoryFiles = () => readdirSync(path.join(cloud.home, 'instances', id)).filter((name) => name.startsWith('memory'))
  const launch = (...words: string[]) => ec2(
    'Instances[0].InstanceId', 'run-instances', '--image-id', tiny, '--instance-type', 't3.nano', '--key-name', keyName, ...words)
  const isUp = async (instanceId = id) => {
    await isInState('running', instanceId)
    await cloud.sshAnswers(instanceId)
  }
  /** A number that a process of the guest counts up in its memory, ten times a second. */
  const counter = async () => Number(await cloud.ssh(id, 'cat /tmp/counter'))

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.up('--no-first-instance')
    const key = ownKey(cloud.home)
    keyName = key.name
    writeFileSync(key.file, await ec2('KeyMaterial', 'create-key-pair', '--key-name', key.name), { mode: 0o600 })
    tiny = await cloud.until('the tiny image to be registered', 60_000, async () => {
      const found = await ec2('Images[0].ImageId', 'describe-images', '--filters', 'Name=name,Values=*tiny*')
      return found.startsWith('ami-') ? found : undefined
    })
    root = await ec2('Images[0].RootDeviceName', 'describe-images', '--image-ids', tiny)
    const group = await ec2('SecurityGroups[0].GroupId', 'describe-security-groups')
    for (const port of ['22', '7000']) {
      await ec2('Return', 'authorize-security-group-ingress', '--group-id', group, '--protocol', 'tcp', '--port', port, '--cidr', '0.0.0.0/0')
    }
    id = await launch('--hibernation-options', 'Configured=true', '--block-device-mappings', `DeviceName=${root},Ebs={Encrypted=true}`)
    await isUp()
    await cloud.ssh(id, `mount | grep -q ' /tmp type tmpfs' || mount -t tmpfs tmpfs /tmp
      cat >/tmp/count <<'END'
secret='${SECRET}'
n=0; while :; do n=$((n + 1)); echo $n >/tmp/counter.new; mv /tmp/counter.new /tmp/counter; usleep 100000; done
END
      setsid sh -c '. /tmp/count' >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid
      setsid nc -ll -p 7000 -e /bin/cat >/dev/null 2>&1 </dev/null & true`)
    await cloud.until('it to count', 30_000, async () => (await counter()) > 5)
  })
  afterAll(() => cloud.close())

  test('hibernated, its memory is on the disk, unreadable, and there is no machine', async () => {
    expect(await stop('--hibernate')).toBe('stopping')
    await isInState('stopped')
    expect(cloud.machines(id)).toEqual([])
    expect(await ofInstance('StateReason.Code')).toBe('Client.UserInitiatedHibernate')
    const [file, ...others] = memoryFiles()
    expect([file !== undefined, others]).toEqual([true, []])
    expect(() => execFileSync('grep', ['-qaF', SECRET, path.join(cloud.home, 'instances', id, file ?? '')])).toThrow()
  })

  test('started, the guest goes on where it was: counter, processes, sockets, uptime, address; only its clock has moved', async () => {
    const address = await ofInstance('PrivateIpAddress')
    const saved = systemClock.now()
    // It sleeps for long enough that its uptime and the time of day can be told apart.
    await cloud.until('some time to pass', 20_000, () => systemClock.now() > saved + 6000)
    await start()
    await isUp()
    expect(await ofInstance('PrivateIpAddress')).toBe(address)
    const [now = 0, uptime = 0, first = 0] = (await cloud.ssh(id, 'date +%s; cut -d. -f1 /proc/uptime; cat /tmp/counter')).split('\n').map(Number)
    expect(Math.abs(now - systemClock.now() / 1000)).toBeLessThan(3)
    const launched = Date.parse(await ofInstance('LaunchTime'))
    expect(launched).toBeGreaterThan(saved)
    expect(uptime).toBeGreaterThan((systemClock.now() - launched) / 1000)
    await cloud.until('it to go on counting', 30_000, async () => (await counter()) > first)
    expect(await cloud.ssh(id, 'kill -0 $(cat /tmp/pid) && echo lives')).toBe('lives')
    const publicIp = await ofInstance('PublicIpAddress')
    const echo = await cloud.run('bash', ['-c', `exec 3<>/dev/tcp/${publicIp}/7000 && echo hello >&3 && read -t 5 line <&3 && echo $line`])
    expect(echo.stdout.trim()).toBe('hello')
    expect(memoryFiles()).toEqual([])
  })

  test.each(SAVE_POINTS)('the agent killed at %s: it is hibernated all the same', async (point) => {
    const before = await counter()
    const pid = await cloud.crashAt('agent', point)
    await stop('--hibernate')
    await isInState('stopped')
    expect(await cloud.pidOf('agent')).not.toBe(pid)
    expect(await ofInstance('StateReason.Code')).toBe('Client.UserInitiatedHibernate')
    await start()
    await isUp()
    expect(await counter()).toBeGreaterThanOrEqual(before)
    expect(memoryFiles()).toEqual([])
  })

  test.each(LOAD_POINTS)('the agent killed at %s: it goes on all the same, once', async (point) => {
    const before = await counter()
    await stop('--hibernate')
    await isInState('stopped')
    const pid = await cloud.crashAt('agent', point)
    await start()
    await isUp()
    expect(await cloud.pidOf('agent')).not.toBe(pid)
    expect(cloud.machines(id)).toHaveLength(1)
    expect(await counter()).toBeGreaterThanOrEqual(before)
    expect(memoryFiles()).toEqual([])
  })

  test('a damaged memory is not loaded: it stays hibernated and says why, until it is started without', async () => {
    await stop('--hibernate')
    await isInState('stopped')
    const file = path.join(cloud.home, 'instances', id, memoryFiles()[0] ?? '')
    const bytes = readFileSync(file)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    writeFileSync(file, bytes)
    await start()
    await cloud.until('the start to be given up', 60_000, async () =>
      (await ofInstance('State.Name')) === 'stopped' && (await ofInstance('StateReason.Message')).includes('damaged'))
    expect(cloud.machines(id)).toEqual([])
    expect(await cloud.hearth('start', id, '--cold')).toMatchObject({ code: 0 })
    await cloud.sshAnswers(id)
    expect(await cloud.uptime(id)).toBeLessThan(60)
    expect(memoryFiles()).toEqual([])
  })

  test('an instance that is not set up for it is not hibernated', async () => {
    const plain = await launch()
    await isInState('running', plain)
    const refused = await cloud.aws('ec2', 'stop-instances', '--hibernate', '--instance-ids', plain)
    expect(refused.stderr).toContain('UnsupportedHibernationConfiguration')
    expect(await ofInstance('State.Name', plain)).toBe('running')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', plain)
  })

  test('a key that is pushed lets in for a minute, and one for the serial console to the login there', async () => {
    const file = path.join(cloud.home, 'pushed')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
    const zone = await ofInstance('Placement.AvailabilityZone')
    const pushed = await cloud.aws(
      'ec2-instance-connect', 'send-ssh-public-key', '--instance-id', id, '--instance-os-user', 'root', '--availability-zone', zone,
      '--ssh-public-key', `file://${file}.pub`)
    expect(pushed).toMatchObject({ code: 0 })
    expect(await cloud.hearth('ssh', '-i', file, id, '--', 'hostname')).toMatchObject({ code: 0 })
  })

  test('a shutdown from inside follows InstanceInitiatedShutdownBehavior, and an unasked end of QEMU is told as one', async () => {
    await cloud.hearth('ssh', id, '--', 'poweroff')
    await isInState('stopped')
    expect(await ofInstance('StateReason.Code')).toBe('Client.InstanceInitiatedShutdown')
    await start()
    await isUp()
    process.kill(cloud.machines(id)[0] ?? 0, 'SIGKILL')
    await isInState('stopped')
    expect(await ofInstance('StateReason.Code')).toBe('Server.InternalError')
    await start()
    await isUp()
  })

  test('an event comes about when it is due', async () => {
    const uptime = await cloud.uptime(id)
    expect(await cloud.hearth('event', 'create', id, '--code', 'instance-reboot', '--in', '3s')).toMatchObject({ code: 0 })
    expect(await cloud.ssh(id, 'wget -q -O - http://169.254.169.254/latest/meta-data/events/maintenance/scheduled')).toContain('instance-reboot')
    await cloud.until('it to be rebooted', 90_000, async () => {
      const result = await cloud.hearth('ssh', id, '--', 'cut -d. -f1 /proc/uptime')
      return result.code === 0 && Number(result.stdout) < uptime
    })
  })

  test('terminated by mistake, it is had again under its id, with its disk and its address', async () => {
    const address = await ofInstance('PrivateIpAddress')
    await cloud.ssh(id, 'echo precious >/root/work; sync')
    await ec2('Return', 'modify-instance-attribute', '--instance-id', id, '--disable-api-termination')
    const refused = await cloud.aws('ec2', 'terminate-instances', '--instance-ids', id)
    expect(refused.stderr).toContain('OperationNotPermitted')
    await ec2('Return', 'modify-instance-attribute', '--instance-id', id, '--no-disable-api-termination')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', id)
    await isInState('terminated')
    expect(await cloud.hearth('restore', id)).toMatchObject({ code: 0 })
    await isInState('stopped')
    await start()
    await isUp()
    expect(await ofInstance('PrivateIpAddress')).toBe(address)
    expect(await cloud.ssh(id, 'cat /root/work')).toBe('precious')
  })
})
