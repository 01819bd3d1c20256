import { expect, it } from 'vitest'
import { getCallerIdentity } from './get-caller-identity.ts'

it('names the root user of the account that signed', async () => {
  expect(await getCallerIdentity({ account: '123456789012' }, {})).toEqual({
    Account: '123456789012', UserId: '123456789012', Arn: 'arn:aws:iam::123456789012:root',
  })
})
