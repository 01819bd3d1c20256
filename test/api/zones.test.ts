import {
  CreateVolumeCommand, DescribeAvailabilityZonesCommand, DescribeInstancesCommand, DescribeInstanceStatusCommand, RebootInstancesCommand,
  RunInstancesCommand, StartInstancesCommand, StopInstancesCommand, TerminateInstancesCommand, type RunInstancesCommandInput,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { changeZone, describeChange, listZones, type ZoneChange } from '../../src/cli/zones.ts'
import { formatZones } from '../../src/cli/zone.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { ZoneState } from '../../src/model/zone.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

const [A, B, C] = ['us-east-1a', 'us-east-1b', 'us-east-1c'] as const
const REGION = { region: 'us-east-1', zones: ['a', 'b', 'c'] }

let cloud: TestCloud
let imageId: string
let said: string[]
beforeEach(async () => {
  cloud = await startTestCloud()
  imageId = await tinyImageId(cloud)
  said = []
})
afterEach(() => cloud.close())

async function launch(zone: string, input: Partial<RunInstancesCommandInput> = {}): Promise<string> {
  const { Instances } = await cloud.ec2.send(new RunInstancesCommand({
    ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: zone }, ...input,
  }))
  return Instances?.[0]?.InstanceId ?? ''
}

async function stateOf(id: string): Promise<string | undefined> {
  const { Reservations } = await cloud.ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
  return Reservations?.[0]?.Instances?.[0]?.State?.Name
}

async function statusOf(id: string): Promise<(string | undefined)[]> {
  const { InstanceStatuses } = await cloud.ec2.send(new DescribeInstanceStatusCommand({ InstanceIds: [id] }))
  return [InstanceStatuses?.[0]?.SystemStatus?.Status, InstanceStatuses?.[0]?.InstanceStatus?.Status]
}

/** `hearth zone fail|impair|heal`, and what it says. */
async function zone(wanted: string, to: ZoneState, order: Partial<ZoneChange> = {}): Promise<string> {
  const change = { to, isUp: () => true, wait: true, ...order }
  const terminal = { out: () => {}, say: (line: string) => void said.push(line) }
  return describeChange(await changeZone({ store: cloud.store, clock: systemClock, terminal, region: REGION }, wanted, change), change)
}

const machineOf = (id: string) => cloud.host.world.machines.get(id)?.process
const isCut = (id: string) => [...cloud.host.network.vpcs.values()].flatMap((vpc) => [...vpc.ports.values()])
  .find((port) => port.interfaceId === cloud.host.world.machines.get(id)?.spec.nics[0]?.interfaceId)?.isCut === true
const failure = (name: string, status: number) =>
  expect.objectContaining({ name, $metadata: expect.objectContaining({ httpStatusCode: status }) as unknown })

test('a zone that fails takes its instances with it, and no others; healed, it has them back', async () => {
  const [first, second, third] = [await launch(A), await launch(B), await launch(C)]
  const others = [machineOf(first)?.pid, machineOf(third)?.pid]
  expect(await zone('b', 'unavailable')).toBe('us-east-1b is unavailable; instances: 1 lost power')
  expect([machineOf(second) ?? null, isCut(second), isCut(first)]).toEqual([null, true, false])
  expect([await stateOf(second), await statusOf(second), await statusOf(first)]).toEqual(['running', ['impaired', 'impaired'], ['ok', 'ok']])
  expect([machineOf(first)?.pid, machineOf(third)?.pid]).toEqual(others)
  const { AvailabilityZones } = await cloud.ec2.send(new DescribeAvailabilityZonesCommand({ Filters: [{ Name: 'state', Values: ['unavailable'] }] }))
  expect(AvailabilityZones).toMatchObject([{ ZoneName: B, Messages: [{ Message: expect.stringMatching(/have no power, and its network is cut/) as string }] }])
  expect(await zone(B, 'available')).toBe('us-east-1b is available; instances: 1 running')
  expect([await stateOf(second), await statusOf(second), isCut(second)]).toEqual(['running', ['ok', 'ok'], false])
  expect([machineOf(first)?.pid, machineOf(third)?.pid]).toEqual(others)
})

test('a zone that is impaired has its guests stand still; healed, they go on where they were', async () => {
  const id = await launch(B)
  const pid = machineOf(id)?.pid
  expect(await zone(B, 'impaired')).toBe('us-east-1b is impaired; instances: 1 frozen')
  expect([machineOf(id)?.frozenMs !== undefined, isCut(id), await statusOf(id)]).toEqual([true, true, ['impaired', 'impaired']])
  expect(await zone(B, 'available')).toBe('us-east-1b is available; instances: 1 running')
  expect([machineOf(id)?.pid, machineOf(id)?.frozenMs, isCut(id), await statusOf(id)]).toEqual([pid, undefined, false, ['ok', 'ok']])
})

test('calls into a zone that has failed fail, or wait for it, and none waits for them', async () => {
  const [running, stopped, terminated] = [await launch(B), await launch(B), await launch(B)]
  await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [stopped] }))
  await zone(B, 'unavailable')
  await expect(launch(B)).rejects.toEqual(failure('InsufficientInstanceCapacity', 500))
  await expect(cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [stopped] }))).rejects.toEqual(failure('InsufficientInstanceCapacity', 500))
  await cloud.ec2.send(new RebootInstancesCommand({ InstanceIds: [running] }))
  await expect(cloud.ec2.send(new CreateVolumeCommand({ AvailabilityZone: B, Size: 1 }))).rejects.toEqual(failure('Unavailable', 503))
  await cloud.ec2.send(new StopInstancesCommand({ InstanceIds: [running] }))
  await cloud.ec2.send(new TerminateInstancesCommand({ InstanceIds: [terminated] }))
  expect([await stateOf(running), await stateOf(stopped), await stateOf(terminated)]).toEqual(['stopping', 'stopped', 'shutting-down'])
  expect(await stateOf(await launch(A))).toBe('running')
  expect(await zone(B, 'available')).toBe('us-east-1b is available; instances: 1 stopped')
  expect([await stateOf(running), await stateOf(stopped), await stateOf(terminated)]).toEqual(['stopped', 'stopped', 'terminated'])
})

test('hearth zone tells of zones what they have, and of mistakes what to do', async () => {
  const id = await launch(B)
  await zone(B, 'impaired')
  const zones = await listZones(cloud.store, REGION)
  expect(zones.map((each) => [each.zone, each.zoneId, each.state, each.isInForce, each.instances.running])).toEqual([
    [A, 'use1-az1', 'available', true, []], [B, 'use1-az2', 'impaired', true, [id]], [C, 'use1-az3', 'available', true, []],
  ])
  const table = formatZones(zones, systemClock.now()).split('\n')
  expect(table[0]).toMatch(/^ZONE +ID +STATE +SINCE +HOSTS/)
  expect(table[2]).toMatch(/^us-east-1b +use1-az2 +impaired +\d+ s ago +1 +2 of \d+ +1 GiB of .* +1 +0$/)
  expect(await zone('use1-az2', 'impaired', { wait: false })).toBe('us-east-1b is impaired already')
  expect(await zone(C, 'impaired', { isUp: () => false })).toBe('us-east-1c will be impaired with the next hearth up')
  await expect(zone('d', 'impaired')).rejects.toThrow('there is no zone "d" here; there are: us-east-1a, us-east-1b, us-east-1c')
  await zone(B, 'unavailable')
  await expect(zone(B, 'impaired')).rejects.toThrow('heal it first')
})
