import {
  DescribeInstancesCommand, DescribeInstanceStatusCommand, GetConsoleOutputCommand, ModifyInstanceEventStartTimeCommand,
  RebootInstancesCommand, ReportInstanceStatusCommand, RunInstancesCommand, SendDiagnosticInterruptCommand, StartInstancesCommand,
  StopInstancesCommand, TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cancelEvent, createEvent, listReports, type EventOrder } from '../../src/cli/events.ts'
import { systemClock } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { EventCode } from '../../src/model/instance-event.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'
import { OTHER_ACCOUNT } from '../support/rows.ts'

const HOUR_MS = 3_600_000

let cloud: TestCloud
let imageId: string
beforeAll(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
})
afterAll(() => cloud.close())

async function launch(input: { DisableApiStop?: boolean; DisableApiTermination?: boolean } = {}): Promise<string> {
  const { Instances } = await cloud.ec2.send(
    new RunInstancesCommand({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...input }))
  return Instances?.[0]?.InstanceId ?? ''
}

/** Plans an event as `hearth event create` does, in an hour unless told otherwise. */
async function plan(instanceId: string, code: EventCode, change: Partial<EventOrder> & { inMs?: number } = {}): Promise<string> {
  const nowMs = systemClock.now()
  const { inMs = HOUR_MS, ...order } = change
  const event = await createEvent(cloud.store, { random: systemRandom, nowMs }, instanceId, { code, notBeforeMs: nowMs + inMs, ...order })
  await cloud.settle()
  return event.eventId
}

async function events(instanceId: string) {
  const { InstanceStatuses } = await cloud.ec2.send(
    new DescribeInstanceStatusCommand({ InstanceIds: [instanceId], IncludeAllInstances: true }))
  return InstanceStatuses?.[0]?.Events ?? []
}

async function describeOne(instanceId: string) {
  const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] }))
  return Reservations?.[0]?.Instances?.[0]
}

const boots = (instanceId: string) => cloud.host.world.machines.get(instanceId)?.boots

describe('a scheduled event', () => {
  test.each(['instance-stop', 'instance-retirement'] as const)('of code %s stops its instance, protected or not', async (code) => {
    const id = await launch({ DisableApiStop: true, DisableApiTermination: true })
    const eventId = await plan(id, code, { inMs: 0 })
    const instance = await describeOne(id)
    expect(instance?.State?.Name).toBe('stopped')
    expect(instance?.StateReason).toEqual({ Code: 'Server.ScheduledStop', Message: 'Server.ScheduledStop: Stopped due to scheduled retirement' })
    expect(instance?.StateTransitionReason).toMatch(/^Service initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)$/)
    expect(await events(id)).toEqual([{
      InstanceEventId: eventId, Code: code, Description: '[Completed] The instance is running on degraded hardware',
      NotBefore: expect.any(Date) as Date,
    }])
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect((await describeOne(id))?.State?.Name).toBe('running')
  })

  test.each(['instance-reboot', 'system-reboot'] as const)('of code %s reboots its instance, once', async (code) => {
    const id = await launch()
    await plan(id, code, { inMs: 0 })
    expect(boots(id)).toBe(2)
    expect((await describeOne(id))?.State?.Name).toBe('running')
    expect((await events(id)).map((each) => each.Description)).toEqual(['[Completed] The instance is scheduled for a reboot'])
  })

  test('of maintenance is over at its end', async () => {
    const id = await launch()
    const nowMs = systemClock.now()
    await plan(id, 'system-maintenance', { inMs: 0, notAfterMs: nowMs + 1 })
    expect((await events(id))[0]?.Description).toBe('[Completed] The instance is scheduled for maintenance')
    expect(boots(id)).toBe(1)
  })

  test('is completed by an owner who stops and starts the instance before, or reboots it where that will do', async () => {
    const id = await launch()
    await plan(id, 'instance-retirement')
    await plan(id, 'system-reboot')
    const rebootId = await plan(id, 'instance-reboot')
    await cloud.ec2.send(new RebootInstancesCommand({ InstanceIds: [id] }))
    const completed = async () => (await events(id)).filter((each) => each.Description?.startsWith('[Completed]'))
    expect((await completed()).map((each) => each.InstanceEventId)).toEqual([rebootId])
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    expect(await completed()).toHaveLength(1)
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [id] }))
    expect(await completed()).toHaveLength(3)
    expect(boots(id)).toBe(3)
  })

  test('that is canceled does not come about', async () => {
    const id = await launch()
    const eventId = await plan(id, 'instance-stop')
    await cancelEvent(cloud.store, systemClock.now(), eventId)
    await cloud.settle()
    expect(await events(id)).toMatchObject([{ Description: '[Canceled] The instance is running on degraded hardware' }])
    expect((await describeOne(id))?.State?.Name).toBe('running')
  })

  test('is put off by its owner, and by nobody else', async () => {
    const id = await launch()
    const eventId = await plan(id, 'system-reboot', { deadlineMs: systemClock.now() + 100 * HOUR_MS })
    const NotBefore = new Date(systemClock.now() + 50 * HOUR_MS)
    const modify = new ModifyInstanceEventStartTimeCommand({ InstanceId: id, InstanceEventId: eventId, NotBefore })
    const { Event } = await cloud.ec2.send(modify)
    expect(Event).toMatchObject({ InstanceEventId: eventId, NotBefore })
    expect(Event?.NotAfter).toEqual(new Date(NotBefore.getTime() + 2 * HOUR_MS))
    expect(await events(id)).toEqual([Event])
    const other = cloud.client({ account: OTHER_ACCOUNT })
    await expect(other.send(modify)).rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' })
    const theirs = await other.send(new DescribeInstanceStatusCommand({ IncludeAllInstances: true, Filters: [{ Name: 'event.code', Values: ['*'] }] }))
    expect(theirs.InstanceStatuses).toEqual([])
    other.destroy()
  })

  test('ends with its instance', async () => {
    const id = await launch()
    await plan(id, 'instance-stop')
    await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [id] }))
    expect(await events(id)).toMatchObject([{ Description: '[Completed] The instance is running on degraded hardware' }])
  })
})

describe('ReportInstanceStatus', () => {
  test('is kept for those who run the cloud, and changes no status', async () => {
    const id = await launch()
    const before = await cloud.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id] }))
    await cloud.ec2.send(new ReportInstanceStatusCommand({
      Instances: [id], Status: 'impaired', ReasonCodes: ['performance-other'], Description: 'slow', StartTime: new Date(0),
    }))
    const after = await cloud.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id] }))
    expect(after.InstanceStatuses).toEqual(before.InstanceStatuses)
    expect((await listReports(cloud.store)).filter((each) => each.instanceId === id)).toMatchObject([
      { status: 'impaired', reasonCodes: ['performance-other'], description: 'slow', start: '1970-01-01T00:00:00.000Z', end: null },
    ])
    await expect(cloud.ec2.send(new ReportInstanceStatusCommand({
      Instances: [id], Status: 'ok', ReasonCodes: ['other'], DryRun: true,
    }))).rejects.toMatchObject({ name: 'DryRunOperation' })
  })
})

describe('SendDiagnosticInterrupt', () => {
  test('reaches the guest, once', async () => {
    const id = await launch()
    await cloud.ec2.send(new SendDiagnosticInterruptCommand({ InstanceId: id }))
    const { Output } = await cloud.ec2.send(new GetConsoleOutputCommand({ InstanceId: id }))
    expect(Buffer.from(Output ?? '', 'base64').toString().match(/NMI received/g)).toHaveLength(1)
  })

  test('is refused for what does not run', async () => {
    const id = await launch()
    await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [id] }))
    await expect(cloud.ec2.send(new SendDiagnosticInterruptCommand({ InstanceId: id }))).rejects.toMatchObject({
      name: 'IncorrectInstanceState', message: `The instance '${id}' is not in the 'running' state.`,
    })
  })
})
