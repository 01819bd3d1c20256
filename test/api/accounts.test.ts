import {
  DescribeInstancesCommand, DescribeVpcsCommand, RunInstancesCommand, type EC2Client,
} from '@aws-sdk/client-ec2'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createAccount } from '../../src/cli/accounts.ts'
import { systemClock } from '../../src/core/clock.ts'
import { systemRandom } from '../../src/core/random.ts'
import { startTestCloud, tinyImageId, type TestCloud } from '../support/cloud.ts'

let cloud: TestCloud
let home: string
let other: EC2Client
let otherId: string
let sts: STSClient
beforeAll(async () => {
  cloud = await startTestCloud()
  home = mkdtempSync(path.join(os.tmpdir(), 'hearth-two-accounts-'))
  const { accountId, ...credentials } = await createAccount(
    cloud.store, { clock: systemClock, random: systemRandom, zones: ['us-east-1a'] }, home, 'other')
  otherId = accountId
  other = cloud.client({ credentials })
  sts = new STSClient({ endpoint: cloud.endpoint, region: 'us-east-1', credentials, maxAttempts: 1 })
})
afterAll(async () => {
  other.destroy()
  sts.destroy()
  rmSync(home, { recursive: true })
  await cloud.close()
})

it('a second account is somebody else, with a default VPC of its own', async () => {
  expect(await sts.send(new GetCallerIdentityCommand({}))).toMatchObject({ Account: otherId, Arn: `arn:aws:iam::${otherId}:root` })
  const mine = await cloud.ec2.send(new DescribeVpcsCommand({}))
  const theirs = await other.send(new DescribeVpcsCommand({}))
  expect(theirs.Vpcs).toEqual([expect.objectContaining({ OwnerId: otherId, IsDefault: true, CidrBlock: '172.31.0.0/16' })])
  expect(theirs.Vpcs?.[0]?.VpcId).not.toBe(mine.Vpcs?.[0]?.VpcId)
})

it('launches beside the first one, and neither sees the other', async () => {
  const launch = { ImageId: await tinyImageId(cloud), InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 } as const
  const theirs = await other.send(new RunInstancesCommand(launch))
  const mine = await cloud.ec2.send(new RunInstancesCommand(launch))
  expect([mine.OwnerId, theirs.OwnerId]).toEqual(['123456789012', otherId])
  const seen = await other.send(new DescribeInstancesCommand({}))
  expect(seen.Reservations?.flatMap((each) => each.Instances ?? []).map((each) => each.InstanceId))
    .toEqual([theirs.Instances?.[0]?.InstanceId])
  const instanceId = mine.Instances?.[0]?.InstanceId ?? ''
  await expect(other.send(new DescribeInstancesCommand({ InstanceIds: [instanceId] })))
    .rejects.toMatchObject({ name: 'InvalidInstanceID.NotFound' })
})
