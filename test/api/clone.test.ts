import {
  CreateKeyPairCommand, CreateSubnetCommand, CreateTagsCommand, CreateVpcCommand, DeleteKeyPairCommand, DescribeImagesCommand, DescribeInstancesCommand, DescribeSnapshotsCommand,
  RunInstancesCommand, type RunInstancesRequest,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApiClient } from '../../src/cli/api-client.ts'
import { cloneInstance, type Cloned } from '../../src/cli/clone.ts'
import { findInstance, listInstances } from '../../src/cli/instances.ts'
import { systemClock } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { startTestCloud, TEST_KEY, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let id: string
let said: string[]

beforeEach(async () => {
  cloud = await startTestCloud()
  said = []
  id = await launch({ Placement: { AvailabilityZone: 'us-east-1a' } })
  await cloud.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'Name', Value: 'web' }, { Key: 'team', Value: 'a' }] }))
})
afterEach(() => cloud.close())

const launch = async (where: Partial<RunInstancesRequest>) => {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...where,
  }))
  return Instances?.[0]?.InstanceId ?? ''
}
const clone = async (
  flags: { zone: string; count?: string; keepImage?: boolean; key?: string; reboot?: boolean }, wanted = 'web',
): Promise<Cloned> => {
  const api = createApiClient(cloud.endpoint, { credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT }, region: 'us-east-1', clock: systemClock })
  const ambient = { api, store: cloud.store, clock: systemClock, random: systemRandom, terminal: { out: () => {}, say: (line: string) => void said.push(line) } }
  return cloneInstance(
    ambient, { region: 'us-east-1', zones: ['a', 'b', 'c'], home: '/h' }, findInstance(await listInstances(cloud.store), wanted), { count: '1', ...flags })
}
const show = async (...ids: string[]) => {
  const { Reservations = [] } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: ids }))
  return Reservations.flatMap((each) => each.Instances ?? [])
}
const ownImages = async () => (await cloud.ec2.send(new DescribeImagesCommand({ Owners: ['self'] }))).Images?.map((each) => each.ImageId) ?? []
const ownSnapshots = async () => (await cloud.ec2.send(new DescribeSnapshotsCommand({ OwnerIds: ['self'] }))).Snapshots ?? []

describe('clones over zones', () => {
  test('run in each of them, are like the instance, and leave no image', async () => {
    const cloned = await clone({ zone: 'b,c' })
    expect(cloned).toMatchObject({ source: id, isImageKept: false, failures: [] })
    expect(cloned.clones.map((each) => [each.zone, each.name])).toEqual([['us-east-1b', 'web-clone-b'], ['us-east-1c', 'web-clone-c']])
    const clones = await show(...cloned.clones.map((each) => each.instanceId))
    expect(clones.map((each) => each.Placement?.AvailabilityZone).toSorted()).toEqual(['us-east-1b', 'us-east-1c'])
    const [source] = await show(id)
    for (const each of clones) {
      expect(each).toMatchObject({
        State: { Name: 'running' }, InstanceType: 't3.micro', ImageId: cloned.imageId, SecurityGroups: source?.SecurityGroups,
        Tags: expect.arrayContaining([{ Key: 'team', Value: 'a' }]), PublicIpAddress: expect.any(String),
      })
      expect(each.PrivateIpAddress).not.toBe(source?.PrivateIpAddress)
    }
    expect(source?.State?.Name).toBe('running')
    expect([await ownImages(), await ownSnapshots()]).toEqual([[], []])
    expect(said[0]).toBe(`baking ${id}, which runs on`)
  })

  test('come up in the other zones where one has no room; of a zone there are all or none', async () => {
    const { Vpc } = await cloud.ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }))
    const subnet = async (CidrBlock: string, AvailabilityZone: string) =>
      (await cloud.ec2.send(new CreateSubnetCommand({ VpcId: Vpc?.VpcId, CidrBlock, AvailabilityZone }))).Subnet?.SubnetId
    const lone = await launch({ SubnetId: await subnet('10.0.0.0/24', 'us-east-1a') })
    await expect(clone({ zone: 'a,b' }, lone)).rejects.toThrow(/ has no subnet in us-east-1b; make one: aws ec2 create-subnet /)
    expect(said).toEqual([])
    // EC2 keeps five of its sixteen addresses for itself.
    await subnet('10.0.1.0/28', 'us-east-1b')
    const { clones, failures } = await clone({ zone: 'a,b', count: '12' }, lone)
    expect(clones.map((each) => [each.zone, each.publicIp])).toEqual(Array.from({ length: 12 }, () => ['us-east-1a', null]))
    expect(failures).toEqual([{ zone: 'us-east-1b', instanceId: null, reason: expect.stringContaining('free addresses') }])
    const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'availability-zone', Values: ['us-east-1b'] }] }))
    expect([Reservations, await ownImages(), await ownSnapshots()]).toEqual([[], [], []])
  })

  test('have names of their own where a zone gets several', async () => {
    const { clones } = await clone({ zone: 'c', count: '2' })
    const named = async (name: string) => (await cloud.ec2.send(new DescribeInstancesCommand({ Filters: [{ Name: 'tag:Name', Values: [name] }] }))).Reservations
    expect(clones.map((each) => each.name)).toEqual(['web-clone-c-1', 'web-clone-c-2'])
    for (const each of clones) expect(await named(each.name)).toMatchObject([{ Instances: [{ InstanceId: each.instanceId }] }])
  })

  test('keep their image where that is asked for', async () => {
    const { imageId, isImageKept } = await clone({ zone: 'b', keepImage: true, reboot: true })
    expect(isImageKept).toBe(true)
    expect(await ownImages()).toEqual([imageId])
  })

  test('that nobody can launch leave nothing behind', async () => {
    await expect(clone({ zone: 'b,c', key: 'nobodys' })).rejects.toThrow("nothing was made, since no clone could be launched: The key pair 'nobodys' does not exist")
    expect([said, await ownImages(), await ownSnapshots()]).toEqual([[], [], []])
  })

  test('can be cloned themselves, though their image is gone, and without the key pair that was deleted', async () => {
    await cloud.ec2.send(new CreateKeyPairCommand({ KeyName: 'short-lived' }))
    const [first] = (await clone({ zone: 'b', key: 'short-lived' })).clones
    await cloud.ec2.send(new DeleteKeyPairCommand({ KeyName: 'short-lived' }))
    const { clones, failures } = await clone({ zone: 'c' }, first?.instanceId)
    expect(failures).toEqual([])
    expect(said).toContain('the key pair short-lived is gone: the clones have none, and take the keys that are on the disk')
    expect((await show(clones[0]?.instanceId ?? ''))[0]?.KeyName).toBeUndefined()
  })
})
