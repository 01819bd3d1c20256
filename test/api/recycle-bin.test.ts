import {
  CreateSnapshotCommand, CreateTagsCommand, CreateVolumeCommand, DeleteSnapshotCommand, DeleteVolumeCommand, DeregisterImageCommand,
  DescribeImagesCommand, DescribeSnapshotsCommand, DescribeTagsCommand, DescribeVolumesCommand, ListImagesInRecycleBinCommand,
  ListSnapshotsInRecycleBinCommand, ListVolumesInRecycleBinCommand, RegisterImageCommand, RestoreImageFromRecycleBinCommand,
  RestoreSnapshotFromRecycleBinCommand, RestoreVolumeFromRecycleBinCommand, type EC2Client,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemClock, type Clock } from '../../src/core/clock.ts'
import { DAY_MS } from '../../src/model/recycle-rules.ts'
import { sign } from '../../src/protocol/sigv4.ts'
import { enqueue } from '../../src/store/work.ts'
import { startTestCloud, TEST_KEY, type TestCloud } from '../support/cloud.ts'

/** The system's clock, days ahead. */
let aheadMs = 0
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }
const KEEP = [{ Key: 'keep', Value: 'yes' }]

let cloud: TestCloud
let ec2: EC2Client
beforeAll(async () => {
  cloud = await startTestCloud({ clock })
  ec2 = cloud.ec2
  // It would set its clock by the answers' Date header, which is the system's.
  Object.defineProperty(ec2.config, 'systemClockOffset', { get: () => aheadMs, set: () => {} })
})
afterAll(() => cloud.close())

/** A call of Recycle Bin, for which there is no client here. */
async function rbin(method: string, path: string, body?: object): Promise<{ status: number; error: string | null; answer: Record<string, unknown> }> {
  const text = body === undefined ? '' : JSON.stringify(body)
  const request = { method, url: path, headers: { host: new URL(cloud.endpoint).host }, body: Buffer.from(text) }
  const { host: _, ...headers } = sign(request, TEST_KEY, { region: 'us-east-1', service: 'rbin' }, clock.now())
  const answer = await fetch(`${cloud.endpoint}${path}`, {
    method, headers: headers as Record<string, string>, ...(text === '' ? {} : { body: text }),
  })
  const json = await answer.text()
  return {
    status: answer.status, error: answer.headers.get('x-amzn-errortype'),
    answer: json === '' ? {} : JSON.parse(json) as Record<string, unknown>,
  }
}

async function addRule(resourceType: string, days: number, change: object = {}): Promise<string> {
  const { status, answer } = await rbin('POST', '/rules', {
    ResourceType: resourceType, RetentionPeriod: { RetentionPeriodValue: days, RetentionPeriodUnit: 'DAYS' }, ...change,
  })
  expect(status).toBe(201)
  return String(answer.Identifier)
}

/** Days go by, and the bin is looked at. */
async function pass(days: number): Promise<void> {
  aheadMs += days * DAY_MS
  await cloud.store.transaction('test', (db) => enqueue(db, { kind: 'recycle', id: 'bin', hostId: 'h-sim' }, clock.now()))
  await cloud.settle()
}

const addVolume = async (tags: { Key: string; Value: string }[] = []) =>
  (await ec2.send(new CreateVolumeCommand({
    AvailabilityZone: 'us-east-1a', Size: 1, VolumeType: 'gp3',
    ...(tags.length === 0 ? {} : { TagSpecifications: [{ ResourceType: 'volume', Tags: tags }] }),
  }))).VolumeId ?? ''
const addSnapshot = async (volumeId: string, tags: { Key: string; Value: string }[] = []) =>
  (await ec2.send(new CreateSnapshotCommand({
    VolumeId: volumeId, Description: 'Friday',
    ...(tags.length === 0 ? {} : { TagSpecifications: [{ ResourceType: 'snapshot', Tags: tags }] }),
  }))).SnapshotId ?? ''
const binnedSnapshots = async () =>
  ((await ec2.send(new ListSnapshotsInRecycleBinCommand({}))).Snapshots ?? []).map((each) => each.SnapshotId)
const ownSnapshots = async () =>
  ((await ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots ?? []).map((each) => each.SnapshotId)

it('keeps a deleted snapshot for as long as the rule for its tag says', async () => {
  const ruleId = await addRule('EBS_SNAPSHOT', 3, { ResourceTags: [{ ResourceTagKey: 'keep', ResourceTagValue: 'yes' }] })
  const volumeId = await addVolume()
  const [kept, plain] = [await addSnapshot(volumeId, KEEP), await addSnapshot(volumeId)]
  for (const SnapshotId of [kept, plain]) await ec2.send(new DeleteSnapshotCommand({ SnapshotId }))

  expect(await ownSnapshots()).toEqual([])
  const { Snapshots: [info, ...others] = [] } = await ec2.send(new ListSnapshotsInRecycleBinCommand({}))
  expect(others).toEqual([])
  expect(info).toMatchObject({ SnapshotId: kept, VolumeId: volumeId, Description: 'Friday' })
  expect((info?.RecycleBinExitTime?.getTime() ?? 0) - (info?.RecycleBinEnterTime?.getTime() ?? 0)).toBe(3 * DAY_MS)
  await expect(ec2.send(new CreateVolumeCommand({ AvailabilityZone: 'us-east-1a', SnapshotId: kept })))
    .rejects.toMatchObject({ name: 'InvalidSnapshot.NotFound' })

  expect(await ec2.send(new RestoreSnapshotFromRecycleBinCommand({ SnapshotId: kept })))
    .toMatchObject({ SnapshotId: kept, State: 'completed', VolumeSize: 1 })
  expect([await ownSnapshots(), await binnedSnapshots()]).toEqual([[kept], []])

  await ec2.send(new DeleteSnapshotCommand({ SnapshotId: kept }))
  expect((await rbin('DELETE', `/rules/${ruleId}`)).status).toBe(204)
  await pass(2)
  expect(await binnedSnapshots()).toEqual([kept])
  await pass(1)
  expect(await binnedSnapshots()).toEqual([])
  await expect(ec2.send(new RestoreSnapshotFromRecycleBinCommand({ SnapshotId: kept })))
    .rejects.toMatchObject({ name: 'InvalidSnapshot.NotFound' })
  const left = await cloud.store.read((db) => db.selectFrom('tags').selectAll().where('resource_id', '=', kept).execute())
  expect(left).toEqual([])
})

it('keeps a deleted volume, whose tags can still be changed', async () => {
  const ruleId = await addRule('EBS_VOLUME', 7)
  const VolumeId = await addVolume(KEEP)
  await ec2.send(new DeleteVolumeCommand({ VolumeId }))
  expect((await ec2.send(new DescribeVolumesCommand({ Filters: [{ Name: 'volume-id', Values: [VolumeId] }] }))).Volumes).toEqual([])
  expect((await ec2.send(new ListVolumesInRecycleBinCommand({}))).Volumes).toMatchObject([{ VolumeId, Size: 1, State: 'available' }])
  await ec2.send(new CreateTagsCommand({ Resources: [VolumeId], Tags: [{ Key: 'why', Value: 'by mistake' }] }))
  expect((await ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-id', Values: [VolumeId] }] }))).Tags).toHaveLength(3)

  await ec2.send(new RestoreVolumeFromRecycleBinCommand({ VolumeId }))
  expect((await ec2.send(new DescribeVolumesCommand({ VolumeIds: [VolumeId] }))).Volumes).toMatchObject([{ State: 'available' }])
  await ec2.send(new DeleteVolumeCommand({ VolumeId }))
  await pass(7)
  expect((await ec2.send(new ListVolumesInRecycleBinCommand({}))).Volumes).toEqual([])
  expect(await cloud.store.read((db) => db.selectFrom('volumes').selectAll().where('volume_id', '=', VolumeId).execute())).toEqual([])
  await rbin('DELETE', `/rules/${ruleId}`)
})

it('keeps an image and its snapshots, which come back in that order', async () => {
  const rules = [await addRule('EC2_IMAGE', 2), await addRule('EBS_SNAPSHOT', 1)]
  const SnapshotId = await addSnapshot(await addVolume())
  const { ImageId = '' } = await ec2.send(new RegisterImageCommand({
    Name: 'baked', Architecture: 'x86_64', RootDeviceName: '/dev/xvda', VirtualizationType: 'hvm',
    BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId } }],
  }))
  const deregister = () => ec2.send(new DeregisterImageCommand({ ImageId, DeleteAssociatedSnapshots: true }))
  await deregister()
  expect((await ec2.send(new DescribeImagesCommand({ Owners: ['self'] }))).Images).toEqual([])
  expect((await ec2.send(new ListImagesInRecycleBinCommand({}))).Images).toMatchObject([{ ImageId, Name: 'baked' }])
  expect(await binnedSnapshots()).toEqual([SnapshotId])

  await expect(ec2.send(new RestoreImageFromRecycleBinCommand({ ImageId }))).rejects.toMatchObject({ name: 'IncorrectState' })
  await ec2.send(new RestoreSnapshotFromRecycleBinCommand({ SnapshotId }))
  await ec2.send(new RestoreImageFromRecycleBinCommand({ ImageId }))
  expect((await ec2.send(new DescribeImagesCommand({ ImageIds: [ImageId] }))).Images).toMatchObject([{ State: 'available' }])

  await deregister()
  // The snapshot's time is over first, and it stays for the image.
  await pass(1)
  expect(await binnedSnapshots()).toEqual([SnapshotId])
  await pass(1)
  expect((await ec2.send(new ListImagesInRecycleBinCommand({}))).Images).toEqual([])
  expect(await binnedSnapshots()).toEqual([])
  for (const ruleId of rules) await rbin('DELETE', `/rules/${ruleId}`)
})

it('has rules that are read, changed, locked and tagged', async () => {
  const ruleId = await addRule('EC2_IMAGE', 30, { Description: 'all images' })
  const read = await rbin('GET', `/rules/${ruleId}`)
  expect(read).toMatchObject({ status: 200, answer: { Identifier: ruleId, Status: 'available', Description: 'all images' } })
  const arn = encodeURIComponent(String(read.answer.RuleArn))
  expect(await rbin('POST', `/tags/${arn}`, { Tags: [{ Key: 'a', Value: 'b' }, { Key: 'c', Value: '' }] })).toMatchObject({ status: 201 })
  expect(await rbin('DELETE', `/tags/${arn}?tagKeys=a&tagKeys=x`)).toMatchObject({ status: 204 })
  expect((await rbin('GET', `/tags/${arn}`)).answer).toEqual({ Tags: [{ Key: 'c', Value: '' }] })
  expect((await rbin('POST', '/list-rules', { ResourceType: 'EC2_IMAGE' })).answer).toMatchObject({ Rules: [{ Identifier: ruleId }] })
  const delay = { UnlockDelay: { UnlockDelayValue: 7, UnlockDelayUnit: 'DAYS' } }
  expect((await rbin('PATCH', `/rules/${ruleId}/lock`, { LockConfiguration: delay })).answer).toMatchObject({ LockState: 'locked' })
  expect(await rbin('PATCH', `/rules/${ruleId}`, { Description: 'x' }))
    .toMatchObject({ status: 409, error: 'ConflictException', answer: { Reason: 'INVALID_RULE_STATE' } })
  expect((await rbin('PATCH', `/rules/${ruleId}/unlock`)).answer)
    .toMatchObject({ LockState: 'pending_unlock', LockEndTime: expect.any(Number) })
  await pass(7)
  expect(await rbin('DELETE', `/rules/${ruleId}`)).toMatchObject({ status: 204 })
  expect(await rbin('GET', `/rules/${ruleId}`))
    .toMatchObject({ status: 404, error: 'ResourceNotFoundException', answer: { Reason: 'RULE_NOT_FOUND' } })
})
