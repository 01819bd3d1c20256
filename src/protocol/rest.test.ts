import { describe, expect, test } from 'vitest'
import { systemClock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { seededRandom } from '../core/random.ts'
import { Api, type ApiCall } from './api.ts'
import { permissiveAuthenticator, strictAuthenticator } from './authenticator.ts'
import { WebGuard } from './web-guard.ts'
import type { RawRequest } from './request.ts'

const calls: ApiCall[] = []
const common = { supports: () => true, clock: systemClock, random: seededRandom(1), log: silentLogger }
const api = new Api({
  ...common, authenticator: permissiveAuthenticator,
  dispatch: async (call) => {
    calls.push(call)
    if (call.action === 'LockRule') throw new ApiError('ConflictException', 'It is locked.', 409, 'INVALID_RULE_STATE')
    return { Identifier: 'aaaaaaaaaaa', LockEndTime: new Date(1500), Unknown: 1 }
  },
}, new WebGuard())

const ARN = 'arn:aws:rbin:us-east-1:123456789012:rule/aaaaaaaaaaa'
const send = (method: string, url: string, body = '', headers: RawRequest['headers'] = {}) =>
  api.handle({ method, url, headers: { host: 'localhost', ...headers }, body: Buffer.from(body) })
const forService = (service: string) => ({
  'x-amz-date': '20260131T090000Z',
  authorization: `AWS4-HMAC-SHA256 Credential=AKIA/20260131/eu-west-1/${service}/aws4_request, SignedHeaders=host, `
    + `Signature=${'0'.repeat(64)}`,
})

describe('a request of a REST service', () => {
  test.each([
    ['POST', '/rules', '{"ResourceType":"EC2_IMAGE","RetentionPeriod":{"RetentionPeriodValue":1,"RetentionPeriodUnit":"DAYS"}}', 'CreateRule',
      { ResourceType: 'EC2_IMAGE', RetentionPeriod: { RetentionPeriodValue: 1, RetentionPeriodUnit: 'DAYS' } }],
    ['GET', '/rules/aaaaaaaaaaa', '', 'GetRule', { Identifier: 'aaaaaaaaaaa' }],
    ['PATCH', '/rules/aaaaaaaaaaa', '{"Description":"x"}', 'UpdateRule', { Identifier: 'aaaaaaaaaaa', Description: 'x' }],
    ['PATCH', '/rules/aaaaaaaaaaa/unlock', '', 'UnlockRule', { Identifier: 'aaaaaaaaaaa' }],
    ['GET', `/tags/${encodeURIComponent(ARN)}`, '', 'ListTagsForResource', { ResourceArn: ARN }],
    ['DELETE', `/tags/${encodeURIComponent(ARN)}?tagKeys=a+b&tagKeys=c%26`, '', 'UntagResource', { ResourceArn: ARN, TagKeys: ['a b', 'c&'] }],
  ])('%s %s with %j calls %4$s', async (method, url, body, action, input) => {
    for (const headers of [{}, forService('rbin')]) {
      expect((await send(method, url, body, headers)).status).toBeLessThan(300)
      expect(calls.at(-1)).toMatchObject({ service: 'rbin', action, input })
    }
  })

  test('is answered in JSON, with the status of the operation', async () => {
    const gotten = await send('GET', '/rules/aaaaaaaaaaa')
    expect(gotten).toMatchObject({
      status: 200, headers: { 'content-type': 'application/json' }, body: '{"Identifier":"aaaaaaaaaaa","LockEndTime":1.5}',
    })
    expect(await send('DELETE', '/rules/aaaaaaaaaaa')).toMatchObject({ status: 204, body: '' })
    expect(await send('POST', `/tags/${encodeURIComponent(ARN)}`, '{"Tags":[]}')).toMatchObject({ status: 201, body: '{}' })
  })

  test('that fails has its code in a header', async () => {
    const answer = await send('PATCH', '/rules/aaaaaaaaaaa/lock',
      '{"LockConfiguration":{"UnlockDelay":{"UnlockDelayValue":7,"UnlockDelayUnit":"DAYS"}}}')
    expect(answer).toMatchObject({
      status: 409, headers: { 'x-amzn-errortype': 'ConflictException' }, body: '{"Message":"It is locked.","Reason":"INVALID_RULE_STATE"}',
    })
  })

  test.each([
    ['GET', '/rules', '', 'rbin', '404 UnknownOperationException'],
    ['POST', '/', 'Action=DescribeVpcs', 'rbin', '404 UnknownOperationException'],
    ['GET', '/rules/', '', 'rbin', '404 UnknownOperationException'],
    ['GET', '/rules/a/b', '', 'rbin', '404 UnknownOperationException'],
    ['GET', '/rules/aaaaaaaaaaa?x=y', '', 'rbin', '400 ValidationException'],
    ['GET', '/rules/%ff', '', 'rbin', '400 ValidationException'],
    ['DELETE', '/tags/x', '', 'rbin', '400 ValidationException'],
    ['PATCH', '/rules/aaaaaaaaaaa', '{"Colour":1}', 'rbin', '400 ValidationException'],
    ['PATCH', '/rules/aaaaaaaaaaa', '{"Identifier":"bbbbbbbbbbb"}', 'rbin', '400 ValidationException'],
    ['PATCH', '/rules/aaaaaaaaaaa', '{', 'rbin', '400 SerializationException'],
    ['POST', '/rules', '{}', 'rbin', '400 ValidationException'],
    ['GET', '/rules/aaaaaaaaaaa', '', 'ec2', '404 undefined'],
  ])('%s %s with %j, signed for %4$s, is refused', async (method, url, body, service, expected) => {
    const answer = await send(method, url, body, forService(service))
    expect(`${answer.status} ${answer.headers['x-amzn-errortype']}`).toBe(expected)
  })

  test('of a web page is refused', async () => {
    const answer = await send('GET', '/rules/aaaaaaaaaaa', '', { origin: 'http://evil.example' })
    expect(answer.status).toBe(403)
  })

  test('beyond the limit of a body is refused', async () => {
    expect((await send('POST', '/list-rules', ' '.repeat(1024 * 1024 + 1))).status).toBe(413)
  })

  test('without a signature is not taken in strict mode', async () => {
    const strict = new Api({
      ...common, authenticator: strictAuthenticator(systemClock, async () => undefined), dispatch: async () => ({}),
    }, new WebGuard())
    const outcome = async (headers: RawRequest['headers']) => {
      const answer = await strict.handle({ method: 'GET', url: '/rules/aaaaaaaaaaa', headers, body: Buffer.alloc(0) })
      return `${answer.status} ${answer.headers['x-amzn-errortype']}`
    }
    expect(await outcome({ host: 'localhost' })).toBe('403 MissingAuthenticationTokenException')
    expect(await outcome({ host: 'localhost', ...forService('rbin') })).toBe('403 UnrecognizedClientException')
  })
})
