import { describe, expect, it } from 'vitest'
import { systemClock } from '../core/clock.ts'
import { CrashError } from '../core/errors.ts'
import { jsonLogger, silentLogger } from '../core/logger.ts'
import { seededRandom } from '../core/random.ts'
import { Api, type ApiCall } from './api.ts'
import { permissiveAuthenticator } from './authenticator.ts'
import { WebGuard } from './web-guard.ts'
import type { RawRequest } from './request.ts'

const calls: ApiCall[] = []
const logged: string[] = []
const api = new Api({
  authenticator: permissiveAuthenticator,
  dispatch: async (call) => {
    calls.push(call)
    return {}
  },
  supports: () => true,
  clock: systemClock,
  random: seededRandom(1),
  log: jsonLogger(systemClock, 'api', (line) => logged.push(line)),
}, new WebGuard(['hearth.example']))

const send = (body: string | Buffer, changes: Partial<RawRequest> = {}) =>
  api.handle({ method: 'POST', url: '/', headers: { host: 'localhost:8773' }, body: Buffer.from(body), ...changes })

/** Status and code of an error, or the status alone. */
const outcome = async (...request: Parameters<typeof send>) => {
  const { status, body } = await send(...request)
  return [status, /<Code>(.*?)<\/Code>/.exec(String(body))?.[1]].filter((part) => part !== undefined).join(' ')
}

describe('a request', () => {
  it('may be a GET', async () => {
    expect(await outcome('', { method: 'GET', url: '/?Action=DescribeInstances&InstanceId.1=i-1' })).toBe('200')
    expect(calls.at(-1)?.input).toEqual({ InstanceIds: ['i-1'] })
  })

  it('without a signature goes to the service that knows the action', async () => {
    expect(await outcome('Action=GetCallerIdentity&Version=2011-06-15')).toBe('200')
    expect(calls.at(-1)).toMatchObject({ service: 'sts', account: '123456789012', accessKeyId: null, region: null })
  })

  it('without a signature, but with a target, goes to the service of the target', async () => {
    const headers = { host: 'localhost', 'x-amz-target': 'AmazonSSM.GetParameter' }
    expect(await send('{"Name":"/a"}', { headers })).toMatchObject({
      status: 200, body: '{}', headers: { 'content-type': 'application/x-amz-json-1.1' },
    })
    expect(calls.at(-1)).toMatchObject({ service: 'ssm', action: 'GetParameter', input: { Name: '/a' } })
  })

  it.each([
    ['', '400 MissingAction'],
    ['Version=2016-11-15', '400 MissingAction'],
    ['Action=', '400 MissingAction'],
    ['Action=Nothing', '400 InvalidAction'],
    ['Action=__proto__', '400 InvalidAction'],
    ['Action=constructor', '400 InvalidAction'],
    ['Action=DescribeVpcs&Version=2014-01-01', '400 NoSuchVersion'],
    ['Action=DescribeVpcs&Action=DescribeVpcs', '400 InvalidQueryParameter'],
    ['Action.1=DescribeVpcs', '400 MissingAction'],
  ])('%j gives %s', async (body, expected) => {
    expect(await outcome(body)).toBe(expected)
  })

  it('has an unknown action named', async () => {
    const { body } = await send('Action=Launch%3C')
    expect(body).toContain('<Message>The action Launch&lt; is not valid for this web service.</Message>')
  })

  it.each([
    ['PUT', '/', '405 InvalidRequest'],
    ['OPTIONS', '/', '405 InvalidRequest'],
    ['GET', '/latest/meta-data/', '404 InvalidRequest'],
    ['GET', 'http://localhost/', '404 InvalidRequest'],
  ])('%s %s gives %s', async (method, url, expected) => {
    expect(await outcome('Action=DescribeVpcs', { method, url })).toBe(expected)
  })

  it('has a request id of its own, the same in header and body', async () => {
    const [first, second] = [await send('Action=DescribeVpcs'), await send('Action=DescribeVpcs')]
    const id = first.headers['x-amzn-requestid'] ?? ''
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(first.body).toContain(`<requestId>${id}</requestId>`)
    expect(second.headers['x-amzn-requestid']).not.toBe(id)
  })

  it('lets a crash point end the process', async () => {
    const crashing = new Api({
      authenticator: permissiveAuthenticator, supports: () => true, clock: systemClock, random: seededRandom(1),
      log: silentLogger,
      dispatch: () => Promise.reject(new CrashError('commit')),
    }, new WebGuard())
    const request = { method: 'POST', url: '/', headers: {}, body: Buffer.from('Action=DescribeVpcs') }
    await expect(crashing.handle(request)).rejects.toThrow(CrashError)
  })
})

/** Headers of a request that claims to be signed for a service. */
const claimFor = (service: string, headers: Record<string, string> = {}) => ({
  host: 'localhost', 'x-amz-date': '20260131T090000Z', ...headers,
  authorization: `AWS4-HMAC-SHA256 Credential=AKIA/20260131/eu-west-1/${service}/aws4_request, SignedHeaders=host, `
    + `Signature=${'0'.repeat(64)}`,
})

describe('an error', () => {
  const unsupported = (service: string) => `The service ${service} is not supported by Hearth yet; see docs/coverage.md.`
  const asContent = (service: string) => `<Code>UnsupportedOperation</Code><Message>${unsupported(service)}</Message>`
  const asJson = (service: string) => JSON.stringify({ __type: 'UnsupportedOperation', message: unsupported(service) })

  it.each([
    ['autoscaling', 'POST', '/', {}, 'text/xml;charset=UTF-8', `<ErrorResponse><Error><Type>Sender</Type>${asContent('autoscaling')}</Error>`],
    ['s3', 'GET', '/bucket/key', {}, 'application/xml', `<Error>${asContent('s3')}<RequestId>`],
    ['route53', 'GET', '/2013-04-01/hostedzone', {}, 'text/xml;charset=UTF-8', `<ErrorResponse><Error><Type>Sender</Type>`],
    ['lambda', 'GET', '/2015-03-31/functions', {}, 'application/json', asJson('lambda')],
    ['logs', 'POST', '/', { 'x-amz-target': 'Logs_20140328.X' }, 'application/x-amz-json-1.1', asJson('logs')],
    ['dynamodb', 'POST', '/', { 'content-type': 'application/x-amz-json-1.0' }, 'application/x-amz-json-1.0', asJson('dynamodb')],
  ])('of %s has the form that its clients read', async (service, method, url, headers, contentType, expected) => {
    const answer = await send('', { method, url, headers: claimFor(service, headers) })
    expect(answer).toMatchObject({ status: 400, headers: { 'content-type': contentType } })
    expect(answer.body).toContain(expected)
  })

  it.each([
    ['AmazonSSM.Nothing', '{}', 'UnknownOperationException'],
    ['AmazonSSM', '{}', 'UnknownOperationException'],
    ['AmazonEC2ContainerServiceV20141113.ListClusters', '{}', 'UnknownOperationException'],
    ['AmazonSSM.GetParameter', '{}', 'ValidationException'],
    ['AmazonSSM.GetParameter', '[]', 'SerializationException'],
    ['AmazonSSM.GetParameter', 'Action=GetParameter', 'SerializationException'],
  ])('of Systems Manager for %s with %s is %s', async (target, body, code) => {
    const answer = await send(body, { headers: claimFor('ssm', { 'x-amz-target': target }) })
    expect(answer).toMatchObject({ status: 400, headers: { 'content-type': 'application/x-amz-json-1.1' } })
    expect(JSON.parse(String(answer.body))).toMatchObject({ __type: code })
  })
})

describe('the log', () => {
  const lastLine = () => JSON.parse(logged.at(-1) ?? '') as Record<string, unknown>

  it('has a line for a request that was answered', async () => {
    const { headers, body } = await send('Action=GetCallerIdentity')
    expect(lastLine()).toMatchObject({
      level: 'info', message: 'request', requestId: headers['x-amzn-requestid'], service: 'sts', action: 'GetCallerIdentity',
      account: '123456789012', status: 200, durationMs: expect.any(Number), bytes: Buffer.byteLength(String(body)),
    })
  })

  it('has a line for one that was not, without what it carried', async () => {
    const count = logged.length
    await send('Action=ImportKeyPair&KeyName=secret&PublicKeyMaterial=hid*den')
    expect(lastLine()).toMatchObject({ service: 'ec2', action: 'ImportKeyPair', status: 400, code: 'InvalidParameterValue' })
    expect(logged.length).toBe(count + 1)
    expect(logged.at(-1)).not.toMatch(/secret|hid/)
    await send('', { url: '/?a=%zz', headers: { host: 'localhost' } })
    expect(lastLine()).toMatchObject({ service: null, action: null, account: null, status: 400, code: 'MalformedQueryString' })
  })

  it('has the bytes of an answer that comes in pieces, and whether it was cut', async () => {
    const pages = async function* (failing: boolean) {
      yield [{ VpcId: 'vpc-1' }]
      if (failing) throw new Error('the database is gone')
    }
    const answering = (failing: boolean) => new Api({
      authenticator: permissiveAuthenticator, supports: () => true, clock: systemClock, random: seededRandom(1),
      log: jsonLogger(systemClock, 'api', (line) => logged.push(line)), dispatch: async () => ({ Vpcs: pages(failing) }),
    }, new WebGuard())
    const request = { method: 'POST', url: '/', headers: { host: 'localhost' }, body: Buffer.from('Action=DescribeVpcs') }
    const read = async (failing: boolean) => {
      let text = ''
      for await (const piece of (await answering(failing).handle(request)).body) text += piece
      return text
    }
    const text = await read(false)
    expect(text).toContain('<vpcId>vpc-1</vpcId>')
    expect(lastLine()).toMatchObject({ action: 'DescribeVpcs', status: 200, bytes: Buffer.byteLength(text) })
    expect(lastLine()).not.toHaveProperty('cut')
    await expect(read(true)).rejects.toThrow('the database is gone')
    expect(lastLine()).toMatchObject({ action: 'DescribeVpcs', cut: true })
  })
})

describe('the web guard', () => {
  it.each(['localhost', 'LOCALHOST:8773', '127.0.0.1:8773', '[::1]:1', 'hearth.example:8773'])('answers to %s', async (host) => {
    expect(await outcome('Action=DescribeVpcs', { headers: { host } })).toBe('200')
  })

  it.each(['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:8773', ''])('refuses host %j', async (host) => {
    expect(await outcome('Action=DescribeVpcs', { headers: { host } })).toBe('403 AccessDenied')
  })

  it.each([
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:3000' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ])('refuses a page with %j', async (headers) => {
    expect(await outcome('Action=DescribeVpcs', { headers: { host: 'localhost:8773', ...headers } })).toBe('403 AccessDenied')
  })

  it('lets its own pages through', async () => {
    const headers = { host: 'localhost:8773', origin: 'http://localhost:8773', 'sec-fetch-site': 'same-origin' }
    expect(await outcome('Action=DescribeVpcs', { headers })).toBe('200')
  })
})
