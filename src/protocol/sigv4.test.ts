import { describe, expect, it } from 'vitest'
import { strictAuthenticator, permissiveAuthenticator, type AccessKey } from './authenticator.ts'
import { presign, sign } from './sigv4.ts'
import type { RawRequest } from './request.ts'

const NOW = Date.UTC(2026, 0, 31, 9)
const MINUTE = 60_000
const credentials = { accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'secret' }
const target = { region: 'eu-west-1', service: 'ec2' }

const post = (changes: Partial<RawRequest> = {}): RawRequest => ({
  method: 'POST', url: '/', headers: { host: 'localhost:8773' }, body: Buffer.from('Action=DescribeVpcs'), ...changes,
})
const signed = (request: RawRequest, service = 'ec2', nowMs = NOW): RawRequest =>
  ({ ...request, headers: sign(request, credentials, { ...target, service }, nowMs) })

function authenticate(
  request: RawRequest,
  { secret = 'secret', nowMs = NOW, session }: { secret?: string; nowMs?: number; session?: AccessKey['session'] } = {},
) {
  const clock = { now: () => nowMs, after: () => ({ cancel() {} }), soon() {}, sleep: () => Promise.resolve() }
  const authenticator = strictAuthenticator(clock, async (id) =>
    id === 'AKIAEXAMPLE' ? { secret, account: '111122223333', session } : undefined)
  return authenticator.authenticate(request)
}

describe('sign', () => {
  // Cases of AWS's own Signature Version 4 test suite.
  it.each([
    ['get-vanilla', 'GET', '/', '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
    ['post-vanilla', 'POST', '/', '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b'],
    ['get-vanilla-query-order-key-case', 'GET', '/?Param2=value2&Param1=value1',
      'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500'],
  ])('gives the signature of %s', (_, method, url, expected) => {
    const request = { method, url, headers: { host: 'example.amazonaws.com' }, body: Buffer.alloc(0) }
    const example = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
    const scope = { region: 'us-east-1', service: 'service' }
    const headers = sign(request, example, scope, Date.UTC(2015, 7, 30, 12, 36))
    expect(headers['authorization']).toMatch(new RegExp(`Signature=${expected}$`))
  })
})

function stranger(service: string) {
  const headers = sign(post(), { ...credentials, accessKeyId: 'AKIASTRANGER' }, { ...target, service }, NOW)
  return authenticate({ ...post(), headers })
}

describe('strict authentication', () => {
  const identity = { account: '111122223333', accessKeyId: 'AKIAEXAMPLE', region: 'eu-west-1' }

  it('takes a request signed by header', async () => {
    expect(await authenticate(signed(post()))).toEqual(identity)
  })

  it('takes a presigned URL until it expires', async () => {
    const get = post({ method: 'GET', url: "/?Action=DescribeVpcs&Filter.1.Name=a%20b'(!)*", body: Buffer.alloc(0) })
    const request = { ...get, url: presign(get, credentials, target, NOW, 3600) }
    expect(await authenticate(request, { nowMs: NOW + 59 * MINUTE })).toEqual(identity)
    await expect(authenticate(request, { nowMs: NOW + 61 * MINUTE })).rejects.toMatchObject({ code: 'RequestExpired' })
    const longer = { ...request, url: request.url.replace('Expires=3600', 'Expires=36000') }
    await expect(authenticate(longer)).rejects.toMatchObject({ code: 'AuthFailure', httpStatus: 401 })
  })

  it('takes clocks fifteen minutes apart and no more', async () => {
    for (const offset of [-15 * MINUTE, 15 * MINUTE]) {
      expect(await authenticate(signed(post(), 'ec2', NOW + offset))).toEqual(identity)
    }
    for (const offset of [-15 * MINUTE - 1000, 15 * MINUTE + 1000]) {
      const late = authenticate(signed(post(), 'ec2', NOW + offset))
      await expect(late).rejects.toMatchObject({ code: 'RequestExpired', httpStatus: 400 })
    }
  })

  const notValidated = 'AWS was not able to validate the provided access credentials'
  it.each([
    ['another body', { ...signed(post()), body: Buffer.from('Action=DescribeSubnets') }],
    ['another URL', { ...signed(post()), url: '/?DryRun=true' }],
    ['another host', { ...signed(post()), headers: { ...signed(post()).headers, host: 'other' } }],
    ['another method', { ...signed(post()), method: 'GET' }],
    ['an unsigned body', { ...signed(post()), headers: { ...signed(post()).headers, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
      body: Buffer.from('Action=DescribeSubnets') }],
  ])('refuses %s than was signed', async (_, request) => {
    await expect(authenticate(request)).rejects.toMatchObject({ code: 'AuthFailure', httpStatus: 401, message: notValidated })
  })

  it('refuses a wrong secret in the words of the service, also just after the right one', async () => {
    expect(await authenticate(signed(post()))).toEqual(identity)
    await expect(authenticate(signed(post()), { secret: 'other' })).rejects.toMatchObject({ code: 'AuthFailure' })
    await expect(authenticate(signed(post(), 'sts'), { secret: 'other' }))
      .rejects.toMatchObject({ code: 'SignatureDoesNotMatch', httpStatus: 403 })
  })

  it('refuses a key that it does not know', async () => {
    await expect(stranger('ec2')).rejects.toMatchObject({ code: 'AuthFailure', httpStatus: 401, message: notValidated })
    await expect(stranger('sts')).rejects.toMatchObject({ code: 'InvalidClientTokenId', httpStatus: 403 })
  })

  it('refuses a session token, which its keys do not have', async () => {
    const request = signed(post({ headers: { host: 'localhost', 'x-amz-security-token': 'token' } }))
    await expect(authenticate(request)).rejects.toThrow(/AWS_SESSION_TOKEN/)
  })

  it('refuses a request without a signature', async () => {
    await expect(authenticate(post())).rejects.toMatchObject({ code: 'MissingAuthenticationToken', httpStatus: 403 })
    const json = post({ headers: { host: 'localhost', 'x-amz-target': 'AmazonSSM.GetParameter' } })
    await expect(authenticate(json)).rejects.toMatchObject({ code: 'MissingAuthenticationTokenException', httpStatus: 400 })
  })

  describe('with a temporary key', () => {
    const session = { token: 'the-token', expiresMs: NOW + MINUTE }
    const carrying = (token: string) => post({ headers: { host: 'localhost', 'x-amz-security-token': token } })

    it('takes its token in a header or a URL', async () => {
      expect(await authenticate(signed(carrying('the-token')), { session })).toEqual(identity)
      const get = post({ method: 'GET', url: '/?Action=DescribeVpcs&X-Amz-Security-Token=the-token', body: Buffer.alloc(0) })
      expect(await authenticate({ ...get, url: presign(get, credentials, target, NOW, 60) }, { session })).toEqual(identity)
    })

    it.each([
      ['ec2', 'AuthFailure', 401, 'RequestExpired', 400],
      ['sts', 'InvalidClientTokenId', 403, 'ExpiredToken', 403],
      ['iam', 'InvalidClientTokenId', 403, 'ExpiredToken', 403],
      ['ssm', 'UnrecognizedClientException', 400, 'ExpiredTokenException', 400],
    ])('refuses in the words of %s what comes without the token, with another, or too late', async (
      service, wrongCode, wrongStatus, lateCode, lateStatus,
    ) => {
      for (const request of [post(), carrying('the-toke'), carrying('another-1'), carrying('')]) {
        const wrong = authenticate(signed(request, service), { session })
        await expect(wrong).rejects.toMatchObject({ code: wrongCode, httpStatus: wrongStatus })
      }
      const atEnd = authenticate(signed(carrying('the-token'), service), { session, nowMs: NOW + MINUTE })
      await expect(atEnd).rejects.toMatchObject({ code: lateCode, httpStatus: lateStatus })
    })

    it('does not tell that a key has expired to who cannot sign with it', async () => {
      const stale = authenticate(signed(carrying('the-token')), { session, nowMs: NOW + 2 * MINUTE, secret: 'other' })
      await expect(stale).rejects.toMatchObject({ code: 'AuthFailure' })
    })
  })

  const authorization = signed(post()).headers['authorization'] ?? ''
  it.each([
    ['Basic', 'Basic YTpi'],
    ['no host', authorization.replace('host;', '')],
    ['a short signature', authorization.slice(0, -1)],
    ['another day', authorization.replace('20260131', '20260130')],
    ['no scope', authorization.replace('/eu-west-1', '')],
    ['nothing', ''],
  ])('refuses an Authorization header with %s', async (_, value) => {
    const request = signed(post())
    const wrong = authenticate({ ...request, headers: { ...request.headers, authorization: value } })
    await expect(wrong).rejects.toMatchObject({ code: 'AuthFailure', httpStatus: 401 })
  })
})

describe('permissive authentication', () => {
  it('takes any key and none', async () => {
    const anyone = await permissiveAuthenticator.authenticate(signed(post()))
    expect(anyone).toEqual({ account: '123456789012', accessKeyId: 'AKIAEXAMPLE', region: 'eu-west-1' })
    const nobody = { account: '123456789012', accessKeyId: null, region: null }
    expect(await permissiveAuthenticator.authenticate(post())).toEqual(nobody)
    expect(await permissiveAuthenticator.authenticate(post({ headers: { authorization: 'junk' } }))).toEqual(nobody)
  })
})
