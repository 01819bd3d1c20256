import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, NOW_MS } from '../../test/support/rows.ts'
import type { InstanceTable } from '../store/schema.ts'
import { describeInstanceCreditSpecifications, modifyInstanceCreditSpecification } from './credit-specifications.ts'

let lab: AttributeLab
let age = 0

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = async (instanceType: string, state: InstanceTable['state'] = 'running') => {
  const row = await lab.run((context) =>
    insertInstance(context, { instance_type: instanceType, state, created_ms: NOW_MS + age++ }))
  return row.instance_id
}

describe('DescribeInstanceCreditSpecifications', () => {
  it.each([['t2.micro', 'standard'], ['t3.micro', 'unlimited'], ['t3a.nano', 'unlimited']])(
    'tells the default of %s: %s', async (type, credits) => {
      const id = await insert(type)
      expect((await lab.call(describeInstanceCreditSpecifications, { InstanceIds: [id] })).InstanceCreditSpecifications)
        .toEqual([{ InstanceId: id, CpuCredits: credits }])
    })

  it('lists what is unlimited, filtered and in pages, when no ids are given', async () => {
    await insert('t2.micro')
    await insert('m5.large')
    const ids: string[] = []
    for (let each = 0; each < 6; each++) ids.push(await insert('t3.micro'))
    const list = async (input: object) => {
      const { InstanceCreditSpecifications, NextToken } = await lab.call(describeInstanceCreditSpecifications, input)
      return { ids: InstanceCreditSpecifications?.map((each) => each.InstanceId), NextToken }
    }
    const first = await list({ MaxResults: 5 })
    expect(first.ids).toEqual(ids.slice(0, 5))
    expect(await list({ MaxResults: 5, NextToken: first.NextToken })).toEqual({ ids: ids.slice(5), NextToken: undefined })
    expect((await list({ Filters: [{ Name: 'instance-id', Values: [ids[2]] }] })).ids).toEqual([ids[2]])
    expect(await lab.failure(describeInstanceCreditSpecifications, { Filters: [{ Name: 'x', Values: [] }] })).toMatch(/filter 'x' is invalid/)
    expect(await lab.failure(describeInstanceCreditSpecifications, { InstanceIds: ids, MaxResults: 5 }))
      .toMatch(/^InvalidParameterCombination: The parameter instancesSet/)
  })

  it('refuses ids of types without credits', async () => {
    expect(await lab.failure(describeInstanceCreditSpecifications, { InstanceIds: [await insert('m5.large')] })).toBe(
      'InstanceCreditSpecification.NotSupported: The m5.large instance type does not support T2 Unlimited.')
  })
})

describe('ModifyInstanceCreditSpecification', () => {
  it('changes what it can, and says of the others why not', async () => {
    const burstable = await insert('t3.micro')
    const steady = await insert('m5.large')
    const ending = await insert('t3.micro', 'shutting-down')
    const ask = (InstanceId: string) => ({ InstanceId, CpuCredits: 'standard' })
    const result = await lab.call(modifyInstanceCreditSpecification, {
      InstanceCreditSpecifications: [burstable, steady, ending, 'i-00000000000000000', 'x'].map(ask),
    })
    expect(result.SuccessfulInstanceCreditSpecifications).toEqual([{ InstanceId: burstable }])
    expect(result.UnsuccessfulInstanceCreditSpecifications?.map((each) => [each.InstanceId, each.Error?.Code])).toEqual([
      [steady, 'InstanceCreditSpecification.NotSupported'], [ending, 'IncorrectInstanceState'],
      ['i-00000000000000000', 'InvalidInstanceID.NotFound'], ['x', 'InvalidInstanceID.Malformed'],
    ])
    expect((await lab.call(describeInstanceCreditSpecifications, { InstanceIds: [burstable] })).InstanceCreditSpecifications)
      .toEqual([{ InstanceId: burstable, CpuCredits: 'standard' }])
  })

  it('refuses credits that there are none of', async () => {
    const id = await insert('t3.micro')
    const modify = (CpuCredits: string | undefined) =>
      lab.failure(modifyInstanceCreditSpecification, { InstanceCreditSpecifications: [{ InstanceId: id, CpuCredits }] })
    expect(await modify('endless')).toMatch(/^InvalidParameterValue/)
    expect(await modify(undefined)).toMatch(/^MissingParameter/)
    expect(await lab.failure(modifyInstanceCreditSpecification, { InstanceCreditSpecifications: [] })).toMatch(/^MissingParameter/)
  })
})
