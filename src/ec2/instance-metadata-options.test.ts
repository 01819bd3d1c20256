import { beforeEach, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface } from '../../test/support/rows.ts'
import { modifyInstanceMetadataDefaults } from './instance-metadata-defaults.ts'
import { modifyInstanceMetadataOptions } from './instance-metadata-options.ts'

let lab: AttributeLab
let id: string
let vpcId: string

beforeEach(async () => {
  lab = await openAttributeLab()
  const row = await lab.run(async (context) => {
    const instance = await insertInstance(context)
    await insertInterface(context, instance)
    return instance
  })
  id = row.instance_id
  vpcId = row.vpc_id
})

it('changes what is named, and answers pending', async () => {
  const result = await lab.call(modifyInstanceMetadataOptions, { InstanceId: id, HttpTokens: 'required', InstanceMetadataTags: 'enabled' })
  const changed = { HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled', InstanceMetadataTags: 'enabled' }
  expect(result).toEqual({
    InstanceId: id, InstanceMetadataOptions: { ...changed, State: 'pending', HttpProtocolIpv6: 'disabled' },
  })
  expect((await lab.row(id)).parsed.metadataOptions).toEqual({
    httpTokens: 'required', httpPutResponseHopLimit: 1, httpEndpoint: 'enabled', instanceMetadataTags: 'enabled',
  })
  expect(await lab.work()).toEqual([])
})

it('has the port made anew for another hop limit', async () => {
  await lab.call(modifyInstanceMetadataOptions, { InstanceId: id, HttpPutResponseHopLimit: 3 })
  expect((await lab.row(id)).parsed.metadataOptions.httpPutResponseHopLimit).toBe(3)
  expect(await lab.work()).toEqual([`ports ${vpcId}`])
})

it.each([
  [{ HttpPutResponseHopLimit: 65 }, /^InvalidParameterValue: Value \(65\) for parameter HttpPutResponseHopLimit/],
  [{ HttpPutResponseHopLimit: 0 }, /^InvalidParameterValue/],
  [{ HttpTokens: 'maybe' as 'optional' }, /^InvalidParameterValue: Value \(maybe\) for parameter HttpTokens/],
  [{ HttpEndpoint: 'off' as 'disabled' }, /^InvalidParameterValue/],
  [{ HttpProtocolIpv6: 'enabled' as const }, /^UnsupportedOperation/],
])('refuses %j', async (change, message) => {
  expect(await lab.failure(modifyInstanceMetadataOptions, { InstanceId: id, ...change })).toMatch(message)
})

it('heeds the account that insists on tokens, and leaves terminated instances alone', async () => {
  await lab.call(modifyInstanceMetadataDefaults, { HttpTokensEnforced: 'enabled' })
  expect(await lab.failure(modifyInstanceMetadataOptions, { InstanceId: id, HttpTokens: 'optional' })).toMatch(/^UnsupportedOperation/)
  const gone = await lab.run((context) => insertInstance(context, { state: 'terminated' }))
  expect(await lab.failure(modifyInstanceMetadataOptions, { InstanceId: gone.instance_id, HttpTokens: 'required' }))
    .toMatch(/^IncorrectInstanceState/)
})
