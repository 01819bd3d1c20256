import { expect, it } from 'vitest'
import { openTestStore } from '../../test/support/rows.ts'
import { assumeRole } from './assume-role.ts'
import { getCallerIdentity } from './get-caller-identity.ts'

const root = { Account: '123456789012', UserId: '123456789012', Arn: 'arn:aws:iam::123456789012:root' }

it('names the root user of the account that signed', async () => {
  const { run } = await openTestStore()
  expect(await run((context) => getCallerIdentity(context, {}))).toEqual(root)
  expect(await run((context) => getCallerIdentity({ ...context, accessKeyId: null }, {}))).toEqual(root)
})

it('names the session of a role for the key of one', async () => {
  const { run } = await openTestStore()
  await run(async (context) => {
    const input = { RoleArn: 'arn:aws:iam::123456789012:role/team/deploy', RoleSessionName: 'ci' }
    const { Credentials, AssumedRoleUser } = await assumeRole(context, input)
    const accessKeyId = Credentials?.AccessKeyId ?? ''
    expect(await getCallerIdentity({ ...context, accessKeyId }, {})).toEqual({
      Account: '123456789012', UserId: AssumedRoleUser?.AssumedRoleId,
      Arn: 'arn:aws:sts::123456789012:assumed-role/deploy/ci',
    })
  })
})
