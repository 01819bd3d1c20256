import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { permissiveAuthenticator, strictAuthenticator, type Authenticator } from '../../src/protocol/authenticator.ts'
import { loadServiceModel } from '../../src/protocol/model.ts'
import { createApiServer } from '../../src/protocol/server.ts'

let calls = 0
const serverWith = (authenticator: Authenticator) => createApiServer({
  authenticator,
  dispatch: async () => {
    calls++
    return {}
  },
  supports: () => true,
  clock: systemClock,
  random: seededRandom(7),
  log: silentLogger,
})
const open = serverWith(permissiveAuthenticator)
const strict = serverWith(strictAuthenticator(systemClock, async () => ({ secret: 'secret', account: '111122223333' })))

const post = (body: string | Buffer, server = open, headers = {}, url = '/') =>
  server.handle({ method: 'POST', url, headers: { host: 'localhost', ...headers }, body: Buffer.from(body) })
const codeIn = (body: string) => /<Code>(.*?)<\/Code>/.exec(body)?.[1]

/** Every hostile request ends like this: a client's error in EC2's shape, or, when harmless, a success. */
async function expectNoHarm(answer: ReturnType<typeof post>) {
  const { status, body } = await answer
  expect(status).toBeLessThan(500)
  expect(body).toMatch(status === 200 ? /^<\?xml [^]*Response xmlns=/ : /<Code>[A-Za-z.]+<\/Code><Message>/)
  // oxlint-disable-next-line no-control-regex
  expect(body).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/)
}

describe('hostile requests', () => {
  const many = Array.from({ length: 100_000 }, (_, index) => `k${index}=`).join('&')
  const deepKey = Array.from({ length: 50_000 }, () => 'a').join('.')
  it.each([
    ['10 MB of form data', Buffer.alloc(10_000_000, 'a'), 413, 'InvalidRequest'],
    ['100,000 keys', `Action=DescribeVpcs&${many}`, 400, 'InvalidRequest'],
    ['a key nested 50,000 deep', `Action=DescribeVpcs&${deepKey}=1`, 400, 'InvalidRequest'],
    ['100,000 values of one key', `Action=DescribeVpcs${'&a=1'.repeat(100_000)}`, 400, 'InvalidRequest'],
    ['a million separators', '&'.repeat(1_000_000), 400, 'MissingAction'],
    ['a key of 1 MB', `Action=DescribeVpcs&${'a'.repeat(1_000_000)}=1`, 400, 'InvalidRequest'],
    ['a value of 1 MB', `Action=DescribeVpcs&DryRun=${'a'.repeat(1_000_000)}`, 400, 'InvalidParameterValue'],
    ['a number of 1 MB', `Action=RunInstances&MinCount=1&MaxCount=${'1'.repeat(1_000_000)}`, 400, 'InvalidParameterValue'],
    ['__proto__', 'Action=DescribeVpcs&__proto__.polluted=1', 400, 'UnknownParameter'],
    ['binary junk', Buffer.from([0, 255, 254, 1, 2, 3]), 400, 'MalformedQueryString'],
    ['half a character', Buffer.from('Action=DescribeVpcs&a=%e2%82'), 400, 'MalformedQueryString'],
    ['a JSON body', '{"Action":"DescribeVpcs"}', 400, 'MissingAction'],
  ])('%s: %s', async (_, body, status, code) => {
    const before = calls
    const startMs = performance.now()
    const answer = await post(body)
    expect([answer.status, codeIn(answer.body)]).toEqual([status, code])
    expect(answer.body.length).toBeLessThan(1000)
    expect(performance.now() - startMs).toBeLessThan(2000)
    expect(calls).toBe(before)
    expect(Object.prototype).not.toHaveProperty('polluted')
    expect((await post('Action=DescribeVpcs')).status).toBe(200)
  })

  it('of random bytes do no harm', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      await expectNoHarm(post(Buffer.from(bytes)))
      await expectNoHarm(post('', open, {}, `/?${Buffer.from(bytes).toString('latin1')}`))
    }), { numRuns: 500 })
  })

  it('of nearly right forms do no harm, whatever the operation', async () => {
    const model = loadServiceModel('ec2')
    const word = fc.constantFrom('Filter', 'Name', 'Value', 'Key', 'Tag', 'member', 'entry', 'DryRun', 'MaxResults', '__proto__',
      'constructor', 'toString', '', '0', '1', '2', '-1', '1e9', '999999999999', 'InstanceId', 'Ebs', '%00', '%F0%9F%A6%84')
    const pair = fc.tuple(fc.array(word, { minLength: 1, maxLength: 6 }), word).map(([key, value]) => `${key.join('.')}=${value}`)
    const names = fc.constantFrom(...model.operationNames())
    await fc.assert(fc.asyncProperty(names, fc.array(pair, { maxLength: 8 }), async (action, pairs) => {
      await expectNoHarm(post([`Action=${action}`, ...pairs].join('&')))
    }), { numRuns: 2000 })
  })

  it('with a random Authorization header are never authenticated', async () => {
    const before = calls
    const parts = fc.constantFrom('AWS4-HMAC-SHA256 ', 'Credential=', 'AKIA', '/20260131', '/eu-west-1', '/ec2', '/sts',
      '/aws4_request', ', ', 'SignedHeaders=', 'host', ';', 'Signature=', '0'.repeat(64), '=', ' ', '\u00ff')
    await fc.assert(fc.asyncProperty(fc.array(parts, { maxLength: 14 }), async (words) => {
      const headers = { authorization: words.join(''), 'x-amz-date': '20260131T090000Z' }
      const answer = await post('Action=DescribeVpcs', strict, headers)
      expect([400, 401, 403]).toContain(answer.status)
    }), { numRuns: 1000 })
    expect(calls).toBe(before)
  })
})
