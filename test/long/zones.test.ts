import { readdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ownKey } from '../../src/cli/first-instance.ts'
import type { ZoneView } from '../../src/cli/zones.ts'
import { systemClock } from '../../src/core/clock.ts'
import { seededRandom } from '../../src/core/random.ts'
import { RealCloud, whyNotReal } from '../e2e/real-cloud.ts'
import { ZoneHistory } from './zone-history.ts'
import { ZoneLoad } from './zone-load.ts'

/** To play a history again, as far as machines do what they did before: HEARTH_ZONES_SEED=7. */
const SEED = Number(process.env.HEARTH_ZONES_SEED ?? 1)
/** How often something befalls a zone. */
const CHANGES = Number(process.env.HEARTH_ZONES_CHANGES ?? 10)
const CALLERS = 2
/** Between two changes of zones, at most. */
const PAUSE_MS = 6000
/** The next process is killed at some moment within this time after the last one came back: each has some time to do something. */
const KILL_WITHIN_MS = 20_000

const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c'] as const
/** Nothing ever befalls the first one. */
const [QUIET, ...OTHERS] = ZONES

describe.skipIf(whyNotReal !== undefined)(`zones that fail under load, seed ${SEED}${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('zone-history')
  const history = new ZoneHistory(cloud, ZONES)
  let load: ZoneLoad

  beforeAll(async () => {
    // What is refused is looked at here, and not asked again by the CLI.
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1')
    await cloud.prepare()
    const { imageId, keyName } = await cloud.upForLaunches()
    const subnets = new Map<string, string>()
    for (const zone of ZONES) subnets.set(zone, await cloud.ec2('Subnets[0].SubnetId', 'describe-subnets', '--filters', `Name=availability-zone,Values=${zone}`))
    const rootDevice = await cloud.ec2('Images[0].RootDeviceName', 'describe-images', '--image-ids', imageId)
    load = new ZoneLoad(history, { imageId, keyName, rootDevice, subnets })
    const newVolume = (zone: string) => cloud.ec2('VolumeId', 'create-volume', '--availability-zone', zone, '--size', '1', '--volume-type', 'gp3')
    for (const zone of ZONES) {
      const id = await cloud.launch('--subnet-id', subnets.get(zone) ?? '')
      history.residents.push({ id, zone, volume: await newVolume(zone), pid: undefined })
      for (const letter of ['g', 'h']) load.volumes.push({ id: await newVolume(zone), zone, device: `/dev/sd${letter}`, at: undefined, isBusy: false })
    }
    await Promise.all(history.residents.map(({ id }) => cloud.isUp(id)))
    for (const resident of history.residents) {
      await cloud.ec2('State', 'attach-volume', '--volume-id', resident.volume, '--instance-id', resident.id, '--device', '/dev/sdf')
      await cloud.ssh(resident.id, `echo ${resident.zone} >/root/kept; sync`)
      resident.pid = cloud.machines(resident.id)[0]
    }
  })
  afterAll(async () => {
    await cloud.close()
    vi.unstubAllEnvs()
  })

  async function befallAll(): Promise<void> {
    const random = seededRandom(SEED)
    for (let change = 0; change < CHANGES; change++) {
      await history.befall(random, OTHERS[random.int(OTHERS.length)] ?? '')
      await systemClock.sleep(random.int(PAUSE_MS))
    }
  }

  /** Zones fail and heal, callers call, and processes are killed, all at the same time. */
  async function live(): Promise<void> {
    const over = new AbortController()
    const untilOver = async (step: () => Promise<void>) => {
      while (!over.signal.aborted) await step()
    }
    const killRandom = seededRandom(SEED + 1000)
    const others = [
      untilOver(() => history.killOne(killRandom, ['api', 'api', 'agent', ...ZONES], KILL_WITHIN_MS)),
      ...Array.from({ length: CALLERS }, (_, number) => load.run(seededRandom(SEED + 2000 + number), over.signal)),
    ]
    // Whoever finds something ends it for all.
    await Promise.race([befallAll(), ...others.map((each) => each.then(() => Promise.reject(new Error('it ended early'))))]).finally(() => over.abort())
    await Promise.all(others)
  }

  test('a zone that nothing befalls does not notice, everything says what is so, and what was acknowledged comes about', async () => {
    const begunMs = systemClock.now()
    const [quiet] = history.residents
    const stream = cloud.stream('ssh', [
      '-i', ownKey(cloud.home).file, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR',
      `root@${await cloud.ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances', '--instance-ids', quiet?.id ?? '')}`,
      'while echo; do sleep 0.5; done',
    ])
    const flows = async () => {
      const lines = stream.lines()
      await cloud.until(`the stream into ${QUIET} to go on`, 30_000, () => stream.lines() > lines + 1)
    }
    try {
      await flows()
      await live()
      await flows()
      expect(stream.hasEnded()).toBe(false)
      for (const zone of OTHERS) await history.heal(zone)
      await cloud.answers()
      await comesAbout()
    } catch (error) {
      process.stdout.write(`${history.diary.lines.join('\n')}\n${String(error)}\n`)
      throw error
    } finally {
      stream.end()
    }
    process.stdout.write(`zones: ${CHANGES} changes, ${load.guests.length} guests, ${load.images.length} images, ${load.snapshots.length} snapshots, ` +
      `${Math.round((systemClock.now() - begunMs) / 1000)} s\n`)
  })

  /** After all is healed. */
  async function comesAbout(): Promise<void> {
    const running = await load.arrives()
    await cloud.until('the agents to have nothing to do', 120_000, () => cloud.dueWork() === 0)
    await history.look()
    await Promise.all([...running, ...history.residents].map(({ id }) => cloud.sshAnswers(id)))
    for (const { id, zone } of history.residents) expect(await cloud.ssh(id, 'cat /root/kept')).toBe(zone)
    for (const { id } of running) {
      const disks = await cloud.ssh(id, 'for each in /sys/block/vd[b-z]/serial; do [ -f $each ] && echo $(cat $each); done; true')
      for (const volume of load.volumes) expect([id, volume.id, disks.includes(volume.id.replace('-', ''))]).toEqual([id, volume.id, volume.at?.id === id])
    }
    const statuses = 'InstanceStatuses[].[SystemStatus.Status,InstanceStatus.Status,AttachedEbsStatus.Status][]'
    await cloud.until('every check to pass', 90_000, async () =>
      new Set((await cloud.ec2(statuses, 'describe-instance-status')).split(/\s+/)).size === 1)
  }

  test('nothing of them is left, also where a zone has failed when the cloud goes down', async () => {
    const [, kept] = history.residents
    const living = ['--filters', 'Name=instance-state-name,Values=running,stopped']
    const ids = idsIn(await cloud.ec2('Reservations[].Instances[].InstanceId', 'describe-instances', ...living)).filter((id) => id !== kept?.id)
    await cloud.ec2('TerminatingInstances', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', ...ids)
    await cloud.areInState('terminated', ...ids)
    for (const image of idsIn(await cloud.ec2('Images[].ImageId', 'describe-images', '--owners', 'self'))) {
      await cloud.ec2('Return', 'deregister-image', '--image-id', image, '--delete-associated-snapshots')
    }
    for (const snapshot of idsIn(await cloud.ec2('Snapshots[].SnapshotId', 'describe-snapshots', '--owner-ids', 'self'))) {
      await cloud.ec2('Return', 'delete-snapshot', '--snapshot-id', snapshot)
    }
    await cloud.until('all volumes to be free but one', 60_000, async () => (await volumeIds('in-use')).length === 2)
    for (const volume of await volumeIds('available')) await cloud.ec2('Return', 'delete-volume', '--volume-id', volume)
    // The built image, and what the last one has.
    await cloud.until('the files to go', 60_000, () => filesOf('layers').length === 3)
    const { zones } = JSON.parse((await cloud.hearth('zone', 'list', '--json')).stdout) as { zones: ZoneView[] }
    expect(zones.map(({ hosts }) => hosts.reduce((sum, { vcpusUsed }) => sum + vcpusUsed, 0))).toEqual([0, 2, 0])
    expect((await cloud.hearth('zone', 'fail', kept?.zone ?? '')).code).toBe(0)
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
    expect((await cloud.run('nft', ['list', 'tables'])).stdout).not.toContain('hearth')
    expect(readdirSync(path.join(cloud.home, 'instances')).flatMap((id) => readdirSync(path.join(cloud.home, 'instances', id)))
      .filter((name) => name.startsWith('memory'))).toEqual([])
  })

  const filesOf = (folder: string) => readdirSync(path.join(cloud.home, folder))
  const idsIn = (text: string) => text.split(/\s+/).filter((id) => /^[a-z]+-[0-9a-f]+$/.test(id))
  const volumeIds = async (state: string) => idsIn(await cloud.ec2('Volumes[].VolumeId', 'describe-volumes', '--filters', `Name=status,Values=${state}`))
})
