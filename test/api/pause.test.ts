import {
  CancelSpotInstanceRequestsCommand, CreateFleetCommand, CreateLaunchTemplateCommand, DescribeInstancesCommand,
  DescribeSpotInstanceRequestsCommand, RequestSpotInstancesCommand, StartInstancesCommand,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { requestStops } from '../../src/cli/down.ts'
import { systemClock } from '../../src/core/clock.ts'
import { wakeFleet } from '../../src/model/fleet.ts'
import { endPause, pausedUntil, pauseLaunches } from '../../src/model/pause.ts'
import { wakeMarket } from '../../src/model/spot-market.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
beforeEach(async () => {
  cloud = await startTestCloud()
})
afterEach(() => cloud.close())

/** What is called for by nobody, and goes on when nothing holds it up any more. */
const pause = () => cloud.store.transaction('test', (db) => pauseLaunches(db, systemClock.now() + 60_000))
const goOn = async (fleetId?: string) => {
  await cloud.store.transaction('test', async (db) => {
    await endPause(db)
    if (fleetId !== undefined) await wakeFleet(db, fleetId, systemClock.now())
    await wakeMarket(db, systemClock.now())
  })
  await cloud.settle()
}
const instances = async () => {
  await cloud.settle()
  return (await cloud.ec2.send(new DescribeInstancesCommand({}))).Reservations?.flatMap((each) => each.Instances ?? []) ?? []
}
const states = async () => (await instances()).map((each) => each.State?.Name).toSorted()

describe('while every machine is being stopped', () => {
  test('a fleet that is maintained replaces none of its instances, and does so after that', async () => {
    await cloud.ec2.send(new CreateLaunchTemplateCommand({
      LaunchTemplateName: 'web', LaunchTemplateData: { ImageId: await tinyImageId(cloud), InstanceType: 't3.micro' },
    }))
    const { FleetId } = await cloud.ec2.send(new CreateFleetCommand({
      Type: 'maintain', TargetCapacitySpecification: { TotalTargetCapacity: 2, DefaultTargetCapacityType: 'on-demand' },
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName: 'web', Version: '$Latest' } }],
    }))
    expect(await states()).toEqual(['running', 'running'])
    await pause()
    await requestStops(cloud.store)
    expect(await states()).toEqual(['stopped', 'stopped'])
    await goOn(FleetId)
    expect(await states()).toEqual(['running', 'running', 'stopped', 'stopped'])
  })

  test('the market launches nobody, and does so after that', async () => {
    await pause()
    const { SpotInstanceRequests } = await cloud.ec2.send(new RequestSpotInstancesCommand({
      Type: 'persistent', LaunchSpecification: { ImageId: await tinyImageId(cloud), InstanceType: 't3.micro' },
    }))
    const ids = SpotInstanceRequests?.map((each) => each.SpotInstanceRequestId ?? '') ?? []
    expect(await instances()).toEqual([])
    await goOn()
    expect(await states()).toEqual(['running'])
    await cloud.ec2.send(new CancelSpotInstanceRequestsCommand({ SpotInstanceRequestIds: ids }))
  })

  test('an instance of a one-time request is stopped, too, and can be started again', async () => {
    await cloud.ec2.send(new RequestSpotInstancesCommand({
      LaunchSpecification: { ImageId: await tinyImageId(cloud), InstanceType: 't3.micro' },
    }))
    const [instance] = await instances()
    await pause()
    await requestStops(cloud.store)
    expect(await states()).toEqual(['stopped'])
    await goOn()
    const request = async () => (await cloud.ec2.send(new DescribeSpotInstanceRequestsCommand({}))).SpotInstanceRequests?.[0]
    expect(await request()).toMatchObject({ State: 'disabled', Status: { Code: 'instance-stopped-by-user' } })
    await cloud.ec2.send(new StartInstancesCommand({ InstanceIds: [instance?.InstanceId ?? ''] }))
    expect([await states(), (await request())?.State]).toEqual([['running'], 'active'])
  })

  test('that lasts for a moment, unless it is said again', async () => {
    const at = (nowMs: number) => cloud.store.transaction('test', (db) => pauseLaunches(db, nowMs))
    await at(1000)
    await at(2000)
    expect(await cloud.store.read(pausedUntil)).toBe(11_000)
    await at(7000)
    expect(await cloud.store.read(pausedUntil)).toBe(17_000)
  })
})
