import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface, insertVolume, type PlacedInstance } from '../../test/support/rows.ts'
import { changeInstanceOptions, type InstanceOptions } from '../model/instance.ts'
import { startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = (options: Partial<InstanceOptions> = {}, change: Partial<Omit<PlacedInstance, 'doc'>> = {}) =>
  lab.run(async (context) => {
    const row = await insertInstance(context, change)
    await insertInterface(context, row)
    await insertVolume(context, row)
    await changeInstanceOptions(context.db, row.instance_id, options)
    return row.instance_id
  })
const stateOf = async (id: string) => (await lab.row(id)).state

describe('a protected instance', () => {
  it('is not terminated', async () => {
    const id = await insert({ disableApiTermination: true })
    expect(await lab.failure(terminateInstances, { InstanceIds: [id] })).toBe(
      `OperationNotPermitted: The instance '${id}' may not be terminated. Modify its 'disableApiTermination' instance ` +
        'attribute and try again.')
    expect(await stateOf(id)).toBe('running')
    await lab.call(stopInstances, { InstanceIds: [id] })
    expect(await stateOf(id)).toBe('stopping')
  })

  it('against a stop is neither stopped nor terminated', async () => {
    const id = await insert({ disableApiStop: true })
    const sentence = (verb: string) =>
      `OperationNotPermitted: The instance '${id}' may not be ${verb}. Modify its 'disableApiStop' instance attribute and try again.`
    expect(await lab.failure(stopInstances, { InstanceIds: [id] })).toBe(sentence('stopped'))
    expect(await lab.failure(stopInstances, { InstanceIds: [id], Force: true })).toBe(sentence('stopped'))
    expect(await lab.failure(terminateInstances, { InstanceIds: [id] })).toBe(sentence('terminated'))
    expect(await stateOf(id)).toBe('running')
  })

  it('spares all that are named in its zone, and no other zone', async () => {
    const [far, guarded, near] = [
      await insert({}, { zone: 'us-east-1a' }), await insert({ disableApiTermination: true }, { zone: 'us-east-1b' }),
      await insert({}, { zone: 'us-east-1b' }),
    ]
    expect(await lab.failure(terminateInstances, { InstanceIds: [far, guarded, near] })).toMatch(`'${guarded}' may not be terminated`)
    expect(await Promise.all([far, guarded, near].map(stateOf))).toEqual(['shutting-down', 'running', 'running'])
  })

  it('that has terminated is terminated again without a word', async () => {
    const id = await insert({ disableApiTermination: true }, { state: 'terminated', holds_capacity: 0 })
    expect(await lab.failure(terminateInstances, { InstanceIds: [id] })).toBe('no failure')
  })

  it('spares nothing when another id is unknown: nothing is terminated', async () => {
    const id = await insert()
    expect(await lab.failure(terminateInstances, { InstanceIds: [id, 'i-00000000000000000'] })).toMatch(/^InvalidInstanceID.NotFound/)
    expect(await stateOf(id)).toBe('running')
  })
})

describe('StartInstances', () => {
  const stopped = { state: 'stopped', holds_capacity: 0 } as const

  it('takes capacity for the size that the instance has now', async () => {
    const id = await insert({}, { ...stopped, vcpus: 4, memory_mib: 16_384 })
    await lab.call(startInstances, { InstanceIds: [id] })
    const used = await lab.run(({ db }) => db.selectFrom('hosts').select(['vcpus_used', 'memory_mib_used']).executeTakeFirst())
    expect(used).toEqual({ vcpus_used: 4, memory_mib_used: 16_384 })
  })

  it('refuses EBS optimization that the type of now does not have', async () => {
    const id = await insert({ ebsOptimized: true }, { ...stopped, instance_type: 't2.micro' })
    expect(await lab.failure(startInstances, { InstanceIds: [id] })).toMatch(/^Unsupported: The requested configuration/)
  })
})
