import {
  DeleteVolumeCommand, DescribeInstancesCommand, DescribeVolumesCommand, GetConsoleScreenshotCommand, RunInstancesCommand,
  StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand, type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { decode } from 'jpeg-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let imageId: string

beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

async function launch(input: Partial<RunInstancesCommandInput> = {}, client = cloud.ec2): Promise<string[]> {
  const reservation = await client.send(
    new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...input }))
  return (reservation.Instances ?? []).map((instance) => instance.InstanceId ?? '')
}

async function devicesOf(id: string): Promise<(string | undefined)[]> {
  const { Reservations: found } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  return (found?.[0]?.Instances?.[0]?.BlockDeviceMappings ?? []).map((each) => each.DeviceName)
}

const failure = (code: string) => expect.objectContaining({ name: code })

describe('an instance with data volumes', () => {
  test('has them over stop and start; at the end one goes and one stays, until it is deleted', async () => {
    const [id = ''] = await launch({
      BlockDeviceMappings: [
        { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 2, DeleteOnTermination: false } },
        { DeviceName: '/dev/sdb', Ebs: { VolumeSize: 3, VolumeType: 'gp3' } },
      ],
    })
    expect(await devicesOf(id)).toEqual(['/dev/xvda', '/dev/sdb', '/dev/sdf'])
    const machine = () => cloud.host.world.machines.get(id)
    const disks = machine()?.spec.disks
    expect(disks?.map((each) => each.deviceName)).toEqual(['/dev/xvda', '/dev/sdb', '/dev/sdf'])
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect(machine()?.boots).toBe(2)
    expect(machine()?.spec.disks).toEqual(disks)

    const [, going = '', staying = ''] = disks?.map((each) => each.volumeId) ?? []
    const states = async () => {
      const { Volumes: found } = await cloud.ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'volume-id', Values: [going, staying] }] }))
      return found?.map((each) => [each.VolumeId, each.State, each.Attachments?.length])
    }
    expect((await states())?.map((each) => each[1])).toEqual(['in-use', 'in-use'])
    await expect(cloud.ec2.send(new DeleteVolumeCommand({ VolumeId: staying }))).rejects.toEqual(failure('VolumeInUse'))
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    expect(await states()).toEqual([[staying, 'available', 0]])
    await cloud.ec2.send(new DeleteVolumeCommand({ VolumeId: staying }))
    expect(await states()).toEqual([])
    // Only the image's own disk is left.
    expect(cloud.host.world.layers.size).toBe(1)
  })
})

describe('a client token', () => {
  test('from eight connections at once launches once', async () => {
    const clients = Array.from({ length: 8 }, () => cloud.client())
    const answers = await Promise.all(clients.map((client) => launch({ ClientToken: 'from-eight', MaxCount: 2 }, client)))
    for (const client of clients) client.destroy()
    expect(answers[0]).toHaveLength(2)
    for (const answer of answers) expect(answer).toEqual(answers[0])
    const { Reservations: found } = await cloud.ec2.send(
      new DescribeInstancesCommand({ Filters: [{ Name: 'client-token', Values: ['from-eight'] }] }))
    expect(found).toHaveLength(1)
  })

  test('is not used up by a DryRun', async () => {
    const input = { ClientToken: 'dry' }
    await expect(launch({ ...input, DryRun: true, InstanceType: 't3.small' })).rejects.toEqual(failure('DryRunOperation'))
    const first = await launch(input)
    await expect(launch({ ...input, DryRun: true })).rejects.toEqual(failure('DryRunOperation'))
    expect(await launch({ ...input, DryRun: false })).toEqual(first)
  })
})

describe('GetConsoleScreenshot', () => {
  test('is a JPEG of the screen, also after a key press', async () => {
    const [id = ''] = await launch()
    for (const WakeUp of [undefined, true]) {
      const result = await cloud.ec2.send(new GetConsoleScreenshotCommand({ InstanceId: id, WakeUp }))
      expect(result.InstanceId).toBe(id)
      expect(decode(Buffer.from(result.ImageData ?? '', 'base64'))).toMatchObject({ width: 720, height: 400 })
    }
  })

  test('needs an instance that runs', async () => {
    const [id = ''] = await launch()
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    const shoot = (InstanceId: string) => cloud.ec2.send(new GetConsoleScreenshotCommand({ InstanceId }))
    await expect(shoot(id)).rejects.toEqual(failure('IncorrectInstanceState'))
    await expect(shoot('i-00000000000000000')).rejects.toEqual(failure('InvalidInstanceID.NotFound'))
    await expect(shoot('screen')).rejects.toEqual(failure('InvalidInstanceID.Malformed'))
  })
})
