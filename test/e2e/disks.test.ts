import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

/** Written into a guest's file; on an encrypted disk it must not be found. */
const MARK = 'a sentence that nobody else may read, 4711'

describe.skipIf(whyNotReal !== undefined)(`disks of real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('disks')
  let zone: string
  /** The machine that images are baked from; its data volume; the image. */
  let id: string
  let volume: string
  let snapshot: string
  let image: string

  const ec2 = (query: string, ...words: string[]) => cloud.ec2(query, ...words)
  const until = (what: string, check: () => Promise<boolean>) => cloud.until(what, 60_000, check)
  const isVolume = (volumeId: string, state: string) =>
    until(`${volumeId} to be ${state}`, async () => (await ec2('Volumes[0].State', 'describe-volumes', '--volume-ids', volumeId)) === state)
  const isAttached = (volumeId: string) => until(`${volumeId} to be attached`, async () =>
    (await ec2('Volumes[0].Attachments[0].State', 'describe-volumes', '--volume-ids', volumeId)) === 'attached')
  const isComplete = (snapshotId: string) => until(`${snapshotId} to be complete`, async () =>
    (await ec2('Snapshots[0].State', 'describe-snapshots', '--snapshot-ids', snapshotId)) === 'completed')
  const isAvailable = (imageId: string) => until(`${imageId} to be available`, async () =>
    (await ec2('Images[0].State', 'describe-images', '--image-ids', imageId)) === 'available')

  const launch = (imageId: string, ...words: string[]) => cloud.launch('--image-id', imageId, ...words)
  /** The guest's device with that volume's serial number; '' when there is none. */
  const deviceOf = (instanceId: string, volumeId: string) => cloud.ssh(
    instanceId, `for each in /sys/block/vd*; do grep -qs ${volumeId.replace('-', '')} $each/serial && echo /dev/\${each##*/}; done; true`)
  const files = () => ['volumes', 'layers'].flatMap((folder) => readdirSync(path.join(cloud.home, folder)).map((name) => `${folder}/${name}`))
  /** How many of the home's disk files hold the text. */
  const filesWith = (text: string) => files().filter((name) => {
    try {
      execFileSync('grep', ['-qaF', text, path.join(cloud.home, name)])
      return true
    } catch {
      return false
    }
  })

  beforeAll(async () => {
    await cloud.prepare()
    zone = (await cloud.upForLaunches()).zone
    id = await cloud.launch()
    await cloud.isUp(id)
  })
  afterAll(() => cloud.close())

  test('a volume comes to a running guest, has its id as serial number, and grows under its eyes', async () => {
    volume = await ec2('VolumeId', 'create-volume', '--availability-zone', zone, '--size', '1', '--volume-type', 'gp3')
    await isVolume(volume, 'available')
    await ec2('State', 'attach-volume', '--volume-id', volume, '--instance-id', id, '--device', '/dev/sdf')
    await isAttached(volume)
    const device = await deviceOf(id, volume)
    expect(device).toMatch(/^\/dev\/vd[b-z]$/)
    await cloud.ssh(id, `mke2fs ${device} >/dev/null 2>&1 && mkdir -p /data && mount ${device} /data && echo '${MARK}' >/data/mark; sync`)
    await ec2('VolumeModification.TargetSize', 'modify-volume', '--volume-id', volume, '--size', '2')
    await until('the guest to see it', async () => (await cloud.ssh(id, `cat /sys/block/${device.slice(5)}/size`)) === String(2 * 2 ** 21))
    expect(await ec2('Volumes[0].Size', 'describe-volumes', '--volume-ids', volume)).toBe('2')
  })

  test('a snapshot of it, taken while it is written, holds all that was synced before', async () => {
    await cloud.ssh(id, 'dd if=/dev/urandom of=/data/random bs=64k count=32 2>/dev/null; sync; (while :; do date >>/data/log; done) >/dev/null 2>&1 &')
    const sum = await cloud.ssh(id, 'md5sum </data/random')
    snapshot = await ec2('SnapshotId', 'create-snapshot', '--volume-id', volume, '--description', 'under write')
    await isComplete(snapshot)
    const copy = await ec2(
      'VolumeId', 'create-volume', '--availability-zone', zone, '--snapshot-id', snapshot, '--volume-type', 'gp3', '--encrypted')
    await isVolume(copy, 'available')
    await ec2('State', 'attach-volume', '--volume-id', copy, '--instance-id', id, '--device', '/dev/sdg')
    await isAttached(copy)
    const device = await deviceOf(id, copy)
    expect(await cloud.ssh(id, `mkdir -p /copy; mount ${device} /copy; md5sum </copy/random; cat /copy/mark`)).toBe(`${sum}\n${MARK}`)
    // What goes into the copy is encrypted, unlike what went into the first.
    await cloud.ssh(id, 'echo "secret of the encrypted one 0815" >/copy/secret; sync; umount /copy')
    await ec2('State', 'detach-volume', '--volume-id', copy)
    await isVolume(copy, 'available')
    expect(await deviceOf(id, copy)).toBe('')
    expect(filesWith('secret of the encrypted one 0815')).toEqual([])
    expect(filesWith(MARK)).not.toEqual([])
    await ec2('Return', 'delete-volume', '--volume-id', copy)
  })

  test('an image is baked of the running guest without a reboot, and two copies of it have lives of their own', async () => {
    await cloud.ssh(id, 'echo baked >/root/software; sync')
    const uptime = await cloud.uptime(id)
    image = await ec2('ImageId', 'create-image', '--instance-id', id, '--name', 'baked', '--no-reboot')
    await isAvailable(image)
    expect(await cloud.uptime(id)).toBeGreaterThan(uptime)
    const userData = '#!/bin/sh\necho "user-data of $(hostname)" >/root/told\n'
    const copies = [await launch(image, '--user-data', userData), await launch(image, '--user-data', userData)]
    for (const copy of copies) await cloud.isUp(copy)
    const facts = await Promise.all(copies.map(async (copy) => {
      await until('its user-data to run', async () => (await cloud.ssh(copy, 'cat /root/told 2>/dev/null; true')) !== '')
      return cloud.ssh(copy, 'cat /root/software; hostname; cat /root/told; md5sum </etc/dropbear/dropbear_ed25519_host_key; cat /etc/machine-id')
    }))
    const [first, second] = facts.map((each) => each.split('\n'))
    expect([first?.[0], second?.[0]]).toEqual(['baked', 'baked'])
    for (const index of [1, 2, 3, 4]) expect(first?.[index]).not.toBe(second?.[index])
    expect(first?.[2]).toBe(`user-data of ${first?.[1]}`)
    // The data volume was baked along with the root.
    expect(await cloud.ssh(copies[0] ?? '', 'mkdir -p /data; mount /dev/vdb /data; cat /data/mark')).toBe(MARK)
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', ...copies)
  }, 300_000)

  test('with a reboot the guest goes down for it, and an instance of that image may have its root encrypted', async () => {
    const bootId = await cloud.bootId(id)
    const rebooted = await ec2('ImageId', 'create-image', '--instance-id', id, '--name', 'baked with a reboot')
    await isAvailable(rebooted)
    await cloud.isRebooted(id, bootId)
    const root = await ec2('Images[0].RootDeviceName', 'describe-images', '--image-ids', rebooted)
    const secret = await launch(rebooted, '--block-device-mappings', `DeviceName=${root},Ebs={Encrypted=true}`)
    await cloud.isUp(secret)
    await cloud.ssh(secret, 'echo "of the encrypted root 2718" >/root/secret; sync; cat /root/software')
    expect(filesWith('of the encrypted root 2718')).toEqual([])
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', secret)
    await ec2('Return', 'deregister-image', '--image-id', rebooted, '--delete-associated-snapshots')
  }, 300_000)

  test('everything killed in the middle of a snapshot: what was synced is there, the snapshot completes', async () => {
    for (const point of ['hypervisor.switchDisks:before', 'hypervisor.switchDisks:after']) {
      const mark = `synced before ${point}`
      await cloud.ssh(id, `mount | grep -q /data || mount /dev/vdb /data; echo '${mark}' >/data/last; sync`)
      const died = await cloud.crashAt(zone, point)
      const taken = ec2('SnapshotId', 'create-snapshot', '--volume-id', volume)
      await cloud.isReplaced(zone, died)
      for (const pid of cloud.machines(id)) process.kill(pid, 'SIGKILL')
      const snapshotId = await taken
      await isComplete(snapshotId)
      await until('it to be stopped', async () =>
        (await ec2('Reservations[0].Instances[0].State.Name', 'describe-instances', '--instance-ids', id)) === 'stopped')
      await ec2('StartingInstances[].InstanceId', 'start-instances', '--instance-ids', id)
      await cloud.isUp(id)
      expect(await cloud.ssh(id, 'mount /dev/vdb /data; cat /data/last')).toBe(mark)
      await ec2('Return', 'delete-snapshot', '--snapshot-id', snapshotId)
    }
  }, 300_000)

  test('what nobody needs any more goes, in whatever order it is deleted', async () => {
    await ec2('Return', 'delete-snapshot', '--snapshot-id', snapshot)
    await ec2('Return', 'deregister-image', '--image-id', image, '--delete-associated-snapshots')
    await ec2('TerminatingInstances[].InstanceId', 'terminate-instances', '--instance-ids', id)
    // The copies of the baked machine had data volumes as it has, which are not deleted with their instance either.
    await until('all volumes to be free', async () => (await ec2('Volumes[?State!=`available`].VolumeId', 'describe-volumes')) === '')
    for (const each of (await ec2('Volumes[].VolumeId', 'describe-volumes')).split(/\s+/)) await ec2('Return', 'delete-volume', '--volume-id', each)
    // Only the disk of the image that Hearth built is left.
    await until('the files to go', async () => files().length === 1)
  })
})
