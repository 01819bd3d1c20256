import {
  AttachVolumeCommand, CreateTagsCommand, CreateVolumeCommand, DeleteVolumeCommand, DescribeInstancesCommand,
  DescribeVolumesCommand, DescribeVolumesModificationsCommand, DescribeVolumeStatusCommand, DetachVolumeCommand,
  DisableEbsEncryptionByDefaultCommand, EnableEbsEncryptionByDefaultCommand, ModifyInstanceAttributeCommand,
  ModifyVolumeCommand, RunInstancesCommand, StopInstancesCommand, TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let instanceId: string
let zone: string

beforeAll(async () => {
  cloud = await startTestCloud()
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
    BlockDeviceMappings: [{ DeviceName: '/dev/sdb', Ebs: { VolumeSize: 2, Encrypted: true, DeleteOnTermination: false } }],
  }))
  instanceId = Instances?.[0]?.InstanceId ?? ''
  zone = Instances?.[0]?.Placement?.AvailabilityZone ?? ''
})
afterAll(() => cloud.close())

const volume = async (id: string | undefined) =>
  (await cloud.ec2.send(new DescribeVolumesCommand({ VolumeIds: [id ?? ''] }))).Volumes?.[0]
const until = (what: string, condition: () => Promise<boolean>) => waitFor(systemClock, what, 10_000, condition)
const create = async (input: Partial<ConstructorParameters<typeof CreateVolumeCommand>[0]> = {}) => {
  const { VolumeId } = await cloud.ec2.send(new CreateVolumeCommand({ AvailabilityZone: zone, Size: 1, ...input }))
  await until('the volume to be available', async () => (await volume(VolumeId))?.State === 'available')
  return VolumeId ?? ''
}
const devices = async () => {
  const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }))
  return Reservations?.[0]?.Instances?.[0]?.BlockDeviceMappings?.map((each) => each.DeviceName)
}

test('a volume is made, attached to a running instance, grown, detached and deleted', async () => {
  const id = await create({ VolumeType: 'gp3' })
  await cloud.ec2.send(new AttachVolumeCommand({ VolumeId: id, InstanceId: instanceId, Device: '/dev/sdf' }))
  await until('the volume to be attached', async () => (await volume(id))?.Attachments?.[0]?.State === 'attached')
  expect(await volume(id)).toMatchObject({ State: 'in-use', Attachments: [{ InstanceId: instanceId, DeleteOnTermination: false }] })
  expect(await devices()).toContain('/dev/sdf')

  await cloud.ec2.send(new ModifyVolumeCommand({ VolumeId: id, Size: 5, Iops: 2500 + 500 }))
  const modification = async () =>
    (await cloud.ec2.send(new DescribeVolumesModificationsCommand({ VolumeIds: [id] }))).VolumesModifications?.[0]
  await until('the modification to be complete', async () => (await modification())?.ModificationState === 'completed')
  expect(await modification()).toMatchObject({ OriginalSize: 1, TargetSize: 5, Progress: 100 })
  expect((await volume(id))?.Size).toBe(5)

  await cloud.ec2.send(new DetachVolumeCommand({ VolumeId: id }))
  await until('the volume to be free', async () => (await volume(id))?.State === 'available')
  expect(await devices()).not.toContain('/dev/sdf')
  await cloud.ec2.send(new DeleteVolumeCommand({ VolumeId: id }))
  await until('the volume to be gone', async () => {
    const { Volumes } = await cloud.ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'volume-id', Values: [id] }] }))
    return Volumes?.length === 0
  })
})

test('a free volume grows at rest', async () => {
  const id = await create()
  await cloud.ec2.send(new ModifyVolumeCommand({ VolumeId: id, Size: 3, VolumeType: 'gp3' }))
  await until('the modification to be complete', async () =>
    (await cloud.ec2.send(new DescribeVolumesModificationsCommand({
      Filters: [{ Name: 'volume-id', Values: [id] }, { Name: 'modification-state', Values: ['completed'] }],
    }))).VolumesModifications?.length === 1)
  expect(await volume(id)).toMatchObject({ Size: 3, VolumeType: 'gp3', Iops: 3000, Throughput: 125 })
})

test('where the account has it so, every new volume is encrypted', async () => {
  const plain = await create()
  await cloud.ec2.send(new EnableEbsEncryptionByDefaultCommand({}))
  const encrypted = await create()
  await cloud.ec2.send(new DisableEbsEncryptionByDefaultCommand({}))
  expect(await volume(plain)).toMatchObject({ Encrypted: false })
  expect(await volume(encrypted)).toMatchObject({ Encrypted: true, KmsKeyId: expect.stringMatching(/^arn:aws:kms:us-east-1:\d{12}:key\//) as string })
  const { VolumeStatuses } = await cloud.ec2.send(new DescribeVolumeStatusCommand({ VolumeIds: [encrypted] }))
  expect(VolumeStatuses?.[0]?.VolumeStatus?.Status).toBe('ok')
})

test('a launch has its encrypted volume; what is kept by DeleteOnTermination outlives the instance', async () => {
  const find = async (device: string) => (await cloud.ec2.send(new DescribeVolumesCommand({
    Filters: [{ Name: 'attachment.instance-id', Values: [instanceId] }, { Name: 'attachment.device', Values: [device] }],
  }))).Volumes?.[0]
  const data = await find('/dev/sdb')
  expect(data).toMatchObject({ Encrypted: true, Size: 2, Attachments: [{ DeleteOnTermination: false }] })
  const spare = await create()
  await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [instanceId] }))
  await cloud.ec2.send(new AttachVolumeCommand({ VolumeId: spare, InstanceId: instanceId, Device: '/dev/sdg' }))
  expect((await volume(spare))?.Attachments?.[0]?.State).toBe('attached')
  await cloud.ec2.send(new ModifyInstanceAttributeCommand({
    InstanceId: instanceId, BlockDeviceMappings: [{ DeviceName: '/dev/sdg', Ebs: { DeleteOnTermination: true } }],
  }))
  await cloud.ec2.send(new CreateTagsCommand({ Resources: [spare], Tags: [{ Key: 'Name', Value: 'spare' }] }))
  await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [instanceId] }))
  await until('the kept volume to be free', async () => (await volume(data?.VolumeId))?.State === 'available')
  const { Volumes } = await cloud.ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'tag:Name', Values: ['spare'] }] }))
  expect(Volumes).toEqual([])
})
