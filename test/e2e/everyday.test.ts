import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { decode } from 'jpeg-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RealCloud, whyNotReal } from './real-cloud.ts'

interface Launched {
  ReservationId: string
  Instances: { InstanceId: string }[]
}

interface Described {
  Volumes: { VolumeId: string; State: string; Size: number; Attachments: { Device: string }[]; Tags?: { Key: string; Value: string }[] }[]
}

describe.skipIf(whyNotReal !== undefined)(`everyday use with real guests${whyNotReal ? ` (skipped: ${whyNotReal})` : ''}`, () => {
  const cloud = new RealCloud('everyday')
  let first: Launched
  let launchArgs: string[]
  let id: string

  beforeAll(async () => {
    await cloud.prepare()
    const { imageId, keyName } = await cloud.upForLaunches()
    await cloud.awsJson('ec2', 'create-security-group', '--group-name', 'ssh', '--description', 'ssh')
    await cloud.awsJson('ec2', 'authorize-security-group-ingress', '--group-name', 'ssh', '--protocol', 'tcp', '--port', '22', '--cidr', '0.0.0.0/0')
    const mappings = path.join(cloud.home, 'mappings.json')
    writeFileSync(mappings, JSON.stringify([
      { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 1, DeleteOnTermination: false } },
      { DeviceName: '/dev/sdc', Ebs: { VolumeSize: 2, VolumeType: 'gp3' } },
    ]))
    launchArgs = [
      'ec2', 'run-instances', '--image-id', imageId, '--instance-type', 't3.micro', '--client-token', 'everyday',
      '--key-name', keyName, '--security-groups', 'ssh', '--block-device-mappings', `file://${mappings}`,
      '--tag-specifications',
      ...['instance', 'volume', 'network-interface'].map((type) => `ResourceType=${type},Tags=[{Key=of,Value=${type}}]`),
    ]
    first = await cloud.awsJson(...launchArgs) as unknown as Launched
    id = first.Instances[0]?.InstanceId ?? ''
    await cloud.isUp(id)
  })
  afterAll(() => cloud.close())

  const volumes = async (...filter: string[]) =>
    ((await cloud.awsJson('ec2', 'describe-volumes', ...filter)) as unknown as Described).Volumes
  const attached = () => volumes('--filters', `Name=attachment.instance-id,Values=${id}`)

  /** What the guest sees: serial number, and size in sectors. */
  const disks = async () => {
    const text = await cloud.ssh(id, 'for d in /sys/block/vd*; do echo "$(basename $d) $(cat $d/serial) $(cat $d/size)"; done')
    return text.split('\n').map((line) => line.split(' '))
  }

  test('the guest has its volumes as disks, told apart by their serial numbers', async () => {
    const byDevice = new Map((await attached()).map((each) => [each.Attachments[0]?.Device, each]))
    const expected = ['/dev/xvda', '/dev/sdb', '/dev/sdc'].map((device, index) => {
      const volume = byDevice.get(device)
      return [`vd${'abc'[index]}`, volume?.VolumeId.replace('-', ''), String((volume?.Size ?? 0) * 2 ** 21)]
    })
    expect(await disks()).toEqual(expected)
  })

  test('the metadata service lists them', async () => {
    const get = (name: string) => cloud.ssh(id, `wget -q -O - http://169.254.169.254/latest/meta-data/block-device-mapping/${name}`)
    expect((await get('')).split('\n').toSorted()).toEqual(['ami', 'ebs1', 'ebs2', 'root'])
    expect([await get('ebs1'), await get('ebs2')].toSorted()).toEqual(['sdb', 'sdc'])
  })

  test('what is written to them is there after stop and start', async () => {
    await cloud.ssh(id, 'for d in vdb vdc; do echo "written to $d" | dd of=/dev/$d conv=fsync 2>/dev/null; done')
    const before = await disks()
    await cloud.awsJson('ec2', 'stop-instances', '--instance-ids', id)
    await cloud.areInState('stopped', id)
    await cloud.awsJson('ec2', 'start-instances', '--instance-ids', id)
    await cloud.isUp(id)
    expect(await disks()).toEqual(before)
    expect(await cloud.ssh(id, 'head -qn1 /dev/vdb /dev/vdc')).toBe('written to vdb\nwritten to vdc')
  })

  test('the launch repeated with its token is the same launch, and every resource has its tags', async () => {
    const again = await cloud.awsJson(...launchArgs) as unknown as Launched
    expect(again.ReservationId).toBe(first.ReservationId)
    expect(again.Instances.map((each) => each.InstanceId)).toEqual([id])
    expect(cloud.machines()).toHaveLength(1)
    const tags = (await cloud.awsJson('ec2', 'describe-tags', '--filters', 'Name=key,Values=of')) as unknown as
      { Tags: { ResourceType: string; Value: string }[] }
    expect(tags.Tags.map((each) => `${each.ResourceType} ${each.Value}`).toSorted()).toEqual([
      'instance instance', 'network-interface network-interface', 'volume volume', 'volume volume', 'volume volume',
    ])
  })

  test('a screenshot is a JPEG of the screen that the guest draws', async () => {
    const shoot = async (...args: string[]) => {
      const answer = await cloud.awsJson('ec2', 'get-console-screenshot', '--instance-id', id, ...args)
      return decode(Buffer.from((answer as unknown as { ImageData: string }).ImageData, 'base64'))
    }
    const picture = await shoot('--wake-up')
    expect(picture.width).toBeGreaterThanOrEqual(640)
    expect(picture.height).toBeGreaterThanOrEqual(350)
    // The firmware's and the boot loader's text is light on black: neither all of one nor of the other.
    const light = picture.data.filter((value, index) => index % 4 === 0 && value > 96).length / (picture.data.length / 4)
    expect(light).toBeGreaterThan(0.0005)
    expect(light).toBeLessThan(0.5)
    expect((await shoot()).width).toBe(picture.width)
  })

  test('at the end one volume goes and one stays, until it is deleted', async () => {
    const [kept] = (await attached()).filter((each) => each.Attachments[0]?.Device === '/dev/sdb')
    await cloud.awsJson('ec2', 'terminate-instances', '--instance-ids', id)
    await cloud.areInState('terminated', id)
    await cloud.until('the other volumes to be gone', 30_000, async () => (await volumes()).length === 1)
    expect(await volumes()).toMatchObject([{ VolumeId: kept?.VolumeId, State: 'available', Attachments: [] }])
    const repeated = await cloud.aws(...launchArgs)
    expect(repeated.stderr).toContain('IdempotentInstanceTerminated')
    await cloud.awsJson('ec2', 'delete-volume', '--volume-id', kept?.VolumeId ?? '')
    await cloud.until('the kept volume to be gone', 30_000, async () => (await volumes()).length === 0)
  })
})
