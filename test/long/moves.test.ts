import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSqlite } from '../../src/store/sqlite.ts'
import { homePaths } from '../../src/home.ts'
import { capacityProblems } from '../../src/model/capacity-audit.ts'
import { RealCloud, whyNotReal } from '../e2e/real-cloud.ts'

/** Deaths on the way to another host: of its zone's process, in which the agents of both hosts are, and of the node's. */
const ZONE_POINTS = [
  'commit:instance.handed-over:before', 'commit:instance.handed-over:after', 'hypervisor.ensureRunning:after', 'commit:instance.running:before',
]
const LOAD_POINTS = ['commit:instance.handed-over:after', 'hypervisor.ensureLoaded:after']
const NODE_POINT = 'network.syncVpc:before'

const ENVIRONMENT = { HEARTH_ZONES: 'a', HEARTH_HOSTS_PER_ZONE: '2' }

describe.skipIf(whyNotReal !== undefined)(`moving between hosts of a zone${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('moves')
  /** One on each host, each in a spread group of its own: whoever is put into that starts on the other host. */
  const holders: { id: string; group: string }[] = []
  let id: string
  let [plain, secret] = ['', '']
  let nodeId: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  const ofInstance = (query: string, of = id) =>
    ec2(`Reservations[0].Instances[0].${query}`, 'describe-instances', '--instance-ids', of)
  const rows = <Row>(sql: string, ...values: unknown[]): Row[] => {
    const database = new Database(homePaths(cloud.home).database, { readonly: true })
    try {
      return database.prepare(sql).all(...values) as Row[]
    } finally {
      database.close()
    }
  }
  const hostOf = (of = id) => rows<{ host_id: string }>('select host_id from instances where instance_id = ?', of)[0]?.host_id ?? ''
  const holderOn = (host: string) => holders.find((each) => hostOf(each.id) === host) ?? { id: '', group: '' }
  const holderBeside = (host: string) => holders.find((each) => hostOf(each.id) !== host) ?? { id: '', group: '' }
  const stop = async (...words: string[]) => {
    await ec2('StoppingInstances', 'stop-instances', '--instance-ids', id, ...words)
    await cloud.areInState('stopped', id)
  }
  const start = () => ec2('StartingInstances', 'start-instances', '--instance-ids', id)
  /** Where the stopped instance is now, it may not start again; answers where that is. */
  const leaveHost = async () => {
    const from = hostOf()
    await ec2('Return', 'modify-instance-placement', '--instance-id', id, '--group-name', holderOn(from).group)
    return from
  }
  const isVolume = (volumeId: string, state: string) => cloud.until(`${volumeId} to be ${state}`, 60_000, async () =>
    (await ec2('Volumes[0].State', 'describe-volumes', '--volume-ids', volumeId)) === state)
  const isAttached = (volumeId: string) => cloud.until(`${volumeId} to be attached`, 60_000, async () =>
    (await ec2('Volumes[0].Attachments[0].State', 'describe-volumes', '--volume-ids', volumeId)) === 'attached')
  /** The guest's device with that volume's serial number. */
  const deviceOf = (of: string, volumeId: string) => cloud.ssh(
    of, `for each in /sys/block/vd*; do grep -qs ${volumeId.replace('-', '')} $each/serial && echo /dev/\${each##*/}; done; true`)
  const readMark = async (of: string, volumeId: string) =>
    cloud.ssh(of, `mkdir -p /mnt/${volumeId}; mount | grep -q /mnt/${volumeId} || mount ${await deviceOf(of, volumeId)} /mnt/${volumeId}; cat /mnt/${volumeId}/mark`)
  const memoryFiles = () => readdirSync(path.join(cloud.home, 'instances', id)).filter((name) => name.startsWith('memory'))
  const metadata = (name: string) => cloud.ssh(id, `wget -q -O - http://169.254.169.254/latest/meta-data/${name}`)
  const settled = () => cloud.until('the agents to have nothing to do', 60_000, () => cloud.dueWork() === 0)
  const problems = async () => {
    const store = await openSqlite({ file: homePaths(cloud.home).database, durability: 'normal' })
    try {
      // A host that is smaller than before may have promised more than it would now.
      return (await store.read(capacityProblems)).filter((each) => !each.startsWith('capacity oversold'))
    } finally {
      await store.close()
    }
  }
  /** It runs once, on another host than that, and the host that it left has nothing to do with it. */
  const hasLeft = async (host: string) => {
    expect(hostOf()).not.toBe(host)
    expect(cloud.machines(id)).toHaveLength(1)
    await settled()
    expect(rows(`select kind from work where host_id = ? and id = ?`, host, id)).toEqual([])
    expect(rows(`select doc from instances where instance_id = ? and json_extract(doc, '$.movedFrom') is not null`, id)).toEqual([])
    expect(await problems()).toEqual([])
  }

  beforeAll(async () => {
    await cloud.prepare()
    const { imageId } = await cloud.upForLaunches(ENVIRONMENT)
    nodeId = rows<{ host_id: string }>('select host_id from hosts where zone is null')[0]?.host_id ?? ''
    for (const group of ['left', 'right']) {
      await ec2('PlacementGroup.State', 'create-placement-group', '--group-name', group, '--strategy', 'spread')
      holders.push({ id: await cloud.launch('--placement', `GroupName=${group}`), group })
    }
    const root = await ec2('Images[0].RootDeviceName', 'describe-images', '--image-ids', imageId)
    id = await cloud.launch('--hibernation-options', 'Configured=true', '--block-device-mappings', `DeviceName=${root},Ebs={Encrypted=true}`)
    for (const each of [id, ...holders.map((holder) => holder.id)]) await cloud.isUp(each)
    const make = (...words: string[]) =>
      ec2('VolumeId', 'create-volume', '--availability-zone', cloud.zone, '--size', '1', '--volume-type', 'gp3', ...words)
    plain = await make()
    secret = await make('--encrypted')
    for (const [volume, device] of [[plain, '/dev/sdf'], [secret, '/dev/sdg']] as const) {
      await isVolume(volume, 'available')
      await ec2('State', 'attach-volume', '--volume-id', volume, '--instance-id', id, '--device', device)
      await isAttached(volume)
      const guest = await deviceOf(id, volume)
      await cloud.ssh(id, `mke2fs ${guest} >/dev/null 2>&1 && mkdir -p /mnt/${volume} && mount ${guest} /mnt/${volume} && echo 'on ${volume}' >/mnt/${volume}/mark; sync`)
    }
    await cloud.ssh(id, 'echo "on its root" >/root/mark; sync')
    const allocation = await ec2('AllocationId', 'allocate-address')
    await ec2('AssociationId', 'associate-address', '--allocation-id', allocation, '--instance-id', id)
  })
  afterAll(() => cloud.close())

  test('the holders are on a host each', () => {
    expect(holders.map((each) => hostOf(each.id)).toSorted()).toEqual([`${nodeId}-a1`, `${nodeId}-a2`])
  })

  test('an instance starts on the other host with its disks, volumes, addresses, metadata and console', async () => {
    const addresses = await ofInstance('[PrivateIpAddress,PublicIpAddress,NetworkInterfaces[0].MacAddress]')
    await stop()
    const from = await leaveHost()
    await start()
    await cloud.isUp(id)
    await hasLeft(from)
    expect(await ofInstance('[PrivateIpAddress,PublicIpAddress,NetworkInterfaces[0].MacAddress]')).toBe(addresses)
    expect([await cloud.ssh(id, 'cat /root/mark'), await readMark(id, plain), await readMark(id, secret)])
      .toEqual(['on its root', `on ${plain}`, `on ${secret}`])
    expect([await metadata('placement/group-name'), await metadata('instance-id'), await metadata('local-ipv4')])
      .toEqual([holderOn(from).group, id, addresses.split(/\s+/)[0]])
    await cloud.ssh(id, 'echo "words of its new host" >/dev/ttyS0')
    await cloud.until('its console', 30_000, async () =>
      (await ec2('Output', 'get-console-output', '--latest', '--instance-id', id)).includes('words of its new host'))
    await cloud.until('its screen', 30_000, async () =>
      (await ec2('ImageData', 'get-console-screenshot', '--instance-id', id)).length > 100)
  })

  test('it can be sat at over the serial console of its new host, and let in by a pushed key', async () => {
    const file = path.join(cloud.home, 'pushed')
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file])
    const key = ['--instance-id', id, '--ssh-public-key', `file://${file}.pub`]
    expect(await cloud.aws('ec2-instance-connect', 'send-ssh-public-key', '--instance-os-user', 'root', ...key)).toMatchObject({ code: 0 })
    expect(await cloud.hearth('ssh', '-i', file, id, '--', 'hostname')).toMatchObject({ code: 0 })
    await ec2('SerialConsoleAccessEnabled', 'enable-serial-console-access')
    expect(await cloud.aws('ec2-instance-connect', 'send-serial-console-ssh-public-key', '--serial-port', '0', ...key)).toMatchObject({ code: 0 })
    const console = await cloud.run('bash', ['-c', `(sleep 3; printf '\\r'; sleep 1; printf 'echo sum=$((40+2))\\r'; sleep 3; printf '\\r~.') | ssh -tt -i ${file}
      -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p ${cloud.port + 1} ${id}.port0@127.0.0.1`.replaceAll('\n', ' ')])
    expect(console.stdout).toContain('sum=42')
  })

  test('what happens to its machine there is noticed there: a reboot, and an end from inside', async () => {
    const bootId = await cloud.bootId(id)
    await ec2('Return', 'reboot-instances', '--instance-ids', id)
    await cloud.isRebooted(id, bootId)
    await cloud.hearth('ssh', id, '--', 'poweroff')
    await cloud.areInState('stopped', id)
    expect(await ofInstance('StateReason.Code')).toBe('Client.InstanceInitiatedShutdown')
    await start()
    await cloud.isUp(id)
  })

  test('a hibernated one goes on there, with what was in its memory, and its volumes mounted', async () => {
    const bootId = await cloud.bootId(id)
    await readMark(id, secret)
    await cloud.ssh(id, 'mount | grep -q " /tmp type tmpfs" || mount -t tmpfs tmpfs /tmp; echo remembered >/tmp/mind')
    await stop('--hibernate')
    expect(memoryFiles()).toHaveLength(1)
    const from = await leaveHost()
    await start()
    await cloud.isUp(id)
    await hasLeft(from)
    expect(await cloud.bootId(id)).toBe(bootId)
    expect(await cloud.ssh(id, `cat /tmp/mind /mnt/${secret}/mark`)).toBe(`remembered\non ${secret}`)
    expect(memoryFiles()).toEqual([])
  })

  test.each(LOAD_POINTS)('hibernated, its zone killed at %s: it goes on there all the same', async (point) => {
    const bootId = await cloud.bootId(id)
    await stop('--hibernate')
    const from = await leaveHost()
    const pid = await cloud.crashAt(cloud.zone, point)
    await start()
    await cloud.isUp(id)
    expect(await cloud.pidOf(cloud.zone)).not.toBe(pid)
    await hasLeft(from)
    expect([await cloud.bootId(id), memoryFiles()]).toEqual([bootId, []])
  })

  test.each([...ZONE_POINTS.map((point) => ['its zone', point] as const), ['the node', NODE_POINT] as const])('%s killed at %s: it starts there once', async (which, point) => {
    await stop('--skip-os-shutdown')
    const from = await leaveHost()
    const name = which === 'the node' ? 'agent' : cloud.zone
    const pid = await cloud.crashAt(name, point)
    await start()
    await cloud.isUp(id)
    expect(await cloud.pidOf(name)).not.toBe(pid)
    await hasLeft(from)
    expect(await cloud.ssh(id, 'cat /root/mark')).toBe('on its root')
  })

  test('its zone loses its power before it has left: healed, it starts on the other host', async () => {
    await stop('--skip-os-shutdown')
    const from = await leaveHost()
    const agent = await cloud.pidOf(cloud.zone)
    process.kill(agent, 'SIGSTOP')
    await start()
    expect(await cloud.hearth('zone', 'fail', cloud.zone, '--no-wait')).toMatchObject({ code: 0 })
    process.kill(agent, 'SIGCONT')
    expect(await cloud.hearth('zone', 'fail', cloud.zone)).toMatchObject({ code: 0 })
    expect(cloud.machines()).toEqual([])
    expect(await cloud.hearth('zone', 'heal', cloud.zone)).toMatchObject({ code: 0 })
    for (const each of [id, ...holders.map((holder) => holder.id)]) await cloud.isUp(each)
    await hasLeft(from)
  })

  test('its volumes go to an instance of the other host, are frozen there and baked, come back, and can be deleted', async () => {
    const other = holderBeside(hostOf())
    expect([await readMark(id, plain), await readMark(id, secret)]).toEqual([`on ${plain}`, `on ${secret}`])
    for (const volume of [plain, secret]) {
      await cloud.ssh(id, `umount /mnt/${volume}`)
      await ec2('State', 'detach-volume', '--volume-id', volume)
      await isVolume(volume, 'available')
      await ec2('State', 'attach-volume', '--volume-id', volume, '--instance-id', other.id, '--device', volume === plain ? '/dev/sdf' : '/dev/sdg')
      await isAttached(volume)
      expect(await readMark(other.id, volume)).toBe(`on ${volume}`)
    }
    await cloud.ssh(other.id, `echo frozen >/mnt/${plain}/mark; echo frozen >/mnt/${secret}/mark; sync`)
    const snapshots = (await ec2('Snapshots[].SnapshotId', 'create-snapshots', '--instance-specification', `InstanceId=${other.id}`)).split(/\s+/)
    expect(snapshots).toHaveLength(3)
    const image = await ec2('ImageId', 'create-image', '--no-reboot', '--instance-id', other.id, '--name', 'with volumes')
    await cloud.ssh(other.id, `echo after >/mnt/${plain}/mark; sync`)
    for (const snapshot of snapshots) {
      await cloud.until(`${snapshot} to be complete`, 60_000, async () => (await ec2('Snapshots[0].State', 'describe-snapshots', '--snapshot-ids', snapshot)) === 'completed')
    }
    await cloud.until('the image', 60_000, async () => (await ec2('Images[0].State', 'describe-images', '--image-ids', image)) === 'available')
    await ec2('VolumeModification.ModificationState', 'modify-volume', '--volume-id', secret, '--size', '2')
    await cloud.until('it to grow', 30_000, async () =>
      (await cloud.ssh(other.id, `cat /sys/block/$(basename ${await deviceOf(other.id, secret)})/size`)) === String(2 * 2 ** 21))
    // A copy of it boots with what they held, on whichever host.
    const copy = await cloud.launch('--image-id', image)
    await cloud.isUp(copy)
    expect((await cloud.ssh(copy, 'for each in /dev/vd[b-z]; do mkdir -p /mnt/x; mount $each /mnt/x && cat /mnt/x/mark && umount /mnt/x; done')).split('\n'))
      .toEqual(['frozen', 'frozen'])
    const ofCopy = (await ec2('Reservations[0].Instances[0].BlockDeviceMappings[].Ebs.VolumeId', 'describe-instances', '--instance-ids', copy)).split(/\s+/)
    await ec2('TerminatingInstances', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', copy)
    await cloud.areInState('terminated', copy)
    for (const volume of [plain, secret]) {
      await cloud.ssh(other.id, `umount /mnt/${volume}`)
      await ec2('State', 'detach-volume', '--volume-id', volume)
      await isVolume(volume, 'available')
      await ec2('State', 'attach-volume', '--volume-id', volume, '--instance-id', id, '--device', volume === plain ? '/dev/sdf' : '/dev/sdg')
      await isAttached(volume)
    }
    expect([await readMark(id, plain), await readMark(id, secret)]).toEqual(['after', 'frozen'])
    expect(ofCopy).toHaveLength(3)
  })

  test('fewer hosts, and more, change nothing for guests that run, nor what is reserved', async () => {
    const host = await ec2('HostIds[0]', 'allocate-hosts', '--availability-zone', cloud.zone, '--instance-family', 'm5', '--quantity', '1')
    const reservation = await ec2('CapacityReservation.CapacityReservationId', 'create-capacity-reservation', '--availability-zone', cloud.zone,
      '--instance-type', 't3.nano', '--instance-platform', 'Linux/UNIX', '--instance-count', '3', '--instance-match-criteria', 'targeted')
    const guests = [id, ...holders.map((each) => each.id)]
    const pids = guests.map((each) => cloud.machines(each))
    const boots = await Promise.all(guests.map((each) => cloud.bootId(each)))
    const shown = () => Promise.all([
      ec2('Hosts[0].[HostId,State]', 'describe-hosts', '--host-ids', host),
      ec2('CapacityReservations[0].[State,TotalInstanceCount,AvailableInstanceCount]', 'describe-capacity-reservations', '--capacity-reservation-ids', reservation),
    ])
    const before = await shown()
    for (const count of ['1', '3']) {
      await cloud.endUp()
      await cloud.upWith({ ...ENVIRONMENT, HEARTH_HOSTS_PER_ZONE: count }, '--no-first-instance')
      await settled()
      expect(guests.map((each) => cloud.machines(each))).toEqual(pids)
      expect(await Promise.all(guests.map((each) => cloud.bootId(each)))).toEqual(boots)
      expect(new Set(guests.map((each) => hostOf(each)))).toEqual(new Set([`${nodeId}-a1`]))
      expect(await shown()).toEqual(before)
      expect(await problems()).toEqual([])
      const bootId = await cloud.bootId(id)
      await ec2('Return', 'reboot-instances', '--instance-ids', id)
      await cloud.isRebooted(id, bootId)
      pids[0] = cloud.machines(id)
      boots[0] = await cloud.bootId(id)
    }
    // Its two neighbours have their groups' members on one host now, and it may go to either of the new ones.
    await stop('--skip-os-shutdown')
    const from = await leaveHost()
    await start()
    await cloud.isUp(id)
    await hasLeft(from)
    expect([await readMark(id, plain), await readMark(id, secret)]).toEqual(['after', 'frozen'])
    expect(await ec2('Successful', 'release-hosts', '--host-ids', host)).toBe(host)
    await ec2('Return', 'cancel-capacity-reservation', '--capacity-reservation-id', reservation)
  })

  test('fewer hosts while guests are down and hibernated: they start on the one that is left', async () => {
    const bootId = await cloud.bootId(id)
    await stop('--hibernate')
    await ec2('StoppingInstances', 'stop-instances', '--skip-os-shutdown', '--instance-ids', ...holders.map((each) => each.id))
    await cloud.areInState('stopped', ...holders.map((each) => each.id))
    await cloud.endUp()
    await cloud.upWith({ ...ENVIRONMENT, HEARTH_HOSTS_PER_ZONE: '1' }, '--no-first-instance')
    await start()
    await cloud.isUp(id)
    expect([hostOf(), await cloud.bootId(id)]).toEqual([`${nodeId}-a1`, bootId])
    // Its group has room for one on one host.
    const sameGroup = holders.find((each) => each.group === 'left')?.id ?? ''
    await ec2('Return', 'modify-instance-placement', '--instance-id', sameGroup, '--group-name', await ofInstance('Placement.GroupName'))
    const refused = await cloud.aws('ec2', 'start-instances', '--instance-ids', sameGroup)
    expect(refused.stderr).toContain('InsufficientInstanceCapacity')
    expect(rows('select host_id from hosts order by host_id')).toEqual([{ host_id: nodeId }, { host_id: `${nodeId}-a1` }])
  })

  test('nothing of them is left', async () => {
    const all = [id, ...holders.map((each) => each.id)]
    await ec2('TerminatingInstances', 'terminate-instances', '--skip-os-shutdown', '--instance-ids', ...all)
    await cloud.areInState('terminated', ...all)
    const image = await ec2('Images[?Name==`with volumes`].ImageId', 'describe-images', '--owners', 'self')
    await ec2('Return', 'deregister-image', '--image-id', image)
    for (const snapshot of (await ec2('Snapshots[].SnapshotId', 'describe-snapshots', '--owner-ids', 'self', '--filters', 'Name=volume-size,Values=1,2')).split(/\s+/)) {
      await ec2('Return', 'delete-snapshot', '--snapshot-id', snapshot)
    }
    const volumes = (await ec2('Volumes[].VolumeId', 'describe-volumes')).split(/\s+/)
    for (const volume of volumes) {
      await isVolume(volume, 'available')
      await ec2('Return', 'delete-volume', '--volume-id', volume)
    }
    await cloud.until('their files to go', 60_000, () =>
      rows<{ layer_id: string }>("select layer_id from layers where state <> 'sealed'").length === 0)
    const known = new Set(rows<{ layer_id: string }>('select layer_id from layers').map((row) => row.layer_id))
    const files = readdirSync(path.join(cloud.home, 'layers')).filter((name) => name.startsWith('lay-') && ![...known].some((layer) => name.startsWith(layer)))
    expect(files).toEqual([])
    expect(await problems()).toEqual([])
    expect((await cloud.hearth('down')).code).toBe(0)
    expect(cloud.leftovers()).toEqual([])
  })
})
