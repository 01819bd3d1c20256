import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { homeIdOf } from '../../src/home.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Only in the guest's memory; nowhere on the host's disk. */
const SECRET = 'a thought that was never written down, 0815'

/** Between two numbers the file is empty for a moment. */
const READ_COUNTER = 'until read n </tmp/counter && [ "$n" ]; do :; done; echo $n'

/** Deaths of its zone's process on the way into hibernation and out of it. */
const SAVE_POINTS = ['commit:instance.hibernating:after', 'hypervisor.ensureSaved:after', 'commit:instance.hibernated:before']
const LOAD_POINTS = [
  'hypervisor.ensureLoaded:after', 'commit:instance.memory-consumed:after', 'hypervisor.ensureReleased:after', 'commit:instance.running:before',
]

describe.skipIf(whyNotReal !== undefined)(`the life of a real instance${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('life')
  const bootId = path.join(cloud.home, 'boot-id')
  /** Status checks every two seconds instead of every minute; a file in place of the kernel's id of its boot. */
  const environment = { HEARTH_CHECK_INTERVAL_MS: '2000', HEARTH_BOOT_ID_FILE: bootId }
  let id: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  const ofInstance = (query: string) => ec2(`Reservations[0].Instances[0].${query}`, 'describe-instances', '--instance-ids', id)
  const statusOf = (which: 'System' | 'Instance') =>
    ec2(`InstanceStatuses[0].${which}Status.Status`, 'describe-instance-status', '--instance-ids', id)
  const isIn = (state: string) => cloud.areInState(state, id)
  const stop = (...words: string[]) => ec2('StoppingInstances[0].CurrentState.Name', 'stop-instances', '--instance-ids', id, ...words)
  const start = () => ec2('StartingInstances[0].CurrentState.Name', 'start-instances', '--instance-ids', id)
  const memoryFiles = () => readdirSync(path.join(cloud.home, 'instances', id)).filter((name) => name.startsWith('memory'))
  /**
   * A number that a process of the guest counts up in its memory, five times a second; by builtins of its shell, since each
   * process costs an emulated guest what everything else waits for.
   */
  const counter = async () => Number(await cloud.ssh(id, READ_COUNTER))

  beforeAll(async () => {
    await cloud.prepare()
    writeFileSync(bootId, 'the first boot\n')
    const { imageId } = await cloud.upForLaunches(environment)
    const root = await ec2('Images[0].RootDeviceName', 'describe-images', '--image-ids', imageId)
    const group = await ec2('SecurityGroups[0].GroupId', 'describe-security-groups')
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', group, '--protocol', 'tcp', '--port', '7000', '--cidr', '0.0.0.0/0')
    id = await cloud.launch('--hibernation-options', 'Configured=true', '--block-device-mappings', `DeviceName=${root},Ebs={Encrypted=true}`)
    await cloud.isUp(id)
    await cloud.ssh(id, `mount | grep -q ' /tmp type tmpfs' || mount -t tmpfs tmpfs /tmp
      cat >/tmp/count <<'END'
secret='${SECRET}'
n=0; while :; do n=$((n + 1)); echo $n >/tmp/counter; read -t 0.2 -u 3; done
END
      mkfifo /tmp/never
      setsid bash -c 'exec 3<>/tmp/never; . /tmp/count' >/dev/null 2>&1 </dev/null & echo $! >/tmp/pid
      setsid nc -ll -p 7000 -e /bin/cat >/dev/null 2>&1 </dev/null & true`)
    await cloud.until('it to count', 30_000, async () => (await counter()) > 5)
  })
  afterAll(() => cloud.close())

  test('hibernated, its memory is on the disk, unreadable, and there is no machine', async () => {
    expect(await stop('--hibernate')).toBe('stopping')
    await isIn('stopped')
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
    await cloud.isUp(id)
    expect(await ofInstance('PrivateIpAddress')).toBe(address)
    const [now = 0, uptime = 0, first = 0] = (await cloud.ssh(id, `date +%s; cut -d. -f1 /proc/uptime; ${READ_COUNTER}`)).split('\n').map(Number)
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

  test.each(SAVE_POINTS)('its zone killed at %s: it is hibernated all the same', async (point) => {
    const before = await counter()
    const pid = await cloud.crashAt(cloud.zone, point)
    await stop('--hibernate')
    await isIn('stopped')
    expect(await cloud.pidOf(cloud.zone)).not.toBe(pid)
    expect(await ofInstance('StateReason.Code')).toBe('Client.UserInitiatedHibernate')
    await start()
    await cloud.isUp(id)
    expect(await counter()).toBeGreaterThanOrEqual(before)
    expect(memoryFiles()).toEqual([])
  })

  test.each(LOAD_POINTS)('its zone killed at %s: it goes on all the same, once', async (point) => {
    const before = await counter()
    await stop('--hibernate')
    await isIn('stopped')
    const pid = await cloud.crashAt(cloud.zone, point)
    await start()
    await cloud.isUp(id)
    expect(await cloud.pidOf(cloud.zone)).not.toBe(pid)
    expect(cloud.machines(id)).toHaveLength(1)
    expect(await counter()).toBeGreaterThanOrEqual(before)
    expect(memoryFiles()).toEqual([])
  })

  test('a damaged memory is not loaded: it stays hibernated and says why, until it is started without', async () => {
    await stop('--hibernate')
    await isIn('stopped')
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

  test('an instance that is not set up for it is not hibernated; one that has no time is ended at once', async () => {
    const plain = await cloud.launch()
    await cloud.areInState('running', plain)
    const refused = await cloud.aws('ec2', 'stop-instances', '--hibernate', '--instance-ids', plain)
    expect(refused.stderr).toContain('UnsupportedHibernationConfiguration')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', plain)
    await cloud.areInState('terminated', plain)
  })

  test('a key that is pushed lets in for a minute, and another one to the serial console', async () => {
    const file = path.join(cloud.home, 'pushed')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
    const key = ['--instance-id', id, '--ssh-public-key', `file://${file}.pub`]
    const before = await cloud.hearth('ssh', '-i', file, id, '--', 'hostname')
    expect(before.stderr).toContain('Permission denied')
    expect(await cloud.aws('ec2-instance-connect', 'send-ssh-public-key', '--instance-os-user', 'root', ...key)).toMatchObject({ code: 0 })
    expect(await cloud.hearth('ssh', '-i', file, id, '--', 'hostname')).toMatchObject({ code: 0 })
    await ec2('SerialConsoleAccessEnabled', 'enable-serial-console-access')
    const sent = await cloud.aws('ec2-instance-connect', 'send-serial-console-ssh-public-key', '--serial-port', '0', ...key)
    expect(sent).toMatchObject({ code: 0 })
    const console = await cloud.run('bash', ['-c', `(sleep 3; printf '\\r'; sleep 1; printf 'echo sum=$((40+2))\\r'; sleep 3; printf '\\r~.') | ssh -tt -i ${file}
      -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p ${cloud.port + 1} ${id}.port0@127.0.0.1`.replaceAll('\n', ' ')])
    expect(console.stdout).toContain('sum=42')
  })

  test('a shutdown from inside follows InstanceInitiatedShutdownBehavior, and an unasked end of QEMU is told as one', async () => {
    await cloud.hearth('ssh', id, '--', 'poweroff')
    await isIn('stopped')
    expect(await ofInstance('StateReason.Code')).toBe('Client.InstanceInitiatedShutdown')
    await start()
    await cloud.isUp(id)
    process.kill(cloud.machines(id)[0] ?? 0, 'SIGKILL')
    await isIn('stopped')
    expect(await ofInstance('StateReason.Code')).toBe('Server.InternalError')
    await start()
    await cloud.isUp(id)
  })

  test('an event comes about when it is due', async () => {
    const bootId = await cloud.bootId(id)
    expect(await cloud.hearth('event', 'create', id, '--code', 'instance-reboot', '--in', '12s')).toMatchObject({ code: 0 })
    expect(await cloud.ssh(id, 'wget -q -O - http://169.254.169.254/latest/meta-data/events/maintenance/scheduled')).toContain('instance-reboot')
    await cloud.isRebooted(id, bootId)
  })

  test('a guest that hangs makes its instance impaired; a QEMU that hangs is replaced, and the addresses stay', async () => {
    const addresses = await ofInstance('[PrivateIpAddress,PublicIpAddress]')
    await cloud.until('the checks to pass', 60_000, async () => (await statusOf('Instance')) === 'ok')
    const [first = 0] = cloud.machines(id)
    process.kill(first, 'SIGSTOP')
    await cloud.until('it to be impaired', 60_000, async () => (await statusOf('System')) === 'impaired')
    await cloud.until('another machine', 90_000, () => cloud.machines(id).some((pid) => pid !== first))
    await cloud.isUp(id)
    await cloud.until('the checks to pass', 60_000, async () => (await statusOf('System')) === 'ok')
    expect(await ofInstance('[PrivateIpAddress,PublicIpAddress]')).toBe(addresses)
    await cloud.hearth('ssh', id, '--', 'echo 1 >/proc/sys/kernel/sysrq; (sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &')
    await cloud.until('it to be impaired', 60_000, async () => (await statusOf('Instance')) === 'impaired')
    expect(await statusOf('System')).toBe('ok')
    await ec2('StoppingInstances[].InstanceId', 'stop-instances', '--skip-os-shutdown', '--instance-ids', id)
    await isIn('stopped')
    await start()
    await cloud.isUp(id)
  })

  test('when the host is restarted, what ran is there again, with its addresses and its disk', async () => {
    const addresses = await ofInstance('[PrivateIpAddress,PublicIpAddress]')
    await cloud.ssh(id, 'echo written >/root/before; sync')
    await cloud.endUp('SIGKILL')
    for (const pid of cloud.machines()) process.kill(pid, 'SIGKILL')
    for (const name of execFileSync('ip', ['netns', 'list']).toString().split(/\s+/)) {
      if (name.startsWith(`hearth-${homeIdOf(cloud.home)}-`)) execFileSync('ip', ['netns', 'del', name])
    }
    writeFileSync(bootId, 'the second boot\n')
    await cloud.upWith(environment)
    await cloud.isUp(id)
    expect(await ofInstance('[PrivateIpAddress,PublicIpAddress]')).toBe(addresses)
    expect(await cloud.ssh(id, 'cat /root/before')).toBe('written')
  })

  test('terminated by mistake, it is had again under its id, with its disk and its address', async () => {
    const address = await ofInstance('PrivateIpAddress')
    await cloud.ssh(id, 'echo precious >/root/work; sync')
    await ec2('Return', 'modify-instance-attribute', '--instance-id', id, '--disable-api-termination')
    const refused = await cloud.aws('ec2', 'terminate-instances', '--instance-ids', id)
    expect(refused.stderr).toContain('OperationNotPermitted')
    await ec2('Return', 'modify-instance-attribute', '--instance-id', id, '--no-disable-api-termination')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', id)
    await isIn('terminated')
    expect(await cloud.hearth('restore', id)).toMatchObject({ code: 0 })
    await isIn('stopped')
    await start()
    await cloud.isUp(id)
    expect(await ofInstance('PrivateIpAddress')).toBe(address)
    expect(await cloud.ssh(id, 'cat /root/work')).toBe('precious')
  })
})
