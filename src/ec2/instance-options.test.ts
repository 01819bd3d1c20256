import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface, type PlacedInstance } from '../../test/support/rows.ts'
import { describeInstances } from './describe-instances.ts'
import { modifyInstanceCpuOptions, modifyInstanceMaintenanceOptions } from './instance-options.ts'

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = (change: Partial<Omit<PlacedInstance, 'doc'>> = {}) => lab.run(async (context) => {
  const row = await insertInstance(context, { state: 'stopped', holds_capacity: 0, instance_type: 'm5.4xlarge', vcpus: 16, ...change })
  await insertInterface(context, row)
  return row.instance_id
})
const shown = async (id: string) =>
  (await lab.call(describeInstances, { InstanceIds: [id] })).Reservations?.[0]?.Instances?.[0]

describe('ModifyInstanceCpuOptions', () => {
  it('gives a stopped instance fewer processors, or all of its type again', async () => {
    const id = await insert()
    const fewer = { InstanceId: id, CoreCount: 4, ThreadsPerCore: 1 }
    expect(await lab.call(modifyInstanceCpuOptions, fewer)).toEqual(fewer)
    expect(await lab.row(id)).toMatchObject({ instance_type: 'm5.4xlarge', vcpus: 4 })
    expect((await shown(id))?.CpuOptions).toEqual({ CoreCount: 4, ThreadsPerCore: 1 })
    await lab.call(modifyInstanceCpuOptions, { InstanceId: id, CoreCount: 8, ThreadsPerCore: 2 })
    expect(await lab.row(id)).toMatchObject({ vcpus: 16, parsed: { options: { cpu: null } } })
  })

  it('is for what the type offers, of what is stopped', async () => {
    const failure = (change: object, id: string) => lab.failure(modifyInstanceCpuOptions, { InstanceId: id, ...change })
    const id = await insert()
    expect(await failure({ CoreCount: 3, ThreadsPerCore: 1 }, id)).toMatch(/^InvalidParameterValue: Value \(3\)/)
    expect(await failure({ CoreCount: 4 }, id)).toMatch(/^MissingParameter: .*ThreadsPerCore/)
    expect(await failure({}, id)).toMatch(/^MissingParameter/)
    expect(await failure({ NestedVirtualization: 'enabled' }, id)).toMatch(/^UnsupportedOperation/)
    expect(await failure({ NestedVirtualization: 'disabled' }, id)).toBe('no failure')
    const running = await insert({ state: 'running' })
    expect(await failure({ CoreCount: 4, ThreadsPerCore: 1 }, running)).toBe(
      `IncorrectInstanceState: The instance '${running}' is not in the 'stopped' state.`)
  })
})

describe('ModifyInstanceMaintenanceOptions', () => {
  it('changes what is named, in any state but the last ones', async () => {
    const id = await insert({ state: 'running', holds_capacity: 1 })
    expect(await lab.call(modifyInstanceMaintenanceOptions, { InstanceId: id, AutoRecovery: 'disabled' })).toEqual(
      { InstanceId: id, AutoRecovery: 'disabled', RebootMigration: 'default' })
    await lab.call(modifyInstanceMaintenanceOptions, { InstanceId: id, RebootMigration: 'disabled' })
    expect((await shown(id))?.MaintenanceOptions).toEqual({ AutoRecovery: 'disabled', RebootMigration: 'disabled' })
    const gone = await insert({ state: 'terminated' })
    expect(await lab.failure(modifyInstanceMaintenanceOptions, { InstanceId: gone, AutoRecovery: 'default' })).toMatch(/^IncorrectInstanceState/)
  })

  it('refuses other values, and a change of nothing', async () => {
    const id = await insert()
    const failure = (change: object) => lab.failure(modifyInstanceMaintenanceOptions, { InstanceId: id, ...change })
    expect(await failure({ AutoRecovery: 'enabled' })).toMatch(/^InvalidParameterValue: Value \(enabled\) for parameter AutoRecovery/)
    expect(await failure({})).toMatch(/^MissingParameter/)
  })
})
