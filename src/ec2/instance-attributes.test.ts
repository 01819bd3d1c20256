import { beforeEach, describe, expect, it } from 'vitest'
import { instanceDoc } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { insertInstance, insertInterface, insertVolume } from '../../test/support/rows.ts'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { ATTRIBUTE_NAMES, describeInstanceAttribute } from './instance-attributes.ts'

let lab: AttributeLab
let row: InstanceTable

beforeEach(async () => {
  lab = await openAttributeLab()
  row = await lab.run(async (context) => {
    const instance = await insertInstance(context, {}, { userData: 'aGk=', shutdownBehavior: 'terminate' })
    await insertInterface(context, instance)
    await insertVolume(context, instance)
    return instance
  })
})

const read = (Attribute: (typeof ATTRIBUTE_NAMES)[number]) =>
  lab.call(describeInstanceAttribute, { InstanceId: row.instance_id, Attribute })

describe('DescribeInstanceAttribute', () => {
  it('tells the one attribute and the id, in the form that each has', async () => {
    const values = {
      instanceType: { InstanceType: { Value: 't3.micro' } },
      kernel: { KernelId: {} },
      ramdisk: { RamdiskId: {} },
      userData: { UserData: { Value: 'aGk=' } },
      disableApiTermination: { DisableApiTermination: { Value: false } },
      instanceInitiatedShutdownBehavior: { InstanceInitiatedShutdownBehavior: { Value: 'terminate' } },
      rootDeviceName: { RootDeviceName: { Value: '/dev/vda' } },
      blockDeviceMapping: { BlockDeviceMappings: [expect.objectContaining({ DeviceName: '/dev/vda' })] },
      productCodes: { ProductCodes: [] },
      sourceDestCheck: { SourceDestCheck: { Value: true } },
      groupSet: { Groups: [expect.objectContaining({ GroupName: 'default' })] },
      ebsOptimized: { EbsOptimized: { Value: false } },
      sriovNetSupport: { SriovNetSupport: {} },
      enaSupport: { EnaSupport: { Value: true } },
      enclaveOptions: { EnclaveOptions: { Enabled: false } },
      disableApiStop: { DisableApiStop: { Value: false } },
    }
    for (const name of ATTRIBUTE_NAMES) expect(await read(name)).toEqual({ InstanceId: row.instance_id, ...values[name] })
  })

  it('has defaults for instances of a version that knew no options', async () => {
    const { options, contactMs, ...older } = instanceDoc(row)
    expect([options.monitoring, contactMs]).toEqual(['disabled', null])
    await lab.run(({ db }) =>
      db.updateTable('instances').set({ doc: JSON.stringify(older) }).where('instance_id', '=', row.instance_id).execute())
    expect(await read('disableApiStop')).toMatchObject({ DisableApiStop: { Value: false } })
  })

  it('refuses attributes that there are none of, and instances that are not there', async () => {
    const other = { InstanceId: 'i-00000000000000000', Attribute: 'userData' } as const
    expect(await lab.failure(describeInstanceAttribute, other)).toMatch(/^InvalidInstanceID.NotFound/)
    expect(await lab.failure(describeInstanceAttribute, { InstanceId: row.instance_id, Attribute: 'size' as 'userData' }))
      .toMatch(/^InvalidParameterValue: Value \(size\)/)
    expect(await lab.failure(describeInstanceAttribute, { InstanceId: 'i-1', Attribute: 'userData' }))
      .toMatch(/^InvalidInstanceID.Malformed/)
  })
})
