import { describe, expect, it } from 'vitest'
import { openMemoryAccount } from '../../test/support/memory-account.ts'
import { describeAccountAttributes } from './account-attributes.ts'

const account = await openMemoryAccount()

async function attributes(...names: string[]): Promise<Record<string, string | undefined>> {
  const { AccountAttributes: found } = await account.call(describeAccountAttributes, { AttributeNames: names as 'default-vpc'[] })
  return Object.fromEntries((found ?? []).map((each) => [each.AttributeName, each.AttributeValues?.[0]?.AttributeValue]))
}

describe('describeAccountAttributes', () => {
  it('answers all of them, the default VPC among them', async () => {
    expect(await attributes()).toEqual({
      'supported-platforms': 'VPC', 'default-vpc': account.defaultVpcId, 'max-instances': '20', 'max-elastic-ips': '5',
      'vpc-max-elastic-ips': '5', 'vpc-max-security-groups-per-interface': '5',
    })
  })

  it('answers only those that are named', async () => {
    expect(await attributes('default-vpc')).toEqual({ 'default-vpc': account.defaultVpcId })
    expect(await attributes('max-instances', 'max-instances')).toEqual({ 'max-instances': '20' })
  })

  it('says none for an account without a default VPC', async () => {
    await account.query((db) => db.updateTable('vpcs').set({ is_default: 0 }).where('vpc_id', '=', account.defaultVpcId).execute())
    expect(await attributes('default-vpc')).toEqual({ 'default-vpc': 'none' })
  })

  it('refuses a name that is none', async () => {
    expect(await account.failure(describeAccountAttributes, { AttributeNames: ['max-fun' as 'default-vpc'] }))
      .toMatch(/^InvalidParameterValue: Value \(max-fun\) for parameter attributeName is invalid/)
  })
})
