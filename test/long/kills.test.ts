import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import { systemClock } from '../../src/core/clock.ts'
import { pick, seededRandom } from '../../src/core/random.ts'
import { isAlive, RealCloud, whyNotReal } from '../e2e/real-cloud.ts'

const SEED = 1
const GUESTS = 10
const KILLS = 100
const STREAMS = 3
const VOLUMES = 4
/** A kill comes at some moment within this time after its victim was started. */
const KILL_WITHIN_MS = 3000
/** Only members of the other group let it in; nothing listens there. */
const PORT = 8080

/** The caller cannot know whether its call came about. */
const UNKNOWN_END = /Could not connect|Connection was closed|Connect timeout|Read timeout|Connection reset|InternalError|ServiceUnavailable|Unavailable/

describe.skipIf(whyNotReal !== undefined)(`kill -9 over ${GUESTS} guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('kills')
  const random = seededRandom(SEED)
  const ids: string[] = []
  let zone: string
  /** The default group, which lets SSH in, and one that lets PORT in as well. */
  let groups: { both: string[]; ssh: string[] }
  const volumes: { id: string; device: string; at: string | undefined }[] = []
  /** What was acknowledged: the last tag of each instance, and whether it is in both groups. */
  const tags = new Map<string, string>()
  const inBoth = new Map<string, boolean>()
  let acknowledged = 0

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)

  beforeAll(async () => {
    await cloud.prepare()
    zone = (await cloud.upForLaunches()).zone
    const ssh = await ec2('SecurityGroups[0].GroupId', 'describe-security-groups')
    const other = await ec2('GroupId', 'create-security-group', '--group-name', 'other', '--description', 'other')
    await ec2('Return', 'authorize-security-group-ingress', '--group-id', other, '--protocol', 'tcp', '--port', String(PORT), '--cidr', '0.0.0.0/0')
    groups = { ssh: [ssh], both: [ssh, other] }
    // Two boot at a time, so that each is soon done.
    for (let number = 0; number < GUESTS; number += 2) {
      const pair = [await cloud.launch(), await cloud.launch()]
      for (const id of pair) await cloud.isUp(id)
      ids.push(...pair)
    }
    for (const [index, letter] of ['f', 'g', 'h', 'i'].slice(0, VOLUMES).entries()) {
      volumes[index] = {
        id: await ec2('VolumeId', 'create-volume', '--availability-zone', zone, '--size', '1', '--volume-type', 'gp3'),
        device: `/dev/sd${letter}`, at: undefined,
      }
    }
  })
  afterAll(() => cloud.close())

  /**
   * A call that is repeated until its end is known. `done` is what a repeated call is told when the
   * call before it came about, or when the CLI itself repeated it.
   */
  async function call(done: RegExp | undefined, ...words: string[]): Promise<void> {
    await cloud.until(words.join(' '), 120_000, async () => {
      const { code, stderr } = await cloud.aws('ec2', ...words)
      if (code === 0 || done?.test(stderr)) return true
      if (UNKNOWN_END.test(stderr)) return false
      throw new Error(`${words.join(' ')}: ${stderr}`)
    })
    acknowledged += 1
  }

  /** Tags an instance, or moves it into or out of the other group. */
  async function changeInstance(): Promise<void> {
    const id = pick(random, ids)
    if (random.next() < 0.5) {
      const value = String(acknowledged)
      await call(undefined, 'create-tags', '--resources', id, '--tags', `Key=Round,Value=${value}`)
      tags.set(id, value)
    } else {
      const both = random.next() < 0.5
      await call(undefined, 'modify-instance-attribute', '--instance-id', id, '--groups', ...groups[both ? 'both' : 'ssh'])
      inBoth.set(id, both)
    }
  }

  /** Attaches a volume that is free, or detaches one that is attached; leaves one alone that is on its way. */
  async function moveVolume(): Promise<void> {
    const volume = pick(random, volumes)
    const { stdout } = await cloud.aws('ec2', 'describe-volumes', '--volume-ids', volume.id, '--output', 'text', '--query', 'Volumes[0].[State,Attachments[0].State]')
    const [state, attachment] = stdout.trim().split(/\s+/)
    if (state === 'available') {
      const id = pick(random, ids)
      await call(/VolumeInUse/, 'attach-volume', '--volume-id', volume.id, '--instance-id', id, '--device', volume.device)
      volume.at = id
    } else if (attachment === 'attached') {
      await call(/IncorrectState/, 'detach-volume', '--volume-id', volume.id)
      volume.at = undefined
    }
  }

  /** Kills one process, two, or all agents, each at some moment after it was started, until all kills are done; answers how many of which. */
  async function killAll(): Promise<Map<string, number>> {
    const agents = await cloud.agents()
    const killed = new Map<string, number>()
    const count = () => [...killed.values()].reduce((sum, each) => sum + each, 0)
    while (count() < KILLS) {
      const victims = pick(random, [['api'], ['agent'], [zone], [pick(random, agents)], ['api', zone], ['agent', zone], agents])
      const pids = await Promise.all(victims.map((name) => cloud.pidOf(name)))
      await systemClock.sleep(random.int(KILL_WITHIN_MS))
      for (const [index, name] of victims.entries()) {
        if (!isAlive(pids[index] ?? 0)) continue
        process.kill(pids[index] ?? 0, 'SIGKILL')
        killed.set(name, (killed.get(name) ?? 0) + 1)
      }
      await cloud.until('them to be seen dead', 10_000, async () => {
        const { children } = await cloud.status()
        return victims.every((name, index) => children[name] !== pids[index])
      })
    }
    return killed
  }

  /** Serial numbers of the volumes that a guest sees, without its root. */
  const disksIn = async (id: string) =>
    (await cloud.ssh(id, 'for each in /sys/block/vd[b-z]/serial; do [ -f $each ] && echo $(cat $each); done; true')).split(/\s+/).filter((serial) => serial !== '').toSorted()

  /** Whether the guest gets to see, and refuses, a connection to PORT; without its group's leave it never does. */
  const isReached = async (address: string) =>
    (await cloud.run('timeout', ['5', 'bash', '-c', `true > /dev/tcp/${address}/${PORT}`])).stderr.includes('refused')

  test(`${KILLS} kills of api and agents touch no guest, and what was acknowledged came about`, async () => {
    const begunMs = systemClock.now()
    const addresses = new Map<string, string>()
    for (const id of ids) addresses.set(id, await ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances', '--instance-ids', id))
    const pids = ids.map((id) => cloud.machines(id))
    expect(pids.every((each) => each.length === 1)).toBe(true)
    const uptimes = await Promise.all(ids.map((id) => cloud.uptime(id)))
    const measuredMs = systemClock.now()
    const streams = ids.slice(0, STREAMS).map((id) => cloud.stream('ssh', [
      '-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
      `root@${addresses.get(id)}`, 'while cat /proc/uptime; do usleep 200000; done',
    ]))
    const linesComeFrom = async (stream: (typeof streams)[number]) => {
      const before = stream.lines()
      await cloud.until('lines to come', 60_000, () => stream.lines() > before + 3)
    }
    try {
      await Promise.all(streams.map(linesComeFrom))
      const over = new AbortController()
      const callUntilOver = async (step: () => Promise<void>) => {
        while (!over.signal.aborted) await step()
      }
      const calls = [callUntilOver(changeInstance), callUntilOver(moveVolume)]
      const killed = await Promise.race([killAll(), ...calls.map((each) => each.then(() => Promise.reject(new Error('calls ended'))))])
        .finally(() => over.abort())
      await Promise.all(calls)
      const seconds = Math.round((systemClock.now() - measuredMs) / 1000)
      const kills = [...killed].map(([name, times]) => `${name} ${times}`).join(', ')
      process.stdout.write(`kills: ${kills}; ${acknowledged} calls, ${seconds} s\n`)

      await cloud.answers()
      await cloud.until('the agents to have nothing to do', 120_000, () => cloud.dueWork() === 0)
      expect(streams.map((each) => each.hasEnded())).toEqual(streams.map(() => false))
      await Promise.all(streams.map(linesComeFrom))
    } finally {
      for (const stream of streams) stream.end()
    }

    expect(ids.map((id) => cloud.machines(id))).toEqual(pids)
    for (const [index, id] of ids.entries()) {
      const passed = (systemClock.now() - measuredMs) / 1000
      const wentOn = (await cloud.uptime(id)) - (uptimes[index] ?? 0)
      // A guest that was paused, or begun anew, lacks time.
      expect(wentOn).toBeGreaterThan(passed - 10)
    }
    expect(acknowledged).toBeGreaterThan(KILLS)
    for (const [id, value] of tags) {
      expect([id, await ec2('Tags[0].Value', 'describe-tags', '--filters', `Name=resource-id,Values=${id}`, 'Name=key,Values=Round')]).toEqual([id, value])
    }
    for (const id of ids) {
      const expected = volumes.filter(({ at }) => at === id).map((volume) => volume.id.replace('-', '')).toSorted()
      // QEMU has the disk once it is attached; a guest takes seconds to find it, or to let go of it, on a busy computer.
      await cloud.until(`${id} to have ${expected.join(', ') || 'no volumes'}`, 60_000, async () => (await disksIn(id)).join() === expected.join())
        .catch(async (error: unknown) => {
          const rows = await ec2('Volumes[].[VolumeId,State,Attachments[0].[InstanceId,State]]', 'describe-volumes')
          throw new Error(`it has ${(await disksIn(id)).join(', ') || 'none'};\n${rows}\n${await cloud.ssh(id, 'dmesg | tail -40')}`, { cause: error })
        })
      const isIn = inBoth.get(id) ?? false
      await cloud.until(`${id} ${isIn ? '' : 'not '}to be reached`, 30_000, async () => (await isReached(addresses.get(id) ?? '')) === isIn)
    }
    process.stdout.write(`all in ${Math.round((systemClock.now() - begunMs) / 1000)} s\n`)
  })

  test('nothing of them is left', async () => {
    await ec2('TerminatingInstances', 'terminate-instances', '--instance-ids', ...ids)
    await cloud.areInState('terminated', ...ids)
    for (const { id } of volumes) {
      await cloud.until(`${id} to be free`, 60_000, async () => (await ec2('Volumes[0].State', 'describe-volumes', '--volume-ids', id)) === 'available')
      await ec2('Return', 'delete-volume', '--volume-id', id)
    }
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
  })
})
