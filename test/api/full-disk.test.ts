import { afterAll, beforeAll, expect, test } from 'vitest'
import { DescribeInstanceStatusCommand, RunInstancesCommand } from '@aws-sdk/client-ec2'
import { waitFor, systemClock, type Clock } from '../../src/core/clock.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

/** On which an agent looks again as soon as it may. */
const hurried: Clock = {
  ...systemClock,
  after: (delayMs, run) => systemClock.after(delayMs / 50, run),
  sleep: (delayMs, signal) => systemClock.sleep(delayMs / 50, signal),
}

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud({ clock: hurried })
})
afterAll(() => cloud.close())

test('an instance whose host has no room is impaired, and is ok again when there is room', async () => {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
  }))
  const id = Instances?.[0]?.InstanceId ?? ''
  const status = async () => {
    const { InstanceStatuses } = await cloud.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id] }))
    return InstanceStatuses?.[0]
  }
  expect((await status())?.InstanceStatus?.Status).toBe('ok')

  cloud.host.world.isDiskFull = true
  cloud.host.world.guestWrites(id)
  await waitFor(systemClock, 'the instance to be impaired', 10_000, async () => (await status())?.InstanceStatus?.Status === 'impaired')
  expect(await status()).toMatchObject({
    InstanceState: { Name: 'running' }, SystemStatus: { Status: 'ok' },
    AttachedEbsStatus: { Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed', ImpairedSince: expect.any(Date) as Date }] },
  })

  cloud.host.world.isDiskFull = false
  await waitFor(systemClock, 'the instance to be ok', 20_000, async () => (await status())?.InstanceStatus?.Status === 'ok')
  expect((await status())?.AttachedEbsStatus?.Status).toBe('ok')
})
