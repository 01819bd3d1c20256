import { beforeEach, describe, expect, it } from 'vitest'
import { ApiError } from '../core/errors.ts'
import type { Context } from '../ec2/context.ts'
import { NOW_MS, OTHER_ACCOUNT, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { assumeRole } from './assume-role.ts'
import { getSessionToken } from './get-session-token.ts'

const valid = { RoleArn: 'arn:aws:iam::123456789012:role/deploy', RoleSessionName: 'ci' }

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const call = (input: object, change: Partial<Context> = {}) =>
  test.run((context) => assumeRole({ ...context, ...change }, { ...valid, ...input }))
const failure = async (run: Promise<unknown>) => run.then(() => 'no failure', (error: unknown) => {
  if (error instanceof ApiError) return `${error.httpStatus} ${error.code}: ${error.message}`
  throw error
})
const keys = () => test.store.read((db) => db.selectFrom('access_keys').selectAll().execute())

describe('AssumeRole', () => {
  it('gives a key with a token that ends after an hour, and keeps it', async () => {
    const { Credentials: key, AssumedRoleUser: user } = await call({})
    expect(key).toEqual({
      AccessKeyId: expect.stringMatching(/^ASIA[A-Z2-7]{16}$/), SecretAccessKey: expect.stringMatching(/^\S{40}$/),
      SessionToken: expect.stringMatching(/^\S{176}$/), Expiration: new Date(NOW_MS + 3_600_000),
    })
    expect(user).toEqual({
      AssumedRoleId: expect.stringMatching(/^AROA[A-Z2-7]{17}:ci$/), Arn: 'arn:aws:sts::123456789012:assumed-role/deploy/ci',
    })
    expect(await keys()).toEqual([{
      access_key_id: key?.AccessKeyId, account_id: '123456789012', secret: key?.SecretAccessKey, created_ms: NOW_MS,
      session_token: key?.SessionToken, expires_ms: NOW_MS + 3_600_000, principal: user?.Arn,
    }])
  })

  it('has one id for a role, whatever the session and the path', async () => {
    const idOf = async (input: object) => (await call(input)).AssumedRoleUser?.AssumedRoleId?.split(':')[0]
    expect(await idOf({ RoleSessionName: 'other', RoleArn: 'arn:aws:iam::123456789012:role/a/b/deploy' })).toBe(await idOf({}))
    expect(await idOf({ RoleArn: 'arn:aws:iam::123456789012:role/other' })).not.toBe(await idOf({}))
  })

  it.each([900, 43_200])('takes %i s', async (DurationSeconds) => {
    const { Credentials } = await call({ DurationSeconds, ExternalId: 'a:b/c' })
    expect(Credentials?.Expiration).toEqual(new Date(NOW_MS + DurationSeconds * 1000))
  })

  const wrong = (value: string | number, name: string, constraint: string) =>
    `400 ValidationError: 1 validation error detected: Value '${value}' at '${name}' failed to satisfy constraint: `
    + `Member must ${constraint}`
  it.each([
    [{ DurationSeconds: 899 }, wrong(899, 'durationSeconds', 'have value greater than or equal to 900')],
    [{ DurationSeconds: 43_201 }, wrong(43_201, 'durationSeconds', 'have value less than or equal to 43200')],
    [{ RoleSessionName: 'a' }, wrong('a', 'roleSessionName', 'have length greater than or equal to 2')],
    [{ RoleSessionName: 'a b' },
      wrong('a b', 'roleSessionName', 'satisfy regular expression pattern: [\\w+=,.@-]*')],
    [{ RoleSessionName: 'a'.repeat(65) }, /roleSessionName.* less than or equal to 64$/],
    [{ ExternalId: 'a' }, /externalId.* greater than or equal to 2$/],
    [{ RoleArn: 'deploy', RoleSessionName: '?' },
      /^400 ValidationError: 3 validation errors detected: .*roleArn.*; .*roleSessionName/],
    [{ RoleArn: 'arn:aws:iam::123456789012:user/deploy' },
      /^400 ValidationError: arn:aws:iam::123456789012:user\/deploy is invalid/],
    [{ RoleArn: 'arn:aws:iam::123456789012:role/' }, /is invalid/],
    [{ RoleArn: 'arn:aws:sts::123456789012:role/deploy' }, /is invalid/],
    [{ RoleArn: `arn:aws:iam::${OTHER_ACCOUNT}:role/deploy` }, '403 AccessDenied: User: arn:aws:iam::123456789012:root is not '
      + `authorized to perform: sts:AssumeRole on resource: arn:aws:iam::${OTHER_ACCOUNT}:role/deploy`],
  ])('with %j is refused', async (input, expected) => {
    expect(await failure(call(input))).toEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected))
    expect(await keys()).toEqual([])
  })

  it.each([
    { Policy: '{}' }, { PolicyArns: [{ arn: 'arn:aws:iam::aws:policy/ReadOnlyAccess' }] }, { Tags: [{ Key: 'a', Value: 'b' }] },
    { TransitiveTagKeys: ['a'] }, { SerialNumber: '1' }, { TokenCode: '123456' }, { SourceIdentity: 'me' },
    { ProvidedContexts: [{}] },
  ])('with %j, of which nothing would come, is refused', async (input) => {
    expect(await failure(call(input))).toMatch(new RegExp(`^400 UnsupportedOperation: The parameter ${Object.keys(input)[0]} `))
  })

  it('of another role by a role gives an hour at most', async () => {
    const accessKeyId = (await call({})).Credentials?.AccessKeyId ?? ''
    expect(await failure(call({ DurationSeconds: 3601 }, { accessKeyId }))).toMatch(/^400 ValidationError: .*role chaining$/)
    expect(await call({ DurationSeconds: 3600 }, { accessKeyId })).toMatchObject({ AssumedRoleUser: {} })
  })

  it('removes keys a day after they expired', async () => {
    await call({})
    const dayMs = 86_400_000
    await call({}, { nowMs: NOW_MS + 3_600_000 + dayMs })
    expect(await keys()).toHaveLength(2)
    await call({}, { nowMs: NOW_MS + 3_600_001 + dayMs })
    expect(await keys()).toHaveLength(2)
  })
})

describe('GetSessionToken', () => {
  const get = (input: object, change: Partial<Context> = {}) =>
    test.run((context) => getSessionToken({ ...context, ...change }, input))

  it('gives the root user a key for an hour, and for less when asked', async () => {
    expect((await get({})).Credentials?.Expiration).toEqual(new Date(NOW_MS + 3_600_000))
    expect((await get({ DurationSeconds: 129_600 })).Credentials?.Expiration).toEqual(new Date(NOW_MS + 3_600_000))
    expect((await get({ DurationSeconds: 900 })).Credentials?.Expiration).toEqual(new Date(NOW_MS + 900_000))
    expect((await keys()).map((row) => row.principal)).toEqual(Array.from({ length: 3 }, () => 'arn:aws:iam::123456789012:root'))
  })

  it('is refused to a temporary key, and with an MFA device', async () => {
    const accessKeyId = (await get({})).Credentials?.AccessKeyId ?? ''
    expect(await failure(get({}, { accessKeyId }))).toBe('403 AccessDenied: Cannot call GetSessionToken with session credentials')
    expect(await failure(get({ TokenCode: '123456' }))).toMatch(/^400 UnsupportedOperation/)
    expect(await failure(get({ DurationSeconds: 899 }))).toMatch(/^400 ValidationError/)
  })
})
