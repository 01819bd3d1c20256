import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { systemClock } from '../../src/core/clock.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** What each guest does from boot on: whoever connects is told its name. */
const SERVICE = '::respawn:/usr/bin/nc -ll -p 7000 -e /bin/hostname'

const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c'] as const
const [A, B, C] = ZONES
type Zone = typeof ZONES[number]

describe.skipIf(whyNotReal !== undefined)(`copies in three zones${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('zones')
  const copies = {} as Record<Zone, string>
  let imageId: string
  let keyName: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  const ofCopy = (zone: Zone, query: string) =>
    ec2(`Reservations[0].Instances[0].${query}`, 'describe-instances', '--instance-ids', copies[zone])
  const addressesOf = (zone: Zone) => ofCopy(zone, '[PrivateIpAddress,PublicIpAddress]')
  /** "ok ok": what the checks say of the computer under it, and of the guest. */
  const statusOf = async (zone: Zone) => (await ec2(
    'InstanceStatuses[0].[SystemStatus.Status,InstanceStatus.Status]', 'describe-instance-status', '--instance-ids', copies[zone],
  )).replaceAll(/\s+/g, ' ')
  const stateOf = (zone: Zone) => ec2('AvailabilityZones[0].State', 'describe-availability-zones', '--zone-names', zone)
  const subnetOf = (zone: Zone) => ec2('Subnets[0].SubnetId', 'describe-subnets', '--filters', `Name=availability-zone,Values=${zone}`)
  const greeting = async (zone: Zone) => {
    const address = await ofCopy(zone, 'PublicIpAddress')
    const { stdout } = await cloud.run('timeout', ['2', 'bash', '-c', `exec 3<>/dev/tcp/${address}/7000 && cat <&3`])
    return stdout.trim()
  }
  const serves = (zone: Zone) => cloud.until(`the copy in ${zone} to serve`, 180_000, async () => (await greeting(zone)).startsWith('ip-'))

  beforeAll(async () => {
    await cloud.prepare()
    keyName = (await cloud.upForLaunches({ HEARTH_CHECK_INTERVAL_MS: '2000', HEARTH_HOSTS_PER_ZONE: '2' })).keyName
    const group = await ec2('SecurityGroups[0].GroupId', 'describe-security-groups')
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', group, '--protocol', 'tcp', '--port', '7000', '--cidr', '0.0.0.0/0')
    const original = await cloud.launch()
    await cloud.isUp(original)
    await cloud.ssh(original, `echo '${SERVICE}' >>/etc/inittab; echo baked >/root/origin; sync`)
    imageId = await ec2('ImageId', 'create-image', '--no-reboot', '--instance-id', original, '--name', 'service')
    await cloud.until('the image', 120_000, async () => (await ec2('Images[0].State', 'describe-images', '--image-ids', imageId)) === 'available')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', original)
    for (const zone of ZONES) copies[zone] = await cloud.launch('--image-id', imageId, '--subnet-id', await subnetOf(zone))
    await Promise.all(ZONES.map((zone) => cloud.isUp(copies[zone])))
    await Promise.all(ZONES.map(serves))
  })
  afterAll(() => cloud.close())

  test('each serves under a name of its own, what was baked is there, and they reach each other over the zones', async () => {
    const names = await Promise.all(ZONES.map(greeting))
    expect(new Set(names).size).toBe(3)
    expect(await Promise.all(ZONES.map((zone) => cloud.ssh(copies[zone], 'cat /root/origin')))).toEqual(['baked', 'baked', 'baked'])
    expect(await Promise.all(ZONES.map((zone) =>
      cloud.ssh(copies[zone], 'wget -q -O - http://169.254.169.254/latest/meta-data/placement/availability-zone')))).toEqual([...ZONES])
    expect(await cloud.ssh(copies[A], `nc -w 5 ${await ofCopy(C, 'PrivateIpAddress')} 7000 </dev/null`)).toBe(names[2])
    await cloud.until('all checks to pass', 90_000, async () =>
      (await Promise.all(ZONES.map(statusOf))).every((status) => status === 'ok ok'))
  })

  test('a zone that has lost its power serves nothing, and the others do not notice', async () => {
    const pids = [cloud.machines(copies[A]), cloud.machines(copies[C])]
    const stream = cloud.stream('ssh', [
      '-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
      `root@${await ofCopy(C, 'PublicIpAddress')}`, 'while echo; do sleep 0.5; done',
    ])
    await cloud.until('the stream to run', 60_000, () => stream.lines() > 2)
    await cloud.ssh(copies[B], 'echo written >/root/kept; sync')
    const failed = await cloud.hearth('zone', 'fail', B)
    expect(failed).toMatchObject({ code: 0 })
    expect(cloud.machines(copies[B])).toEqual([])
    expect(await greeting(B)).toBe('')
    expect(await Promise.all(ZONES.map(stateOf))).toEqual(['available', 'unavailable', 'available'])
    expect(await Promise.all(ZONES.map(statusOf))).toEqual(['ok ok', 'impaired impaired', 'ok ok'])
    expect(await ofCopy(B, 'State.Name')).toBe('running')
    const lines = stream.lines()
    await Promise.all([serves(A), serves(C)])
    await cloud.until('the stream to go on', 10_000, () => stream.lines() > lines)
    expect(stream.hasEnded()).toBe(false)
    stream.end()
    expect([cloud.machines(copies[A]), cloud.machines(copies[C])]).toEqual(pids)
  })

  test('calls into the failed zone fail as AWS says it, naming zones that would do; a launch that names none goes elsewhere', async () => {
    const basic = ['ec2', 'run-instances', '--image-id', imageId, '--instance-type', 't3.nano', '--key-name', keyName]
    const refused = await cloud.aws(...basic, '--placement', `AvailabilityZone=${B}`)
    expect(refused.stderr).toContain('InsufficientInstanceCapacity')
    expect(refused.stderr).toContain(`choosing ${A}, ${C}`)
    expect((await cloud.aws('ec2', 'create-volume', '--size', '1', '--availability-zone', B)).code).not.toBe(0)
    const elsewhere = await ec2('Instances[0].[InstanceId,Placement.AvailabilityZone]', ...basic.slice(1))
    const [id = '', zone] = elsewhere.split(/\s+/)
    expect([A, C]).toContain(zone)
    await cloud.areInState('running', id)
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', id)
  })

  test('healed, what it had comes back by itself: same id, addresses and disk; its memory is lost', async () => {
    const addresses = await addressesOf(B)
    const healedMs = systemClock.now()
    expect(await cloud.hearth('zone', 'heal', B)).toMatchObject({ code: 0 })
    expect(await stateOf(B)).toBe('available')
    await serves(B)
    await cloud.sshAnswers(copies[B])
    expect(await addressesOf(B)).toBe(addresses)
    expect(await cloud.ssh(copies[B], 'cat /root/kept')).toBe('written')
    expect(await cloud.uptime(copies[B])).toBeLessThan((systemClock.now() - healedMs) / 1000 + 1)
    await cloud.until('its checks to pass', 90_000, async () => (await statusOf(B)) === 'ok ok')
  })

  test('an impaired zone stands still: no packet, no processor time; healed, its guests go on where they were', async () => {
    const [pid] = cloud.machines(copies[B])
    const before = await cloud.uptime(copies[B])
    expect(await cloud.hearth('zone', 'impair', B)).toMatchObject({ code: 0 })
    const impairedMs = systemClock.now()
    expect(await stateOf(B)).toBe('impaired')
    expect(await statusOf(B)).toBe('impaired impaired')
    expect(await greeting(B)).toBe('')
    expect(await cloud.hearth('ssh', copies[A], '--', `nc -w 2 ${await ofCopy(B, 'PrivateIpAddress')} 7000 </dev/null`)).not.toMatchObject({ code: 0 })
    await serves(A)
    await cloud.until('some time to pass', 30_000, () => systemClock.now() > impairedMs + 12_000)
    const healing = systemClock.now()
    expect(await cloud.hearth('zone', 'heal', B)).toMatchObject({ code: 0 })
    await serves(B)
    expect(cloud.machines(copies[B])).toEqual([pid])
    const uptime = await cloud.uptime(copies[B])
    expect(uptime).toBeGreaterThan(before)
    await cloud.until('its checks to pass', 90_000, async () => (await statusOf(B)) === 'ok ok')
    expect(healing - impairedMs).toBeGreaterThan(12_000)
  })

  test('each zone has an agent of its own: while one hangs, launches in another zone go on', async () => {
    const agent = await cloud.pidOf(B)
    process.kill(agent, 'SIGSTOP')
    try {
      const id = await cloud.launch('--subnet-id', await subnetOf(C))
      await cloud.areInState('running', id)
      await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', id)
      await cloud.areInState('terminated', id)
    } finally {
      process.kill(agent, 'SIGCONT')
    }
    await serves(B)
  })

  test('the cloud goes down while a zone has failed, and comes up with all of them, and with one host in each instead of two', async () => {
    expect(await cloud.hearth('zone', 'impair', A)).toMatchObject({ code: 0 })
    expect(await cloud.hearth('zone', 'fail', B)).toMatchObject({ code: 0 })
    const down = await cloud.hearth('down')
    expect(down).toMatchObject({ code: 0, stderr: expect.stringContaining(`${B} had failed`) })
    expect(cloud.leftovers()).toEqual([])
    await cloud.up()
    expect(await Promise.all(ZONES.map(stateOf))).toEqual(['available', 'available', 'available'])
    await ec2('StartingInstances[].InstanceId', 'start-instances', '--instance-ids', copies[A], copies[B])
    await Promise.all([serves(A), serves(B)])
    expect(await cloud.ssh(copies[B], 'cat /root/kept')).toBe('written')
  })
})
