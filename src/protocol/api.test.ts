import { describe, expect, it } from 'vitest'
import { CrashError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { seededRandom } from '../core/random.ts'
import { Api, type ApiCall } from './api.ts'
import { permissiveAuthenticator } from './authenticator.ts'
import { WebGuard } from './web-guard.ts'
import type { RawRequest } from './request.ts'

const calls: ApiCall[] = []
const api = new Api({
  authenticator: permissiveAuthenticator,
  dispatch: async (call) => {
    calls.push(call)
    return {}
  },
  supports: () => true,
  random: seededRandom(1),
  log: silentLogger,
}, new WebGuard(['hearth.example']))

const send = (body: string | Buffer, changes: Partial<RawRequest> = {}) =>
  api.handle({ method: 'POST', url: '/', headers: { host: 'localhost:8773' }, body: Buffer.from(body), ...changes })

/** Status and code of an error, or the status alone. */
const outcome = async (...request: Parameters<typeof send>) => {
  const { status, body } = await send(...request)
  return [status, /<Code>(.*?)<\/Code>/.exec(body)?.[1]].filter((part) => part !== undefined).join(' ')
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

  it('with a signature for another service is not supported', async () => {
    const authorization = `AWS4-HMAC-SHA256 Credential=AKIA/20260131/eu-west-1/iam/aws4_request, SignedHeaders=host, `
      + `Signature=${'0'.repeat(64)}`
    const headers = { host: 'localhost', 'x-amz-date': '20260131T090000Z', authorization }
    expect(await outcome('Action=GetUser', { headers })).toBe('400 UnsupportedOperation')
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
      authenticator: permissiveAuthenticator, supports: () => true, random: seededRandom(1), log: silentLogger,
      dispatch: () => Promise.reject(new CrashError('commit')),
    }, new WebGuard())
    const request = { method: 'POST', url: '/', headers: {}, body: Buffer.from('Action=DescribeVpcs') }
    await expect(crashing.handle(request)).rejects.toThrow(CrashError)
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
