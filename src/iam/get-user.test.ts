import { expect, it } from 'vitest'
import { ApiError } from '../core/errors.ts'
import { NOW_MS, openTestStore } from '../../test/support/rows.ts'
import { assumeRole } from '../sts/assume-role.ts'
import { getUser } from './get-user.ts'

const told = (error: unknown) => {
  if (error instanceof ApiError) return `${error.httpStatus} ${error.code}: ${error.message}`
  throw error
}

it('is the root user of the account without a name', async () => {
  const { run } = await openTestStore()
  expect(await run((context) => getUser(context, {}))).toEqual({
    User: {
      Path: '/', UserName: undefined, UserId: '123456789012', Arn: 'arn:aws:iam::123456789012:root',
      CreateDate: new Date(NOW_MS),
    },
  })
})

it('is nobody with a name', async () => {
  const { run } = await openTestStore()
  const failure = (UserName: string) => run((context) => getUser(context, { UserName })).catch(told)
  expect(await failure('root')).toBe('404 NoSuchEntity: The user with name root cannot be found.')
  expect(await failure('a b')).toMatch(/^400 ValidationError: .*'userName'/)
})

it('must have a name when a role asks', async () => {
  const { run } = await openTestStore()
  const input = { RoleArn: 'arn:aws:iam::123456789012:role/deploy', RoleSessionName: 'ci' }
  const { Credentials } = await run((context) => assumeRole(context, input))
  const accessKeyId = Credentials?.AccessKeyId ?? ''
  expect(await run((context) => getUser({ ...context, accessKeyId }, {})).catch(told))
    .toBe('400 ValidationError: Must specify userName when calling with non-User credentials')
})
