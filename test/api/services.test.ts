import { DescribeVpcsCommand, EC2Client } from '@aws-sdk/client-ec2'
import { GetUserCommand, IAMClient, ListRolesCommand } from '@aws-sdk/client-iam'
import {
  DescribeParametersCommand, GetParameterCommand, GetParametersByPathCommand, GetParametersCommand, SSMClient,
} from '@aws-sdk/client-ssm'
import { AssumeRoleCommand, GetCallerIdentityCommand, GetSessionTokenCommand, STSClient, type Credentials } from '@aws-sdk/client-sts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { operations as iamOperations } from '../../src/iam/index.ts'
import { loadServiceModel } from '../../src/protocol/model.ts'
import { operations as rbinOperations } from '../../src/rbin/index.ts'
import { operations as ssmOperations } from '../../src/ssm/index.ts'
import { startTestCloud, TEST_KEY, tinyImageId, type TestCloud } from '../support/cloud.ts'

const AL2023 = '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64'
const role = { RoleArn: 'arn:aws:iam::123456789012:role/deploy', RoleSessionName: 'ci' }

let cloud: TestCloud
let iam: IAMClient
let ssm: SSMClient
beforeAll(async () => {
  cloud = await startTestCloud()
  const config = { endpoint: cloud.endpoint, region: 'us-east-1', credentials: TEST_KEY, maxAttempts: 1 }
  iam = new IAMClient(config)
  ssm = new SSMClient(config)
})
afterAll(async () => {
  iam.destroy()
  ssm.destroy()
  await cloud.close()
})

/** Credentials for a client, from those that STS gives. */
const sdkKey = (key: Credentials | undefined) => ({
  accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '', sessionToken: key?.SessionToken ?? '',
})

describe('IAM', () => {
  it('says who the root user is, and that nobody else is there', async () => {
    const { User } = await iam.send(new GetUserCommand({}))
    expect(User).toMatchObject({ Path: '/', UserId: '123456789012', Arn: 'arn:aws:iam::123456789012:root', CreateDate: expect.any(Date) })
    expect(User?.PasswordLastUsed).toBeUndefined()
    await expect(iam.send(new GetUserCommand({ UserName: 'alice' })))
      .rejects.toMatchObject({ name: 'NoSuchEntityException', $metadata: { httpStatusCode: 404 } })
  })

  it('says what it does not have', async () => {
    await expect(iam.send(new ListRolesCommand({}))).rejects.toMatchObject({ name: 'UnsupportedOperation' })
  })
})

describe('Systems Manager', () => {
  it('answers public names with a local image', async () => {
    const imageId = await tinyImageId(cloud)
    const { Parameter, $metadata } = await ssm.send(new GetParameterCommand({ Name: AL2023, WithDecryption: true }))
    expect(Parameter).toMatchObject({ Name: AL2023, Value: imageId, Type: 'String', DataType: 'aws:ec2:image', LastModifiedDate: expect.any(Date) })
    expect($metadata.requestId).toMatch(/^[0-9a-f-]{36}$/)
    const many = await ssm.send(new GetParametersCommand({ Names: [AL2023, '/x'] }))
    expect(many).toMatchObject({ Parameters: [{ Value: imageId }], InvalidParameters: ['/x'] })
    const tree = await ssm.send(new GetParametersByPathCommand({ Path: '/aws/service/debian', Recursive: true, MaxResults: 5 }))
    expect(tree.Parameters).toHaveLength(5)
    expect(tree.NextToken).toEqual(expect.any(String))
  })

  it('tells errors in the protocol of the service', async () => {
    await expect(ssm.send(new GetParameterCommand({ Name: '/x' }))).rejects.toMatchObject({ name: 'ParameterNotFound' })
    await expect(ssm.send(new DescribeParametersCommand({}))).rejects.toMatchObject({
      name: 'UnsupportedOperation', message: expect.stringContaining('DescribeParameters is not supported by Hearth yet'),
    })
    const stranger = new SSMClient({
      endpoint: cloud.endpoint, region: 'us-east-1', maxAttempts: 1, credentials: { ...TEST_KEY, secretAccessKey: 'wrong' },
    })
    await expect(stranger.send(new GetParameterCommand({ Name: '/x' }))).rejects.toMatchObject({ name: 'InvalidSignatureException' })
    stranger.destroy()
  })
})

describe('temporary credentials', () => {
  it('of a role work with every service', async () => {
    const { Credentials: key, AssumedRoleUser } = await cloud.sts.send(new AssumeRoleCommand(role))
    const config = { endpoint: cloud.endpoint, region: 'us-east-1', credentials: sdkKey(key), maxAttempts: 1 }
    const [ec2, sts, systems] = [new EC2Client(config), new STSClient(config), new SSMClient(config)]
    expect(await sts.send(new GetCallerIdentityCommand({}))).toMatchObject({
      Account: '123456789012', Arn: 'arn:aws:sts::123456789012:assumed-role/deploy/ci', UserId: AssumedRoleUser?.AssumedRoleId,
    })
    expect((await ec2.send(new DescribeVpcsCommand({}))).Vpcs).toHaveLength(1)
    expect((await systems.send(new GetParameterCommand({ Name: AL2023 }))).Parameter?.Value).toMatch(/^ami-/)
    await expect(sts.send(new GetSessionTokenCommand({}))).rejects.toMatchObject({ name: 'AccessDenied' })
    for (const client of [ec2, sts, systems]) client.destroy()
  })

  it('of the root user are the root user', async () => {
    const { Credentials: key } = await cloud.sts.send(new GetSessionTokenCommand({}))
    const sts = new STSClient({ endpoint: cloud.endpoint, region: 'us-east-1', credentials: sdkKey(key), maxAttempts: 1 })
    expect((await sts.send(new GetCallerIdentityCommand({}))).Arn).toBe('arn:aws:iam::123456789012:root')
    sts.destroy()
  })

  it('are refused with another token, and once they have expired', async () => {
    const { Credentials: key } = await cloud.sts.send(new AssumeRoleCommand(role))
    const { Credentials: other } = await cloud.sts.send(new AssumeRoleCommand(role))
    const mixed = cloud.client({ credentials: { ...sdkKey(key), sessionToken: other?.SessionToken ?? '' } })
    await expect(mixed.send(new DescribeVpcsCommand({}))).rejects.toMatchObject({ name: 'AuthFailure' })
    const { sessionToken: _, ...withoutToken } = sdkKey(key)
    const bare = cloud.client({ credentials: withoutToken })
    await expect(bare.send(new DescribeVpcsCommand({}))).rejects.toMatchObject({ name: 'AuthFailure' })
    const late = cloud.client({ credentials: sdkKey(other) })
    expect((await late.send(new DescribeVpcsCommand({}))).Vpcs).toHaveLength(1)
    await cloud.store.transaction('test', (db) =>
      db.updateTable('access_keys').set({ expires_ms: 1 }).where('access_key_id', '=', other?.AccessKeyId ?? '').execute())
    await expect(late.send(new DescribeVpcsCommand({}))).rejects.toMatchObject({ name: 'RequestExpired' })
    for (const client of [mixed, bare, late]) client.destroy()
  })

  it('are taken in permissive mode, where they name their role', async () => {
    const open = await startTestCloud({ auth: 'permissive' })
    const { Credentials: key } = await open.sts.send(new AssumeRoleCommand(role))
    const sts = new STSClient({ endpoint: open.endpoint, region: 'us-east-1', credentials: sdkKey(key), maxAttempts: 1 })
    expect((await sts.send(new GetCallerIdentityCommand({}))).Arn).toBe('arn:aws:sts::123456789012:assumed-role/deploy/ci')
    const invented = open.client({ credentials: { accessKeyId: 'ASIAX', secretAccessKey: 'x', sessionToken: 'x' } })
    expect((await invented.send(new DescribeVpcsCommand({}))).Vpcs).toHaveLength(1)
    sts.destroy()
    invented.destroy()
    await open.close()
  })
})

describe('a service of which little is there', () => {
  it.each([['iam', iamOperations], ['rbin', rbinOperations], ['ssm', ssmOperations]] as const)('%s has shapes of what is there, and only of that', (name, table) => {
    const model = loadServiceModel(name)
    expect(model.operationNames().filter((each) => model.operation(each)?.hasShapes).toSorted()).toEqual(Object.keys(table).toSorted())
  })
})
