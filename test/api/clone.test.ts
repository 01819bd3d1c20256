import {
  CreateTagsCommand, DescribeImagesCommand, DescribeInstancesCommand, DescribeSnapshotsCommand, RunInstancesCommand,
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

/** A cloud with room for so many machines of two processors, and one that runs in the first zone. */
const open = async (machines: number) => {
  cloud = await startTestCloud({ capacity: { cpus: 2 * machines, memoryMib: 4096 * machines, guestLimits: { vcpus: 8, memoryMib: 8192 } } })
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: 'us-east-1a' },
  }))
  id = Instances?.[0]?.InstanceId ?? ''
  await cloud.ec2.send(new CreateTagsCommand({ Resources: [id], Tags: [{ Key: 'Name', Value: 'web' }, { Key: 'team', Value: 'a' }] }))
  said = []
}
beforeEach(() => open(3))
afterEach(() => cloud.close())

const clone = async (flags: { zone: string; count?: string; keepImage?: boolean; key?: string; reboot?: boolean }): Promise<Cloned> => {
  const api = createApiClient(cloud.endpoint, { credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT }, region: 'us-east-1', clock: systemClock })
  const ambient = { api, store: cloud.store, clock: systemClock, random: systemRandom, terminal: { out: () => {}, say: (line: string) => void said.push(line) } }
  return cloneInstance(
    ambient, { region: 'us-east-1', zones: ['a', 'b', 'c'] }, findInstance(await listInstances(cloud.store), 'web'), { count: '1', ...flags })
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

  test('come up in the other zones where one has no room', async () => {
    const { clones, failures } = await clone({ zone: 'a,b,c' })
    expect(clones).toHaveLength(2)
    expect(failures).toMatchObject([{ zone: expect.stringMatching(/^us-east-1[abc]$/), instanceId: null, reason: expect.stringContaining('sufficient t3.micro capacity') }])
    expect(await ownImages()).toEqual([])
  })

  test('are all of a zone or none', async () => {
    await clone({ zone: 'b' })
    const { clones, failures } = await clone({ zone: 'c', count: '2' })
    expect([clones, failures.map((each) => each.zone)]).toEqual([[], ['us-east-1c']])
  })

  test('have names of their own where a zone gets several', async () => {
    await cloud.close()
    await open(9)
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
    const { clones, failures } = await clone({ zone: 'b,c', key: 'nobodys' })
    expect(clones).toEqual([])
    expect(failures.map((each) => each.reason)).toEqual(["The key pair 'nobodys' does not exist", "The key pair 'nobodys' does not exist"])
    expect([await ownImages(), await ownSnapshots()]).toEqual([[], []])
  })
})
