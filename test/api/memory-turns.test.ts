import { RunInstancesCommand, StopInstancesCommand } from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { INSTANT } from '../../src/sim-host.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud({
    hostsPerZone: 2, delays: { ...INSTANT, hypervisor: { ...INSTANT.hypervisor, saveMs: [100, 100] } },
    capacity: { cpus: 8, memoryMib: 16 * 1024, guestLimits: { vcpus: 8, memoryMib: 16 * 1024 } },
  })
})
afterAll(() => cloud.close())

test('the memory of two instances is saved at a time, on whichever host of a zone they run', async () => {
  const { Instances = [] } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 4, MaxCount: 4, Placement: { AvailabilityZone: 'us-east-1a' },
    HibernationOptions: { Configured: true }, BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { Encrypted: true, VolumeSize: 4 } }],
  }))
  const hosts = await cloud.store.read((db) => db.selectFrom('instances').select('host_id').distinct().execute())
  expect([Instances.length, hosts.length]).toEqual([4, 2])
  const { memory } = cloud.host.world
  const [begin, end] = [memory.beginSaving.bind(memory), memory.endSaving.bind(memory)]
  const atWork = new Set<string>()
  let most = 0
  memory.beginSaving = (id, image) => {
    atWork.add(id)
    most = Math.max(most, atWork.size)
    begin(id, image)
  }
  memory.endSaving = (id, memoryId) => {
    atWork.delete(id)
    end(id, memoryId)
  }
  await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: Instances.flatMap((each) => each.InstanceId ?? []), Hibernate: true }))
  await cloud.settle()
  expect(await cloud.store.read((db) => db.selectFrom('instances').select('state').distinct().execute())).toEqual([{ state: 'stopped' }])
  expect([most, atWork.size]).toEqual([2, 0])
})
