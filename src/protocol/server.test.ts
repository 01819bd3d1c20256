import {
  CreateTagsCommand, DescribeInstancesCommand, EC2Client, RunInstancesCommand, StopInstancesCommand,
} from '@aws-sdk/client-ec2'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { jsonLogger } from '../core/logger.ts'
import { systemRandom } from '../core/random.ts'
import { strictAuthenticator } from './authenticator.ts'
import { createApiServer, type ApiCall, type ApiServer } from './server.ts'

const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret' }
const launched = {
  Reservations: [{
    ReservationId: 'r-1',
    Instances: [{
      InstanceId: 'i-1', LaunchTime: new Date('2026-01-31T09:00:00.123Z'), State: { Code: 16, Name: 'running' as const },
      Tags: [{ Key: 'Name', Value: 'a <b> & "c"\r\n' }], EbsOptimized: false, SecurityGroups: [],
    }],
  }],
}

let server: ApiServer
let endpoint: string
let calls: ApiCall[]
let logged: string[]
let answer: (call: ApiCall) => Promise<object>

beforeEach(async () => {
  calls = []
  logged = []
  answer = async () => ({})
  server = createApiServer({
    authenticator: strictAuthenticator(systemClock, async (id) =>
      id === credentials.accessKeyId ? { secret: credentials.secretAccessKey, account: '111122223333' } : undefined),
    dispatch: (call) => {
      calls.push(call)
      return answer(call)
    },
    supports: (_, action) => action !== 'StopInstances',
    clock: systemClock,
    random: systemRandom,
    log: jsonLogger(systemClock, 'api', (line) => logged.push(line)),
  })
  endpoint = `http://127.0.0.1:${await server.listen(0, '127.0.0.1')}`
})

afterEach(() => server.close())

const ec2 = (secretAccessKey = credentials.secretAccessKey) =>
  new EC2Client({ region: 'eu-west-1', endpoint, credentials: { ...credentials, secretAccessKey }, maxAttempts: 1 })

describe('an API server and the AWS SDK', () => {
  it('hands a nested RunInstances over as it was sent', async () => {
    const input = {
      ImageId: 'ami-1', MinCount: 1, MaxCount: 3, DryRun: false, ClientToken: 'token', UserData: 'IyEvYmluL3No',
      SecurityGroupIds: ['sg-1', 'sg-2'], Placement: { AvailabilityZone: 'eu-west-1a' },
      BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { VolumeSize: 12, DeleteOnTermination: true } }],
      TagSpecifications: [{ ResourceType: 'instance' as const, Tags: [{ Key: 'Name', Value: 'été + 100 %' }] }],
    }
    answer = async () => launched.Reservations[0] ?? {}
    const output = await ec2().send(new RunInstancesCommand(input))
    expect(output).toMatchObject(launched.Reservations[0] ?? {})
    expect(calls).toEqual([{
      service: 'ec2', action: 'RunInstances', input, account: '111122223333', accessKeyId: 'AKIAEXAMPLE',
      region: 'eu-west-1', requestId: output.$metadata.requestId, remark: expect.any(Function),
    }])
  })

  it('answers DescribeInstances as the SDK reads it', async () => {
    answer = async () => launched
    const { $metadata, ...output } = await ec2().send(new DescribeInstancesCommand({}))
    expect(output).toEqual(launched)
    expect($metadata.httpStatusCode).toBe(200)
  })

  it('tells STS from EC2 by the credential scope', async () => {
    answer = async ({ account }) => ({ Account: account, Arn: 'arn:aws:iam::111122223333:root', UserId: account })
    const sts = new STSClient({ region: 'eu-west-1', endpoint, credentials })
    const output = await sts.send(new GetCallerIdentityCommand({}))
    expect(output).toMatchObject({ Account: '111122223333', UserId: '111122223333' })
    expect(calls[0]).toMatchObject({ service: 'sts', action: 'GetCallerIdentity' })
  })

  it('passes an ApiError on', async () => {
    answer = async () => { throw new ApiError('InvalidInstanceID.NotFound', "The instance ID 'i-<1>' does not exist") }
    const sent = ec2().send(new DescribeInstancesCommand({ InstanceIds: ['i-<1>'] }))
    await expect(sent).rejects.toMatchObject({
      name: 'InvalidInstanceID.NotFound', message: "The instance ID 'i-<1>' does not exist", $metadata: { httpStatusCode: 400 },
    })
  })

  it('refuses what dispatch does not have', async () => {
    const sent = ec2().send(new StopInstancesCommand({ InstanceIds: ['i-1'] }))
    await expect(sent).rejects.toMatchObject({
      name: 'UnsupportedOperation',
      message: 'The operation StopInstances is not supported by Hearth yet; see docs/coverage.md.',
    })
    expect(calls).toEqual([])
  })

  it('refuses a wrong secret', async () => {
    const sent = ec2('wrong').send(new DescribeInstancesCommand({}))
    await expect(sent).rejects.toMatchObject({
      name: 'AuthFailure', message: 'AWS was not able to validate the provided access credentials',
      $metadata: { httpStatusCode: 401 },
    })
    expect(calls).toEqual([])
  })

  it('names a missing required member of a structure without output', async () => {
    await ec2().send(new CreateTagsCommand({ Resources: ['i-1'], Tags: [{ Key: 'a', Value: '' }] }))
    expect(calls[0]?.input).toEqual({ Resources: ['i-1'], Tags: [{ Key: 'a', Value: '' }] })
    const sent = ec2().send(new CreateTagsCommand({ Resources: [], Tags: [{ Key: 'a' }] }))
    await expect(sent).rejects.toMatchObject({
      name: 'MissingParameter', message: 'The request must contain the parameter ResourceId',
    })
  })

  it('logs an unexpected exception and tells only that there was one', async () => {
    answer = async () => { throw new Error('the secret reason') }
    const sent = ec2().send(new DescribeInstancesCommand({}))
    await expect(sent).rejects.toMatchObject({ name: 'InternalError', $metadata: { httpStatusCode: 500 } })
    await expect(sent).rejects.not.toThrow(/secret reason/)
    expect(logged.join()).toContain('the secret reason')
  })
})

describe('an API server on a socket', () => {
  it('has the headers of EC2', async () => {
    const reply = await fetch(endpoint)
    expect(reply.status).toBe(403)
    expect(Object.fromEntries(reply.headers)).toMatchObject({
      'content-type': 'text/xml;charset=UTF-8', server: 'AmazonEC2', 'x-amzn-requestid': expect.stringMatching(/^[0-9a-f-]{36}$/),
    })
    expect(await reply.text()).toContain('<Code>MissingAuthenticationToken</Code>')
  })

  it('answers 10 MB of form data at once, and goes on', async () => {
    const reply = await fetch(endpoint, { method: 'POST', body: `Action=DescribeInstances&a=${'x'.repeat(10_000_000)}` })
    expect(reply.status).toBe(413)
    expect(await reply.text()).toContain('<Code>InvalidRequest</Code>')
    await expect(ec2().send(new DescribeInstancesCommand({}))).resolves.toBeDefined()
  })

  it('answers what is not HTTP with an error in EC2\'s shape', async () => {
    const text = await new Promise<string>((resolve, reject) => {
      let received = ''
      const socket = connect(Number(new URL(endpoint).port), '127.0.0.1', () => socket.write('\x00\xff junk\r\n\r\n'))
      socket.on('data', (data: Buffer) => { received += data.toString() })
      socket.on('end', () => resolve(received))
      socket.on('error', reject)
    })
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*<Code>InvalidRequest<\/Code>/)
    expect(JSON.parse(logged.at(-1) ?? '')).toMatchObject({ message: 'request', status: 400, code: 'InvalidRequest' })
  })

  it('finishes a running call before it closes', async () => {
    const finishers: ((output: object) => void)[] = []
    answer = () => new Promise((resolve) => { finishers.push(resolve) })
    const sent = ec2().send(new DescribeInstancesCommand({}))
    await waitFor(systemClock, 'the call', 5_000, () => finishers.length > 0)
    const closed = server.close()
    finishers[0]?.(launched)
    await expect(sent).resolves.toMatchObject(launched)
    await closed
    await expect(fetch(endpoint)).rejects.toThrow()
  })

  it('says which port is taken', async () => {
    const port = Number(new URL(endpoint).port)
    const other = createApiServer({
      authenticator: { authenticate: () => Promise.reject(new Error('unused')) }, dispatch: async () => ({}),
      supports: () => true, clock: systemClock, random: systemRandom, log: jsonLogger(systemClock, 'api', () => {}),
    })
    await expect(other.listen(port, '127.0.0.1')).rejects.toThrow(`port ${port} of 127.0.0.1 is taken`)
  })
})
