import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Every crash point that a launch passes: of the driver calls and commits of its zone and of the node, and of the api's. */
const ZONE_POINTS = [
  'volumes.ensureLayer:before', 'volumes.ensureLayer:after', 'commit:volume.ready:before', 'commit:volume.ready:after',
  'commit:instance.pin:before', 'commit:instance.pin:after',
  'hypervisor.ensureRunning:before', 'hypervisor.ensureRunning:after', 'commit:instance.running:before',
  'commit:instance.running:after',
]
const NODE_POINTS = ['network.syncVpc:before', 'network.syncVpc:after', 'commit:vpc.synced:before', 'commit:vpc.synced:after']
/** What a launch passes only as the first in its VPC, and a change of the whole VPC always. */
const VPC_POINTS = ['commit:vpc.slot:before', 'commit:vpc.slot:after', 'commit:work:before', 'commit:work:after']
const API_POINTS = ['commit:RunInstances:before', 'commit:RunInstances:after']

/** Whose process is to die. */
const ZONE = 'us-east-1a'

interface Described {
  InstanceId: string
  ClientToken?: string
  State: { Name: string }
  PublicIpAddress?: string
  Placement: { AvailabilityZone: string }
  SecurityGroups: { GroupId: string }[]
}

describe.skipIf(whyNotReal !== undefined)(`kill -9${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('crash')
  let imageId: string

  beforeAll(async () => {
    await cloud.prepare()
    await cloud.up()
    await cloud.until('the first instance to answer', 120_000, () => cloud.stderr.includes('Open a shell there'))
    const images = (await cloud.awsJson('ec2', 'describe-images')) as unknown as { Images: { ImageId: string }[] }
    imageId = images.Images[0]?.ImageId ?? ''
  })
  afterAll(() => cloud.close())

  const run = (token: string) => cloud.aws(
    'ec2', 'run-instances', '--image-id', imageId, '--instance-type', 't3.nano', '--client-token', token,
    '--placement', `AvailabilityZone=${ZONE}`)

  async function instances(...filters: string[]): Promise<Described[]> {
    const answer = await cloud.awsJson('ec2', 'describe-instances', ...filters)
    return (answer as unknown as { Reservations: { Instances: Described[] }[] }).Reservations.flatMap((each) => each.Instances)
  }

  const firstInstance = () => instances('--filters', 'Name=tag:Name,Values=first')

  async function endsRunningOnce(token: string): Promise<string> {
    const found = await cloud.until(`${token} to run`, 90_000, async () => {
      const mine = (await instances()).filter((each) => each.ClientToken === token)
      expect(mine.length).toBeLessThanOrEqual(1)
      return mine[0]?.State.Name === 'running' ? mine[0] : undefined
    })
    return found.InstanceId
  }

  /** Asks for the end, in the middle of the guest's boot; that it came about is checked for all at the end. */
  async function terminate(id: string): Promise<void> {
    await cloud.awsJson('ec2', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', id)
  }

  test('of the agents under traffic: an established connection goes on', async () => {
    const [first] = await firstInstance()
    const traffic = cloud.stream('ssh', [
      '-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
      `root@${first?.PublicIpAddress}`, 'while cat /proc/uptime; do usleep 50000; done',
    ])
    try {
      for (const victim of ['agent', first?.Placement.AvailabilityZone ?? '', 'agent']) {
        const before = traffic.lines()
        await cloud.until('lines to come', 30_000, () => traffic.lines() > before + 5)
        await cloud.isReplaced(victim, await cloud.kill(victim))
        // It puts everything in force anew.
        await cloud.until('the agents to have nothing to do', 60_000, () => cloud.dueWork() === 0)
        const after = traffic.lines()
        await cloud.until('lines to go on', 30_000, () => traffic.lines() > after + 5)
        expect(traffic.hasEnded()).toBe(false)
      }
    } finally {
      traffic.end()
    }
  })

  test('of the api, of the agents and of all of them: the guest goes on and metadata answers again', async () => {
    const pids = cloud.machines()
    let uptime = await cloud.uptime('first')
    const agents = await cloud.agents()
    for (const victims of [['api'], ['agent'], [ZONE, 'agent'], ['api', ...agents], [...agents, 'api']]) {
      for (const victim of victims) await cloud.kill(victim)
      await cloud.until('the guest to read its metadata', 30_000, async () => {
        const result = await cloud.hearth('ssh', 'first', '--', 'wget -q -O - http://169.254.169.254/latest/meta-data/instance-id')
        return result.code === 0 && result.stdout.startsWith('i-')
      })
      await cloud.answers()
      const now = await cloud.uptime('first')
      expect(now).toBeGreaterThan(uptime)
      uptime = now
    }
    expect(cloud.machines()).toEqual(pids)
  })

  test.each([
    ...ZONE_POINTS.map((point) => [ZONE, point] as const), ...NODE_POINTS.map((point) => ['agent', point] as const),
  ])('of %s at %s: the launch still comes about, once', async (name, point) => {
    const before = await cloud.crashAt(name, point)
    const token = `t-${point.replaceAll(/[^a-z]/gi, '-')}`
    expect((await run(token)).code).toBe(0)
    const id = await endsRunningOnce(token)
    expect(await cloud.pidOf(name), `${name} died on the way`).not.toBe(before)
    expect(cloud.machines(id)).toHaveLength(1)
    await terminate(id)
  })

  test.each(VPC_POINTS)('of the agent at %s: the network ACL still comes into force', async (point) => {
    const [first] = await firstInstance()
    const port = String(8000 + VPC_POINTS.indexOf(point))
    // Nothing listens there: what a guest refuses has reached it.
    const isRefused = async () =>
      (await cloud.run('timeout', ['1', 'bash', '-c', `true > /dev/tcp/${first?.PublicIpAddress}/${port}`])).stderr.includes('refused')
    await cloud.awsJson(
      'ec2', 'authorize-security-group-ingress', '--group-id', first?.SecurityGroups[0]?.GroupId ?? '',
      '--protocol', 'tcp', '--port', port, '--cidr', '0.0.0.0/0',
    )
    await cloud.until('the rule to be in force', 30_000, isRefused)
    const acls = (await cloud.awsJson('ec2', 'describe-network-acls')) as unknown as { NetworkAcls: { NetworkAclId: string }[] }
    const before = await cloud.crashAt('agent', point)
    await cloud.awsJson(
      'ec2', 'create-network-acl-entry', '--network-acl-id', acls.NetworkAcls[0]?.NetworkAclId ?? '', '--ingress', '--protocol', 'tcp',
      '--port-range', `From=${port},To=${port}`, '--cidr-block', '0.0.0.0/0', '--rule-action', 'deny', '--rule-number', String(Number(port) - 7990),
    )
    await cloud.until('the entry to be in force', 60_000, async () => !(await isRefused()))
    expect(await cloud.pidOf('agent'), 'the agent died on the way').not.toBe(before)
  })

  test.each(API_POINTS)('of the api at %s: the caller repeats its call and gets one instance', async (point) => {
    const before = await cloud.crashAt('api', point)
    const token = `t-${point.replaceAll(/[^a-z]/gi, '-')}`
    await cloud.until('the call to be answered', 60_000, async () => (await run(token)).code === 0)
    const id = await endsRunningOnce(token)
    expect(await cloud.pidOf('api'), 'the api died on the way').not.toBe(before)
    await terminate(id)
  })

  test('of a machine itself is seen, and the instance stops', async () => {
    expect((await run('t-victim')).code).toBe(0)
    const id = await endsRunningOnce('t-victim')
    for (const pid of cloud.machines(id)) process.kill(pid, 'SIGKILL')
    await cloud.until('the instance to be stopped', 30_000, async () =>
      (await instances()).find((each) => each.InstanceId === id)?.State.Name === 'stopped')
    await terminate(id)
  })

  test('leaves nothing behind in the end', async () => {
    await cloud.until('all but the first instance to be terminated', 120_000, async () =>
      (await instances()).filter((each) => each.State.Name !== 'terminated').length === 1)
    await cloud.until('their processes to be gone', 20_000, () => cloud.machines().length === 1)
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
  })
})
