import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertImage } from '../../test/support/rows.ts'
import { describeInstances } from './describe-instances.ts'
import { runInstances } from './run-instances.ts'

let lab: AttributeLab
let base: RunInstancesRequest

beforeEach(async () => {
  lab = await openAttributeLab()
  const image = await lab.run((context) => insertImage(context))
  base = { ImageId: image.image_id, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, HibernationOptions: { Configured: true } }
})

const root = (Ebs: NonNullable<RunInstancesRequest['BlockDeviceMappings']>[number]['Ebs']) => ({
  BlockDeviceMappings: [{ DeviceName: '/dev/vda', Ebs }],
})
const encrypted = (size?: number) => root({ Encrypted: true, ...(size === undefined ? {} : { VolumeSize: size }) })
const failure = (change: Partial<RunInstancesRequest>) => lab.failure(runInstances, { ...base, ...change })

describe('a launch for hibernation', () => {
  it('shows so, in its answer, in DescribeInstances and to filters', async () => {
    const launched = await lab.call(runInstances, { ...base, ...encrypted() })
    expect(launched.Instances?.[0]?.HibernationOptions).toEqual({ Configured: true })
    const plain = await lab.call(runInstances, { ...base, HibernationOptions: { Configured: false } })
    expect(plain.Instances?.[0]?.HibernationOptions).toEqual({ Configured: false })
    const found = await lab.call(describeInstances, { Filters: [{ Name: 'hibernation-options.configured', Values: ['true'] }] })
    expect(found.Reservations?.map((each) => each.ReservationId)).toEqual([launched.ReservationId])
    expect((await lab.row(launched.Instances?.[0]?.InstanceId ?? '')).parsed.hibernation).toBe(true)
  })

  it('needs an encrypted root', async () => {
    const refused = 'UnsupportedHibernationConfiguration: For hibernation, the root device volume must be encrypted.'
    expect(await failure({})).toBe(refused)
    const data = { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 8, Encrypted: true } }
    expect(await failure({ BlockDeviceMappings: [data] })).toBe(refused)
  })

  it('needs a root of a solid state type that the memory has room in', async () => {
    expect(await failure(root({ Encrypted: true, VolumeType: 'standard' }))).toMatch(/^UnsupportedHibernationConfiguration: .* not standard\.$/)
    expect(await failure({ ...encrypted(1), InstanceType: 't3.small' })).toMatch(
      /^UnsupportedHibernationConfiguration: .*it has 1 GiB, and t3.small has 2048 MiB of memory\.$/)
    expect(await failure({ ...encrypted(2), InstanceType: 't3.small' })).toBe('no failure')
  })

  it.each(['m5.metal', 'm5.12xlarge', 'm1.small'] as const)('needs a type that it is for, which %s is not', async (InstanceType) => {
    expect(await failure({ ...encrypted(500), InstanceType })).toBe(
      `UnsupportedHibernationConfiguration: Hibernation is not supported for the instance type '${InstanceType}'.`)
  })

  it('needs less than 150 GiB of memory', async () => {
    expect(await failure({ ...encrypted(500), InstanceType: 'm7i-flex.12xlarge' })).toMatch(
      /^UnsupportedHibernationConfiguration: .* must have less than 150 GiB of memory; 'm7i-flex.12xlarge' has more\.$/)
  })
})
