import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, insertInterface, insertVolume, NOW_MS, type PlacedInstance } from '../../test/support/rows.ts'
import { changeInstanceDoc, changeInstanceOptions, STATE_CODES, type InstanceDoc, type InstanceOptions } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { rebootInstances, startInstances, stopInstances, terminateInstances } from './instance-lifecycle.ts'

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = (
  options: Partial<InstanceOptions> = {},
  change: Partial<Omit<PlacedInstance, 'doc'>> = {},
  doc: Partial<InstanceDoc> = {},
) =>
  lab.run(async (context) => {
    const row = await insertInstance(context, change, doc)
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
    const used = await lab.run(({ db }) => db.selectFrom('hosts').select(['vcpus_used', 'memory_mib_used']).where('vcpus_used', '>', 0).execute())
    expect(used).toEqual([{ vcpus_used: 4, memory_mib_used: 16_384 }])
  })

  it('refuses EBS optimization that the type of now does not have', async () => {
    const id = await insert({ ebsOptimized: true }, { ...stopped, instance_type: 't2.micro' })
    expect(await lab.failure(startInstances, { InstanceIds: [id] })).toMatch(/^Unsupported: The requested configuration/)
  })
})

const incorrect = {
  neverRan: "IncorrectInstanceState: Instance '<id>' cannot be stopped as it has never reached the 'running' state.",
  notStartable: "IncorrectInstanceState: The instance '<id>' is not in a state from which it can be started.",
  notStoppable: "IncorrectInstanceState: This instance '<id>' is not in a state from which it can be stopped.",
  notRunning: "IncorrectInstanceState: The instance '<id>' is not in the 'running' state.",
}

/** What each call makes of each state: the state after, or the error. */
describe.each<[InstanceTable['state'], Record<'start' | 'stop' | 'terminate', string> & { reboot: string }]>([
  ['pending', { start: 'pending', stop: incorrect.neverRan, reboot: incorrect.notRunning, terminate: 'shutting-down' }],
  ['running', { start: 'running', stop: 'stopping', reboot: 'no failure', terminate: 'shutting-down' }],
  ['stopping', { start: incorrect.notStartable, stop: 'stopping', reboot: incorrect.notRunning, terminate: 'shutting-down' }],
  ['stopped', { start: 'pending', stop: 'stopped', reboot: incorrect.notRunning, terminate: 'shutting-down' }],
  ['shutting-down', {
    start: incorrect.notStartable, stop: incorrect.notStoppable, reboot: 'no failure', terminate: 'shutting-down',
  }],
  ['terminated', { start: incorrect.notStartable, stop: incorrect.notStoppable, reboot: 'no failure', terminate: 'terminated' }],
])('an instance that is %s', (state, answers) => {
  const holding = { holds_capacity: state === 'stopped' || state === 'terminated' ? 0 : 1 }
  const present = () => insert({}, { state, ...holding }, { hasRun: state !== 'pending' })

  it.each([
    ['start', startInstances, 'StartingInstances'], ['stop', stopInstances, 'StoppingInstances'],
    ['terminate', terminateInstances, 'TerminatingInstances'],
  ] as const)('answers %s as EC2 does', async (name, handler, list) => {
    const id = await present()
    const answer = answers[name]
    if (!(answer in STATE_CODES)) {
      expect(await lab.failure(handler, { InstanceIds: [id] })).toBe(answer.replace('<id>', id))
      expect(await stateOf(id)).toBe(state)
      return
    }
    const result = await lab.call(handler as typeof startInstances, { InstanceIds: [id] })
    const after = answer as InstanceTable['state']
    expect((result as Record<string, unknown>)[list]).toEqual([{
      InstanceId: id, PreviousState: { Code: STATE_CODES[state], Name: state }, CurrentState: { Code: STATE_CODES[after], Name: after },
    }])
    expect(await stateOf(id)).toBe(after)
  })

  it('answers reboot as EC2 does', async () => {
    const id = await present()
    expect(await lab.failure(rebootInstances, { InstanceIds: [id] })).toBe(answers.reboot.replace('<id>', id))
    expect((await lab.row(id)).reboot_requested).toBe(state === 'running' ? 1 : 0)
  })
})

describe('a call for several instances', () => {
  it('does nothing when one of them is in the wrong state', async () => {
    const [running, pending] = [await insert(), await insert({}, { state: 'pending' }, { hasRun: false })]
    expect(await lab.failure(stopInstances, { InstanceIds: [running, pending] })).toBe(incorrect.neverRan.replace('<id>', pending))
    expect(await lab.failure(rebootInstances, { InstanceIds: [running, pending] })).toBe(incorrect.notRunning.replace('<id>', pending))
    expect(await lab.row(running)).toMatchObject({ state: 'running', reboot_requested: 0 })
  })

  it('names each once, in the order of the call', async () => {
    const ids = [await insert(), await insert(), await insert()].toSorted().toReversed()
    const { StoppingInstances } = await lab.call(stopInstances, { InstanceIds: [...ids, ...ids] })
    expect(StoppingInstances?.map((each) => each.InstanceId)).toEqual(ids)
  })

  it.each([startInstances, stopInstances, rebootInstances, terminateInstances])('must name one (%o)', async (handler) => {
    expect(await lab.failure(handler, { InstanceIds: [] })).toBe('MissingParameter: The request must contain the parameter InstanceId')
  })
})

describe('a start that is under way', () => {
  it('of what ran before cannot be stopped, which EC2 says in other words than of a launch', async () => {
    const id = await insert({}, { state: 'pending' })
    expect(await lab.failure(stopInstances, { InstanceIds: [id] })).toBe(incorrect.notStoppable.replace('<id>', id))
  })
})

describe('a shutdown', () => {
  const flags = async (id: string) => {
    const { force, skipOsShutdown, hibernate } = (await lab.row(id)).parsed
    return { force, skipOsShutdown, hibernate }
  }

  it('keeps what the call says about it', async () => {
    const [plain, forced, skipped] = [await insert(), await insert(), await insert()]
    await lab.call(stopInstances, { InstanceIds: [plain] })
    await lab.call(stopInstances, { InstanceIds: [forced], Force: true })
    await lab.call(terminateInstances, { InstanceIds: [skipped], SkipOsShutdown: true })
    expect(await flags(plain)).toEqual({ force: false, skipOsShutdown: false, hibernate: false })
    expect(await flags(forced)).toMatchObject({ force: true, skipOsShutdown: false })
    expect(await flags(skipped)).toMatchObject({ force: false, skipOsShutdown: true })
  })

  it.each([stopInstances, terminateInstances])('under way can be hastened, and never slowed down', async (handler) => {
    const id = await insert({}, { state: handler === stopInstances ? 'stopping' : 'shutting-down' })
    await lab.call(handler as typeof stopInstances, { InstanceIds: [id], Force: true })
    await lab.call(handler as typeof stopInstances, { InstanceIds: [id], SkipOsShutdown: true })
    await lab.call(handler as typeof stopInstances, { InstanceIds: [id] })
    expect(await flags(id)).toMatchObject({ force: true, skipOsShutdown: true })
  })
})

describe('StopInstances with Hibernate', () => {
  const configured = { hibernation: true, contactMs: 0 } as const
  const hibernate = (id: string) => lab.call(stopInstances, { InstanceIds: [id], Hibernate: true })
  const refusal = (id: string) => lab.failure(stopInstances, { InstanceIds: [id], Hibernate: true })

  it('keeps the memory, and says why it stops', async () => {
    const id = await insert({}, {}, configured)
    expect((await hibernate(id)).StoppingInstances).toMatchObject([{ CurrentState: { Name: 'stopping' } }])
    expect((await lab.row(id)).parsed).toMatchObject({
      hibernate: true, force: false, stateReason: { code: 'Client.UserInitiatedHibernate' },
      stateTransitionReason: 'User initiated (2026-01-01 00:00:00 GMT)',
    })
  })

  it('is for what was configured so at launch', async () => {
    const id = await insert({}, {}, { contactMs: 0 })
    expect(await refusal(id)).toBe(
      `UnsupportedHibernationConfiguration: The instance can't be hibernated because it was not configured at launch for hibernation: ${id}`)
  })

  it('waits until the guest has come up', async () => {
    const id = await insert({}, {}, { hibernation: true })
    expect(await refusal(id)).toBe(`UnsupportedOperation: Instance ${id} is not ready to hibernate yet, retry in a few minutes`)
    await lab.run(({ db }) => changeInstanceDoc(db, id, { contactMs: 1 }))
    expect(await refusal(id)).toBe('no failure')
  })

  it('is refused by protection, and together with Force', async () => {
    const id = await insert({ disableApiStop: true }, {}, configured)
    expect(await refusal(id)).toMatch(/^OperationNotPermitted/)
    expect(await lab.failure(stopInstances, { InstanceIds: [id], Hibernate: true, Force: true })).toMatch(/^InvalidParameterCombination/)
  })

  it('is given up for a Force that comes later, and for nothing else', async () => {
    const id = await insert({}, {}, configured)
    await hibernate(id)
    await lab.call(stopInstances, { InstanceIds: [id], SkipOsShutdown: true })
    expect((await lab.row(id)).parsed).toMatchObject({ hibernate: true, skipOsShutdown: true })
    await lab.call(stopInstances, { InstanceIds: [id], Force: true })
    expect((await lab.row(id)).parsed).toMatchObject({
      hibernate: false, force: true, stateReason: { code: 'Client.UserInitiatedShutdown' },
    })
  })

  it('comes too late for a stop that is under way', async () => {
    const id = await insert({}, {}, configured)
    await lab.call(stopInstances, { InstanceIds: [id] })
    await hibernate(id)
    expect((await lab.row(id)).parsed).toMatchObject({ hibernate: false, stateReason: { code: 'Client.UserInitiatedShutdown' } })
  })

  it('leaves the memory to the next start, whose time counts as launch time', async () => {
    const memory = { memoryId: 'mem-1', state: 'saved', generation: 1, volumeIds: [], kmsKeyId: 'k', wrappedKey: 'w' } as const
    const id = await insert({}, { state: 'stopped', holds_capacity: 0 }, { ...configured, hibernate: true, memory })
    lab.pass(5000)
    await lab.call(startInstances, { InstanceIds: [id] })
    expect(await lab.row(id)).toMatchObject({ state: 'pending', launch_ms: NOW_MS + 5000, parsed: { memory, hibernate: false } })
  })
})
