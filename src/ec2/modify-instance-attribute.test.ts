import type { ModifyInstanceAttributeRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface, insertVolume, type PlacedInstance } from '../../test/support/rows.ts'
import { changeInstanceDoc, changeInstanceOptions } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { describeInstanceAttribute } from './instance-attributes.ts'
import { modifyInstanceAttribute, resetInstanceAttribute } from './modify-instance-attribute.ts'
import { createPlacementGroup } from './placement-groups.ts'
import { createSecurityGroup } from './security-groups.ts'

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = (state: InstanceTable['state'] = 'stopped') =>
  lab.run(async (context) => {
    const instance = await insertInstance(context, { state, holds_capacity: state === 'running' ? 1 : 0 })
    await insertInterface(context, instance)
    await insertVolume(context, instance)
    return instance.instance_id
  })

type Change = Omit<ModifyInstanceAttributeRequest, 'InstanceId'>
const modify = async (id: string, change: Change) => {
  await lab.call(modifyInstanceAttribute, { InstanceId: id, ...change })
  return lab.row(id)
}
const failure = (id: string, change: Change) => lab.failure(modifyInstanceAttribute, { InstanceId: id, ...change })

describe('ModifyInstanceAttribute', () => {
  it('takes an attribute by its own parameter, and by name and value', async () => {
    const id = await insert()
    const behavior = async (change: Change) => (await modify(id, change)).parsed.shutdownBehavior
    expect(await behavior({ InstanceInitiatedShutdownBehavior: { Value: 'terminate' } })).toBe('terminate')
    expect(await behavior({ Attribute: 'instanceInitiatedShutdownBehavior', Value: 'stop' })).toBe('stop')
    const userData = async (change: Change) => (await modify(id, change)).parsed.userData
    expect(await userData({ UserData: { Value: Buffer.from('hi') } })).toBe('aGk=')
    expect(await userData({ Attribute: 'userData', Value: 'eWVz' })).toBe('eWVz')
  })

  it('switches protection on and off, whatever the state', async () => {
    const id = await insert('running')
    expect((await modify(id, { DisableApiTermination: { Value: true } })).parsed.options.disableApiTermination).toBe(true)
    const both = await modify(id, { Attribute: 'disableApiStop', Value: 'True' })
    expect(both.parsed.options).toMatchObject({ disableApiTermination: true, disableApiStop: true })
    expect((await modify(id, { DisableApiStop: { Value: false } })).parsed.options.disableApiStop).toBe(false)
    expect(await failure(id, { Attribute: 'disableApiStop', Value: 'perhaps' })).toMatch(/^InvalidParameterValue/)
  })

  it('keeps the placement group: a type that cannot be in it is refused', async () => {
    const id = await insert()
    const group = await lab.run((context) => createPlacementGroup(context, { GroupName: 'near', Strategy: 'cluster' }))
    await lab.run(({ db }) =>
      db.updateTable('instances').set({ instance_type: 'm5.large', placement_group_id: group.PlacementGroup?.GroupId ?? '' }).execute())
    expect(await failure(id, { InstanceType: { Value: 't3.micro' } })).toMatch(
      /^InvalidParameterCombination: Cluster placement groups are not supported by the 't3.micro' instance type/)
    expect((await modify(id, { InstanceType: { Value: 'm5.xlarge' } })).instance_type).toBe('m5.xlarge')
  })

  it('remembers that an instance was protected against termination once', async () => {
    const id = await insert('running')
    expect((await modify(id, { DisableApiTermination: { Value: false } })).parsed.wasProtected).toBeUndefined()
    await modify(id, { DisableApiTermination: { Value: true } })
    expect((await modify(id, { DisableApiTermination: { Value: false } })).parsed).toMatchObject({
      wasProtected: true, options: { disableApiTermination: false },
    })
  })

  it('takes exactly one attribute', async () => {
    const id = await insert()
    expect(await failure(id, {})).toBe('InvalidParameterCombination: No attributes specified.')
    expect(await failure(id, { InstanceType: {}, Groups: [] })).toBe('InvalidParameterCombination: No attributes specified.')
    expect(await failure(id, { InstanceType: { Value: 't3.small' }, DisableApiStop: { Value: true } })).toBe(
      'InvalidParameterCombination: Fields for multiple attribute types specified: instanceType, disableApiStop')
    expect(await failure(id, { Attribute: 'instanceType' })).toBe('MissingParameter: The request must contain the parameter value')
    expect(await failure(id, { Value: 't3.small' })).toBe('MissingParameter: The request must contain the parameter attribute')
  })

  it('gives a stopped instance another type, whose size counts from the next start', async () => {
    const id = await insert()
    await lab.run(({ db }) => changeInstanceOptions(db, id, { cpu: { coreCount: 1, threadsPerCore: 1 } }))
    const row = await modify(id, { InstanceType: { Value: 'm5.xlarge' } })
    expect(row).toMatchObject({ instance_type: 'm5.xlarge', vcpus: 4, memory_mib: 16_384 })
    expect(row.parsed).toMatchObject({ granted: null, options: { cpu: null } })
  })

  it('refuses types that are none, or for another architecture', async () => {
    const id = await insert()
    expect(await failure(id, { InstanceType: { Value: 'x9.huge' } })).toMatch(/^InvalidInstanceAttributeValue: .*'x9.huge'/)
    expect(await failure(id, { InstanceType: { Value: 't4g.micro' } })).toBe(
      'InvalidInstanceAttributeValue: Modifying the instance type from t3.micro to t4g.micro is not allowed.')
    await lab.run(async ({ db }) => {
      await changeInstanceDoc(db, id, { architecture: 'arm64' })
      await db.updateTable('instances').set({ instance_type: 't4g.micro' }).where('instance_id', '=', id).execute()
    })
    expect(await failure(id, { InstanceType: { Value: 't3.small' } })).toBe(
      'InvalidInstanceAttributeValue: Modifying the instance type from t4g.micro to t3.small is not allowed.')
    expect((await modify(id, { InstanceType: { Value: 't4g.small' } })).instance_type).toBe('t4g.small')
  })

  it('refuses types that want a network driver which the instance does not say it has, until it does', async () => {
    const id = await insert()
    await lab.run(({ db }) => changeInstanceDoc(db, id, { enaSupport: false }))
    expect(await failure(id, { InstanceType: { Value: 't3.small' } })).toBe(
      'InvalidParameterCombination: Enhanced networking with the Elastic Network Adapter (ENA) is required for the ' +
        `'t3.small' instance type. Ensure that your instance '${id}' is enabled for ENA.`)
    await modify(id, { EnaSupport: { Value: true } })
    expect((await modify(id, { InstanceType: { Value: 't3.small' } })).instance_type).toBe('t3.small')
  })

  it('refuses types that an instance for hibernation cannot have', async () => {
    const id = await insert()
    await lab.run(({ db }) => changeInstanceDoc(db, id, { hibernation: true }))
    expect(await failure(id, { InstanceType: { Value: 'm5.metal' } })).toMatch(/^UnsupportedHibernationConfiguration/)
    expect(await failure(id, { InstanceType: { Value: 't3.small' } })).toBe('no failure')
  })

  it.each<[string, Change]>([
    ['instanceType', { InstanceType: { Value: 't3.small' } }], ['userData', { UserData: { Value: Buffer.from('x') } }],
    ['ebsOptimized', { EbsOptimized: { Value: true } }], ['enaSupport', { EnaSupport: { Value: true } }],
    ['sriovNetSupport', { SriovNetSupport: { Value: 'simple' } }], ['enclaveOptions', { EnclaveOptions: { Enabled: false } }],
  ])('changes %s of a stopped instance only', async (_name, change) => {
    const id = await insert('running')
    expect(await failure(id, change)).toBe(`IncorrectInstanceState: The instance '${id}' is not in the 'stopped' state.`)
    expect(await failure(await insert('stopped'), change)).toBe('no failure')
  })

  it('keeps what has no effect on the machine', async () => {
    const id = await insert()
    expect((await modify(id, { EbsOptimized: { Value: true } })).parsed.options.ebsOptimized).toBe(true)
    expect((await modify(id, { SriovNetSupport: { Value: 'simple' } })).parsed.options.sriovNetSupport).toBe('simple')
    const old = await lab.run((context) => insertInstance(context, { state: 'stopped', instance_type: 't2.micro' }))
    expect(await failure(old.instance_id, { EbsOptimized: { Value: true } })).toMatch(/^Unsupported: EBS-optimized/)
  })

  it('refuses user data that is too long or not base64, and empties it', async () => {
    const id = await insert()
    expect(await failure(id, { UserData: { Value: Buffer.alloc(16 * 1024 + 1) } })).toMatch(/^InvalidParameterValue: User data is limited/)
    expect(await failure(id, { Attribute: 'userData', Value: '%%' })).toMatch(/^InvalidParameterValue: Invalid BASE64/)
    await modify(id, { UserData: { Value: Buffer.from('x') } })
    expect((await modify(id, { UserData: {} })).parsed.userData).toBeNull()
  })

  it('sets DeleteOnTermination of attached devices', async () => {
    const id = await insert('running')
    const deletion = async () => {
      const volumes = await lab.run(({ db }) =>
        db.selectFrom('volumes').select('delete_on_termination').where('instance_id', '=', id).execute())
      return volumes[0]?.delete_on_termination
    }
    await modify(id, { BlockDeviceMappings: [{ DeviceName: '/dev/vda', Ebs: { DeleteOnTermination: false } }] })
    expect(await deletion()).toBe(0)
    await modify(id, { Attribute: 'blockDeviceMapping', BlockDeviceMappings: [{ DeviceName: '/dev/vda' }] })
    expect(await deletion()).toBe(1)
    expect(await failure(id, { BlockDeviceMappings: [{ DeviceName: '/dev/sdz' }] })).toBe(
      'InvalidInstanceAttributeValue: No device is currently mapped at /dev/sdz')
  })

  it('replaces the groups of the primary interface and marks its port due', async () => {
    const id = await insert('running')
    const { GroupId: group = '' } = await lab.call(createSecurityGroup, { GroupName: 'web', Description: 'web' })
    await modify(id, { Groups: [group, group] })
    const groups = await lab.run(({ db }) =>
      db
        .selectFrom('interface_groups').innerJoin('interfaces', 'interfaces.interface_id', 'interface_groups.interface_id')
        .select(['group_id', 'revision', 'synced_revision']).where('instance_id', '=', id).execute())
    expect(groups).toEqual([{ group_id: group, revision: 2, synced_revision: 1 }])
    const { vpc_id: vpcId } = await lab.row(id)
    expect(await lab.work()).toContain(`ports ${vpcId}`)
    expect(await failure(id, { Groups: ['sg-00000000000000000'] })).toBe(
      "InvalidGroup.NotFound: The security group 'sg-00000000000000000' does not exist")
    expect(await failure(id, { Groups: ['web'] })).toMatch(/^InvalidGroupId.Malformed/)
  })

  it('turns the source/destination check off and on, which the port follows', async () => {
    const id = await insert('running')
    await modify(id, { SourceDestCheck: { Value: false } })
    const ports = () => lab.run(({ db }) =>
      db.selectFrom('interfaces').select(['source_dest_check', 'revision']).where('instance_id', '=', id).execute())
    expect(await ports()).toEqual([{ source_dest_check: 0, revision: 2 }])
    expect(await lab.work()).toContain(`ports ${(await lab.row(id)).vpc_id}`)
    expect(await lab.call(describeInstanceAttribute, { InstanceId: id, Attribute: 'sourceDestCheck' })).toEqual({
      InstanceId: id, SourceDestCheck: { Value: false },
    })
    await modify(id, { Attribute: 'sourceDestCheck', Value: 'true' })
    expect(await ports()).toEqual([{ source_dest_check: 1, revision: 3 }])
  })

  it('takes no type that has not room for the interfaces and their addresses', async () => {
    const id = await insert('stopped')
    await lab.run(async (context) => {
      const row = await rowOf(context, id)
      for (const index of [1, 2]) await insertInterface(context, row, { device_index: index })
    })
    expect(await failure(id, { InstanceType: { Value: 't3.nano' } })).toBe(
      'AttachmentLimitExceeded: Interface count 3 exceeds the limit for t3.nano')
    expect(await failure(id, { InstanceType: { Value: 't3.medium' } })).toBe('no failure')
  })

  it('wants the interface named where there are several', async () => {
    const id = await insert('running')
    await lab.run(async (context) => insertInterface(context, await rowOf(context, id), { device_index: 1 }))
    expect(await failure(id, { SourceDestCheck: { Value: true } })).toMatch(/^InvalidInstanceID: There are multiple interfaces/)
  })

  it.each<[string, Change]>([
    ['EnaSupport=false', { EnaSupport: { Value: false } }],
    ['EnclaveOptions.Enabled=true', { EnclaveOptions: { Enabled: true } }], ['kernel', { Kernel: { Value: 'aki-1' } }],
    ['ramdisk', { Attribute: 'ramdisk', Value: 'ari-1' }],
  ])('says that %s is not honoured', async (what, change) => {
    expect(await failure(await insert(), change)).toMatch(`UnsupportedOperation: The parameter ${what} is not supported`)
  })

  it('changes nothing of an instance that ends', async () => {
    const id = await insert('terminated')
    expect(await failure(id, { DisableApiTermination: { Value: true } })).toBe(
      `IncorrectInstanceState: The instance '${id}' is not in the 'running' or 'stopped' states.`)
    expect(await failure('i-00000000000000000', { DisableApiStop: { Value: true } })).toMatch(/^InvalidInstanceID.NotFound/)
    expect(await failure(await insert(), { Attribute: 'rootDeviceName', Value: '/dev/xvdb' })).toMatch(/^InvalidParameterValue/)
  })
})

describe('ResetInstanceAttribute', () => {
  const reset = (id: string, Attribute: string) =>
    lab.failure(resetInstanceAttribute, { InstanceId: id, Attribute: Attribute as 'kernel' })

  it('turns the source/destination check on again', async () => {
    const id = await insert('running')
    await modify(id, { SourceDestCheck: { Value: false } })
    expect(await reset(id, 'sourceDestCheck')).toBe('no failure')
    expect(await lab.call(describeInstanceAttribute, { InstanceId: id, Attribute: 'sourceDestCheck' })).toMatchObject({
      SourceDestCheck: { Value: true },
    })
  })

  it('finds the kernel and the RAM disk of a stopped instance as they should be', async () => {
    for (const attribute of ['kernel', 'ramdisk']) {
      const running = await insert('running')
      expect(await reset(running, attribute)).toBe(`IncorrectInstanceState: The instance '${running}' is not in the 'stopped' state.`)
      expect(await reset(await insert('stopped'), attribute)).toBe('no failure')
    }
  })

  it('is for no other attribute', async () => {
    const id = await insert('stopped')
    expect(await reset(id, 'userData')).toMatch(/^InvalidParameterValue: Value \(userData\)/)
    expect(await reset(id, '')).toBe('MissingParameter: The request must contain the parameter attribute')
  })
})

async function rowOf({ db }: Parameters<Parameters<AttributeLab['run']>[0]>[0], id: string) {
  return await db.selectFrom('instances').selectAll().where('instance_id', '=', id).executeTakeFirstOrThrow() as PlacedInstance
}
