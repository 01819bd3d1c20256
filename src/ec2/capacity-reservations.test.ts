import type {
  CapacityReservation, CapacityReservationPreference, CreateCapacityReservationRequest, DescribeCapacityReservationsRequest, RunInstancesRequest,
} from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openCapacityLab, type CapacityLab } from '../../test/support/capacity-lab.ts'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { NOW_MS } from '../../test/support/rows.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { cancelCapacityReservation, describeCapacityReservations, getCapacityReservationUsage } from './capacity-reservations.ts'
import { createCapacityReservation } from './capacity-reservations-create.ts'
import { allocateHosts } from './dedicated-hosts-allocate.ts'
import { releaseHosts } from './dedicated-hosts.ts'
import { modifyInstanceCapacityReservationAttributes } from './capacity-reservations-instance.ts'
import { modifyCapacityReservation } from './capacity-reservations-modify.ts'
import { createCapacityReservationBySplitting, moveCapacityReservationInstances } from './capacity-reservations-split.ts'
import { describeInstances } from './describe-instances.ts'
import { createTags, describeTags } from './tags.ts'

const HOUR_MS = 3_600_000
const ZONE = 'us-east-1a'
const FULL = 'ReservationCapacityExceeded: The requested reservation does not have sufficient compatible and available capacity for this request.'

let lab: CapacityLab
/** Two hosts in the zone and one in another, each with room for four instances of t3.medium: 2 vCPUs and 4 GiB. */
beforeEach(async () => {
  lab = await openCapacityLab({ hosts: { 'host-a1': ZONE, 'host-a2': ZONE, 'host-b1': 'us-east-1b' }, vcpus: 8, memoryMib: 16_384 })
})
afterEach(async () => {
  expect(await lab.problems()).toEqual([])
  await lab.close()
})

const inputOf = (change: Partial<CreateCapacityReservationRequest> = {}): CreateCapacityReservationRequest => ({
  InstanceType: 't3.medium', InstancePlatform: 'Linux/UNIX', AvailabilityZone: ZONE, InstanceCount: 2, ...change,
})
async function create(change: Partial<CreateCapacityReservationRequest> = {}): Promise<CapacityReservation & { CapacityReservationId: string }> {
  lab.pass(1)
  const { CapacityReservation = {} } = await lab.call(createCapacityReservation, inputOf(change))
  return { ...CapacityReservation, CapacityReservationId: CapacityReservation.CapacityReservationId ?? '' }
}
const refusal = (change: Partial<CreateCapacityReservationRequest>) => lab.failure(createCapacityReservation, inputOf(change))
const list = async (input: DescribeCapacityReservationsRequest = {}) =>
  (await lab.call(describeCapacityReservations, input)).CapacityReservations ?? []
const one = async (id: string) => (await list({ CapacityReservationIds: [id] }))[0]
const counts = async (id: string) => {
  const { State, TotalInstanceCount, AvailableInstanceCount } = (await one(id)) ?? {}
  return `${State} ${AvailableInstanceCount}/${TotalInstanceCount}`
}
const launch = (change: Partial<RunInstancesRequest> = {}) => lab.launch({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE }, ...change })
const target = (CapacityReservationId: string) => ({ CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId } } })
const only = { CapacityReservationSpecification: { CapacityReservationPreference: 'capacity-reservations-only' as const } }
const none = { CapacityReservationSpecification: { CapacityReservationPreference: 'none' as const } }

describe('createCapacityReservation', () => {
  it('takes room for its instances out of the hosts of the zone, spread over them', async () => {
    const tags = [{ Key: 'Env', Value: 'test' }]
    const made = await create({ TagSpecifications: [{ ResourceType: 'capacity-reservation', Tags: tags }] })
    expect(made).toEqual({
      CapacityReservationId: expect.stringMatching(/^cr-[0-9a-f]{17}$/), OwnerId: DEFAULT_ACCOUNT,
      CapacityReservationArn: `arn:aws:ec2:us-east-1:${DEFAULT_ACCOUNT}:capacity-reservation/${made.CapacityReservationId}`,
      AvailabilityZone: ZONE, AvailabilityZoneId: 'use1-az1', InstanceType: 't3.medium', InstancePlatform: 'Linux/UNIX', Tenancy: 'default',
      TotalInstanceCount: 2, AvailableInstanceCount: 2, EbsOptimized: false, EphemeralStorage: false, State: 'active',
      StartDate: new Date(NOW_MS + 1), CreateDate: new Date(NOW_MS + 1), EndDate: undefined, EndDateType: 'unlimited',
      InstanceMatchCriteria: 'open', ReservationType: 'default', CapacityAllocations: [], Interruptible: false, Tags: tags,
    })
    expect(await lab.used()).toEqual({ 'host-a1': '2 4096', 'host-a2': '2 4096', 'host-b1': '0 0' })
  })

  it('takes all or nothing', async () => {
    expect(await refusal({ InstanceCount: 9 })).toMatch(
      /^InsufficientInstanceCapacity: Insufficient capacity\. \[Hearth: us-east-1a has no room for 9 more of t3\.medium\./)
    expect(await list()).toEqual([])
    expect(await lab.used()).toEqual({ 'host-a1': '0 0', 'host-a2': '0 0', 'host-b1': '0 0' })
    await create({ InstanceCount: 8 })
    expect(await refusal({ InstanceCount: 1 })).toMatch(/^InsufficientInstanceCapacity/)
  })

  it('is the same again with the same token', async () => {
    const first = await create({ ClientToken: 'once' })
    expect(await create({ ClientToken: 'once' })).toEqual(first)
    expect(await refusal({ ClientToken: 'once', InstanceCount: 3 })).toMatch(/^IdempotentParameterMismatch/)
    expect(await list()).toHaveLength(1)
  })

  it('is the same again even when its end is over by then', async () => {
    const input = { ClientToken: 'once', EndDate: new Date(NOW_MS + HOUR_MS) }
    const { CapacityReservationId: id } = await create(input)
    lab.pass(HOUR_MS + 1)
    expect(await create(input)).toMatchObject({ CapacityReservationId: id, State: 'expired' })
  })

  it('refuses what is wrong with it, in the words of EC2 where they are known', async () => {
    expect(await refusal({ InstanceCount: 1001 })).toBe(
      'InvalidParameterValue: 1001 is an invalid value for InstanceCount. InstanceCount must be between 1 and 1000.')
    expect(await refusal({ InstanceCount: 0 })).toMatch(/^InvalidParameterValue: 0 is an invalid value/)
    expect(await refusal({ InstanceCount: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ InstanceType: 't3.mediun' as 't3.medium' })).toMatch(/^InvalidParameterValue: .*Did you mean 't3.medium'/)
    expect(await refusal({ InstancePlatform: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ InstancePlatform: 'Windows' })).toMatch(/^UnsupportedOperation: The parameter InstancePlatform=Windows/)
    expect(await refusal({ AvailabilityZone: undefined })).toMatch(/^MissingParameter/)
    expect(await refusal({ AvailabilityZone: 'us-east-1x' })).toMatch(/^InvalidParameterValue/)
    expect(await refusal({ AvailabilityZoneId: 'use1-az1' })).toMatch(/^InvalidParameterCombination/)
    expect(await refusal({ InstanceType: 't2.micro', EbsOptimized: true })).toMatch(/^InvalidParameterCombination/)
    expect(await refusal({ EndDateType: 'limited' })).toMatch(/^InvalidParameterCombination/)
    expect(await refusal({ EndDateType: 'unlimited', EndDate: new Date(NOW_MS + HOUR_MS) })).toMatch(/^InvalidParameterCombination/)
    expect(await refusal({ EndDate: new Date(NOW_MS) })).toMatch(/^InvalidParameterValue: .*must be in the future/)
    for (const change of [
      { EphemeralStorage: true }, { OutpostArn: 'arn' }, { PlacementGroupArn: 'arn' }, { StartDate: new Date(NOW_MS + HOUR_MS) },
      { CommitmentDuration: 1 }, { DeliveryPreference: 'incremental' as const },
    ]) expect(await refusal(change)).toMatch(new RegExp(`^UnsupportedOperation: The parameter ${Object.keys(change)[0]}`))
    expect(await lab.used()).toEqual({ 'host-a1': '0 0', 'host-a2': '0 0', 'host-b1': '0 0' })
  })

  it('lets instances that match and run already go on in it, the oldest first', async () => {
    const [first] = await launch()
    lab.pass(1)
    const [second] = await launch()
    const [unwilling] = await launch(none)
    const { CapacityReservationId: id } = await create({ InstanceCount: 1 })
    expect(await lab.reservationsOf([first, second, unwilling])).toEqual([id, null, null])
    expect(await counts(id)).toBe('active 0/1')
    const { CapacityReservationId: targeted } = await create({ InstanceCount: 1, InstanceMatchCriteria: 'targeted' })
    expect(await counts(targeted)).toBe('active 1/1')
  })

  it('takes for one that has fewer processors than its type what it promises to the type', async () => {
    await launch({ CpuOptions: { CoreCount: 1, ThreadsPerCore: 1 } })
    const { CapacityReservationId: id } = await create({ InstanceCount: 1 })
    expect(await counts(id)).toBe('active 0/1')
    expect(await lab.used()).toEqual({ 'host-a1': '2 4096', 'host-a2': '0 0', 'host-b1': '0 0' })
  })

  it('of tenancy dedicated is on hosts of its account alone, which others do not come to then', async () => {
    await lab.as('other').launch({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE } })
    expect(await refusal({ Tenancy: 'dedicated', InstanceCount: 5 })).toMatch(/^InsufficientInstanceCapacity/)
    const { CapacityReservationId: id } = await create({ Tenancy: 'dedicated', InstanceCount: 4 })
    await lab.as('other').launch({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE }, MinCount: 3, MaxCount: 3 })
    expect(await counts(id)).toBe('active 4/4')
    const [instance] = await launch({ Placement: { AvailabilityZone: ZONE, Tenancy: 'dedicated' } })
    expect(await lab.reservationsOf([instance])).toEqual([id])
  })
})

describe('a capacity reservation where spot instances have the room', () => {
  const spot = { InstanceMarketOptions: { MarketType: 'spot' as const } }

  it('takes that of as many as are in its way; who is launched into it starts when they have left', async () => {
    const victims = await launch({ ...spot, MinCount: 8, MaxCount: 8 })
    const { CapacityReservationId: id } = await create({ InstanceCount: 2 })
    expect(await counts(id)).toBe('active 2/2')
    expect(await lab.problems()).toEqual([])
    const [instance = ''] = await launch(target(id))
    expect([await lab.reservationsOf([instance]), (await lab.states())[instance]]).toEqual([[id], 'pending'])
    for (const victim of victims) await lab.terminate(victim)
    expect((await lab.states())[instance]).toBe('running')
  })

  it('has those go no more than once, and none where there is room without', async () => {
    const victims = await launch({ ...spot, MinCount: 7, MaxCount: 7 })
    await create({ InstanceCount: 1 })
    const told = () => lab.store.read((db) => db.selectFrom('instances').select('instance_id').where('lifecycle', '=', 'spot').where('holds_capacity', '=', 0).execute())
    expect(await told()).toEqual([])
    const { CapacityReservationId: id } = await create({ InstanceCount: 1 })
    expect(await told()).toHaveLength(1)
    await lab.call(modifyCapacityReservation, { CapacityReservationId: id, InstanceCount: 7 })
    expect(await told()).toHaveLength(7)
    expect(await refusal({ InstanceCount: 1 })).toMatch(/^InsufficientInstanceCapacity/)
    expect(victims).toHaveLength(7)
  })

  it('that is cancelled leaves room that somebody is leaving still: who starts then goes where nobody is, though it was there before', async () => {
    const hostOf = async (id: string) =>
      (await lab.store.read((db) => db.selectFrom('instances').select('host_id').where('instance_id', '=', id).executeTakeFirstOrThrow())).host_id
    const [instance = ''] = await launch()
    const before = await hostOf(instance)
    await lab.stop(instance)
    const victims = await launch({ ...spot, MinCount: 8, MaxCount: 8 })
    const { CapacityReservationId: id } = await create({ InstanceCount: 1 })
    expect((await lab.store.read((db) => db.selectFrom('instances').select('host_id').where('lifecycle', '=', 'spot').where('holds_capacity', '=', 0).execute())))
      .toEqual([{ host_id: before }])
    await lab.call(cancelCapacityReservation, { CapacityReservationId: id })
    for (const each of victims) {
      if (await hostOf(each) === before) continue
      await lab.terminate(each)
      break
    }
    await lab.start(instance)
    expect([(await lab.states())[instance], await hostOf(instance) === before]).toEqual(['running', false])
  })

  it('has the market look again when it takes room, or gives it back', async () => {
    await launch(spot)
    const hasWoken = async (body: () => Promise<unknown>) => {
      await lab.store.transaction('test', (db) => db.deleteFrom('work').where('kind', '=', 'market').execute())
      await body()
      return (await lab.store.read((db) => db.selectFrom('work').select('id').where('kind', '=', 'market').execute())).length === 1
    }
    let id = ''
    const modify = (InstanceCount: number) => hasWoken(() => lab.call(modifyCapacityReservation, { CapacityReservationId: id, InstanceCount }))
    expect(await hasWoken(async () => void (id = (await create()).CapacityReservationId))).toBe(true)
    expect([await modify(3), await modify(1)]).toEqual([true, true])
    expect(await hasWoken(() => lab.call(cancelCapacityReservation, { CapacityReservationId: id }))).toBe(true)
    await create({ EndDate: new Date(NOW_MS + HOUR_MS) })
    lab.pass(HOUR_MS)
    expect(await hasWoken(() => lab.runDueWork())).toBe(true)
    const { HostIds: hosts = [] } = await lab.call(allocateHosts, { InstanceType: 't3.medium', AvailabilityZone: ZONE, Quantity: 1 })
    expect(await hasWoken(() => lab.call(releaseHosts, { HostIds: hosts }))).toBe(true)
    expect(await hasWoken(() => lab.call(allocateHosts, { InstanceType: 't3.medium', AvailabilityZone: ZONE, Quantity: 1 }))).toBe(true)
  })

  it('leaves all of them in peace where that would not do', async () => {
    await launch({ ...spot, MinCount: 8, MaxCount: 8 })
    expect(await refusal({ InstanceCount: 9 })).toMatch(/^InsufficientInstanceCapacity/)
    expect(await lab.used()).toEqual({ 'host-a1': '8 16384', 'host-a2': '8 16384', 'host-b1': '0 0' })
  })
})

describe('instances and capacity reservations', () => {
  it('an instance that matches goes into the open one by itself, leaves it with a stop and comes back with a start', async () => {
    const { CapacityReservationId: id } = await create()
    const before = await lab.used()
    const [instance] = await launch()
    expect(await lab.reservationsOf([instance])).toEqual([id])
    expect(await counts(id)).toBe('active 1/2')
    expect((await one(id))?.CapacityAllocations).toEqual([{ AllocationType: 'used', Count: 1 }])
    expect(await lab.used()).toEqual(before)
    await lab.stop(instance)
    expect([await lab.reservationsOf([instance]), await counts(id)]).toEqual([[null], 'active 2/2'])
    await lab.start(instance)
    expect([await lab.reservationsOf([instance]), await counts(id)]).toEqual([[id], 'active 1/2'])
    await lab.terminate(instance)
    expect(await counts(id)).toBe('active 2/2')
  })

  it('others do not: of another type, zone, account, or that want none', async () => {
    const { CapacityReservationId: id } = await create()
    const outside = [
      ...await launch({ InstanceType: 't3.small' }), ...await launch({ Placement: { AvailabilityZone: 'us-east-1b' } }), ...await launch(none),
      ...await lab.as('other').launch({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE } }),
    ]
    expect(await lab.reservationsOf(outside)).toEqual([null, null, null, null])
    expect(await counts(id)).toBe('active 2/2')
  })

  it('room that is reserved is there for its own alone', async () => {
    await create({ InstanceCount: 8, InstanceMatchCriteria: 'targeted' })
    expect(await lab.launchFailure({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE } })).toMatch(/^InsufficientInstanceCapacity/)
  })

  it('a target is used, and nothing else', async () => {
    const { CapacityReservationId: id } = await create({ InstanceCount: 1, InstanceMatchCriteria: 'targeted' })
    const [instance] = await launch(target(id))
    expect(await lab.reservationsOf([instance])).toEqual([id])
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target(id) })).toBe(FULL)
    expect(await lab.launchFailure({ InstanceType: 't3.small', ...target(id) })).toBe(FULL)
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target('cr-00000000000000000') }))
      .toMatch(/^InvalidCapacityReservationId.NotFound/)
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target('cr-x') })).toMatch(/^InvalidCapacityReservationId.Malformed/)
  })

  it('a target goes with capacity-reservations-only, and with no other preference', async () => {
    const { CapacityReservationId: id } = await create({ InstanceMatchCriteria: 'targeted' })
    const both = (CapacityReservationPreference: CapacityReservationPreference) =>
      ({ CapacityReservationSpecification: { ...target(id).CapacityReservationSpecification, CapacityReservationPreference } })
    const [instance = ''] = await launch(both('capacity-reservations-only'))
    const [{ Instances: [shown] = [] } = {}] = (await lab.call(describeInstances, { InstanceIds: [instance] })).Reservations ?? []
    expect(shown).toMatchObject({ CapacityReservationId: id, ...both('capacity-reservations-only') })
    for (const preference of ['open', 'none'] as const) {
      expect(await lab.launchFailure({ InstanceType: 't3.medium', ...both(preference) })).toMatch(/^InvalidParameterCombination/)
    }
  })

  it('a target that is not shown any more is not there', async () => {
    const { CapacityReservationId: id } = await create()
    await lab.call(cancelCapacityReservation, { CapacityReservationId: id })
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target(id) })).toBe(FULL)
    lab.pass(HOUR_MS)
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target(id) })).toMatch(/^InvalidCapacityReservationId.NotFound/)
  })

  it('with capacity-reservations-only an instance runs in an open one or not at all', async () => {
    expect(await lab.launchFailure({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE }, ...only })).toBe(FULL)
    const { CapacityReservationId: id } = await create({ InstanceCount: 1 })
    expect(await lab.reservationsOf(await launch(only))).toEqual([id])
    expect(await lab.launchFailure({ InstanceType: 't3.medium', Placement: { AvailabilityZone: ZONE }, ...only })).toBe(FULL)
  })

  it('what a stopped instance wants of them can be changed', async () => {
    const { CapacityReservationId: id } = await create({ InstanceMatchCriteria: 'targeted' })
    const [instance = ''] = await launch()
    const modify = { InstanceId: instance, ...target(id) }
    expect(await lab.failure(modifyInstanceCapacityReservationAttributes, modify)).toMatch(/^IncorrectInstanceState/)
    await lab.stop(instance)
    expect(await lab.failure(modifyInstanceCapacityReservationAttributes, { InstanceId: instance, CapacityReservationSpecification: {} }))
      .toMatch(/^MissingParameter/)
    expect(await lab.call(modifyInstanceCapacityReservationAttributes, modify)).toEqual({ Return: true })
    await lab.start(instance)
    expect(await lab.reservationsOf([instance])).toEqual([id])
  })
})

describe('modifyCapacityReservation', () => {
  const modify = (id: string, change: object) => lab.call(modifyCapacityReservation, { CapacityReservationId: id, ...change })
  const failure = (id: string, change: object) => lab.failure(modifyCapacityReservation, { CapacityReservationId: id, ...change })

  it('makes it larger as far as there is room, and smaller as far as it is not used', async () => {
    const { CapacityReservationId: id } = await create()
    expect(await modify(id, { InstanceCount: 8 })).toEqual({ Return: true })
    expect([await counts(id), await lab.used()]).toEqual(['active 8/8', { 'host-a1': '8 16384', 'host-a2': '8 16384', 'host-b1': '0 0' }])
    expect(await failure(id, { InstanceCount: 9 })).toMatch(/^InsufficientInstanceCapacity/)
    // More than one that is made may have, but no more at once.
    expect(await failure(id, { InstanceCount: 1008 })).toMatch(/^InsufficientInstanceCapacity/)
    expect(await failure(id, { InstanceCount: 1009 })).toMatch(/^InvalidParameterValue: 1009 .* must be between 1 and 1008\.$/)
    expect(await failure(id, { InstanceCount: 0 })).toMatch(/^InvalidParameterValue/)
    await launch({ MinCount: 3, MaxCount: 3 })
    expect(await failure(id, { InstanceCount: 2 })).toMatch(/^InvalidParameterValue: .*3 instances are in/)
    await modify(id, { InstanceCount: 3 })
    expect(await counts(id)).toBe('active 0/3')
    expect(Object.values(await lab.used()).map((each) => Number(each.split(' ')[0])).reduce((a, b) => a + b)).toBe(6)
  })

  it('changes when it ends', async () => {
    const { CapacityReservationId: id } = await create({ EndDate: new Date(NOW_MS + HOUR_MS) })
    await modify(id, { EndDateType: 'limited', EndDate: new Date(NOW_MS + 2 * HOUR_MS) })
    expect(await one(id)).toMatchObject({ EndDateType: 'limited', EndDate: new Date(NOW_MS + 2 * HOUR_MS) })
    await modify(id, { EndDateType: 'unlimited' })
    expect(await one(id)).toMatchObject({ EndDateType: 'unlimited', EndDate: undefined })
  })

  it('changes who may come in while nobody is in; as it opens, those that match come', async () => {
    const { CapacityReservationId: id } = await create({ InstanceMatchCriteria: 'targeted' })
    const instances = await launch({ MinCount: 3, MaxCount: 3 })
    const before = await lab.used()
    await modify(id, { InstanceMatchCriteria: 'open' })
    expect((await lab.reservationsOf(instances)).filter((each) => each === id)).toHaveLength(2)
    expect(await counts(id)).toBe('active 0/2')
    expect(await lab.used()).not.toEqual(before)
    expect(await failure(id, { InstanceMatchCriteria: 'targeted' })).toMatch(/^InvalidCapacityReservationState/)
  })

  it('refuses nothing to change, and what it does not honour', async () => {
    const { CapacityReservationId: id } = await create()
    expect(await failure(id, {})).toMatch(/^MissingParameter/)
    expect(await failure(id, { AdditionalInfo: 'x' })).toMatch(/^UnsupportedOperation/)
    expect(await modify(id, { Accept: true })).toEqual({ Return: true })
    expect(await lab.failure(modifyCapacityReservation, { CapacityReservationId: 'cr-x', InstanceCount: 1 })).toMatch(/^InvalidCapacityReservationId.Malformed/)
    expect(await lab.failure(modifyCapacityReservation, { CapacityReservationId: 'cr-00000000000000000', InstanceCount: 1 }))
      .toBe("InvalidCapacityReservationId.NotFound: The capacity reservation ID 'cr-00000000000000000' does not exist")
    expect(await lab.as('other').failure(modifyCapacityReservation, { CapacityReservationId: id, InstanceCount: 1 })).toMatch(/NotFound/)
  })
})

describe('the end of a capacity reservation', () => {
  it('by a call: its instances go on outside of it, and its room is free', async () => {
    const { CapacityReservationId: id } = await create({ InstanceCount: 4 })
    const instances = await launch({ MinCount: 2, MaxCount: 2, CpuOptions: { CoreCount: 1, ThreadsPerCore: 1 } })
    expect(await lab.reservationsOf(instances)).toEqual([id, id])
    await lab.call(cancelCapacityReservation, { CapacityReservationId: id })
    expect(await lab.reservationsOf(instances)).toEqual([null, null])
    expect(await counts(id)).toBe('cancelled 0/4')
    expect(await lab.used()).toEqual({ 'host-a1': '1 4096', 'host-a2': '1 4096', 'host-b1': '0 0' })
    expect(await lab.failure(cancelCapacityReservation, { CapacityReservationId: id })).toMatch(/^InvalidCapacityReservationState/)
  })

  it('by time: nothing goes into it from that moment on, and it is shown as expired before anybody has looked at it', async () => {
    const { CapacityReservationId: id } = await create({ EndDate: new Date(NOW_MS + 1 + HOUR_MS) })
    const [instance] = await launch()
    lab.pass(HOUR_MS - 1)
    expect(await counts(id)).toBe('active 1/2')
    lab.pass(1)
    expect(await counts(id)).toBe('expired 0/2')
    expect((await one(id))?.CapacityAllocations).toEqual([])
    expect(await lab.reservationsOf(await launch())).toEqual([null])
    expect(await lab.launchFailure({ InstanceType: 't3.medium', ...target(id) })).toBe(FULL)
    await lab.runDueWork()
    expect(await lab.reservationsOf([instance])).toEqual([null])
    expect(await counts(id)).toBe('expired 0/2')
    const vcpus = Object.values(await lab.used()).map((each) => Number(each.split(' ')[0]))
    expect(vcpus.reduce((a, b) => a + b)).toBe(4)
  })

  it('a target that has ended lets nobody start any more', async () => {
    const { CapacityReservationId: id } = await create()
    const [instance = ''] = await launch(target(id))
    await lab.stop(instance)
    await lab.call(cancelCapacityReservation, { CapacityReservationId: id })
    expect(await lab.startFailure(instance)).toBe(FULL)
  })

  it('is shown for an hour, and forgotten with its tags when the next is made', async () => {
    const { CapacityReservationId: id } = await create()
    await lab.call(createTags, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] })
    await lab.call(cancelCapacityReservation, { CapacityReservationId: id })
    lab.pass(HOUR_MS - 1)
    expect(await list()).toHaveLength(1)
    lab.pass(1)
    expect(await list()).toEqual([])
    await create()
    expect((await lab.call(describeTags, {})).Tags).toEqual([])
  })
})

describe('capacity that changes its reservation', () => {
  it('is split off, with the attributes of the source', async () => {
    const source = await create({ InstanceCount: 3, InstanceMatchCriteria: 'targeted', EndDate: new Date(NOW_MS + HOUR_MS) })
    const before = await lab.used()
    const split = { SourceCapacityReservationId: source.CapacityReservationId, InstanceCount: 1 }
    const { SourceCapacityReservation: rest, DestinationCapacityReservation: part } = await lab.call(createCapacityReservationBySplitting, split)
    expect(rest).toMatchObject({ CapacityReservationId: source.CapacityReservationId, TotalInstanceCount: 2, AvailableInstanceCount: 2 })
    expect(part).toMatchObject({
      TotalInstanceCount: 1, AvailableInstanceCount: 1, InstanceMatchCriteria: 'targeted', EndDate: new Date(NOW_MS + HOUR_MS), Tags: [],
    })
    expect(part?.CapacityReservationId).not.toBe(source.CapacityReservationId)
    expect(await lab.used()).toEqual(before)
    expect(await lab.failure(createCapacityReservationBySplitting, { ...split, InstanceCount: 2 })).toMatch(/^InvalidParameterValue/)
  })

  it('is moved to one that is alike; one that has none left is cancelled', async () => {
    const { CapacityReservationId: from } = await create()
    const { CapacityReservationId: to } = await create({ InstanceMatchCriteria: 'targeted' })
    const { CapacityReservationId: other } = await create({ InstanceType: 't3.small', InstanceCount: 1 })
    const move = (InstanceCount: number, DestinationCapacityReservationId = to) =>
      ({ SourceCapacityReservationId: from, DestinationCapacityReservationId, InstanceCount })
    expect(await lab.failure(moveCapacityReservationInstances, move(1, other))).toMatch(/^InvalidParameterCombination/)
    expect(await lab.failure(moveCapacityReservationInstances, move(1, from))).toMatch(/^InvalidParameterCombination/)
    expect(await lab.failure(moveCapacityReservationInstances, move(3))).toMatch(/^InvalidParameterValue/)
    expect(await lab.call(moveCapacityReservationInstances, { ...move(1), ClientToken: 'x' })).toMatchObject({ InstanceCount: 1 })
    await lab.call(moveCapacityReservationInstances, { ...move(1), ClientToken: 'x' })
    expect([await counts(from), await counts(to)]).toEqual(['active 1/1', 'active 3/3'])
    const [instance = ''] = await launch(target(from))
    expect(await lab.failure(moveCapacityReservationInstances, move(1))).toMatch(/^InvalidParameterValue: .*0 places of the source are free/)
    await lab.terminate(instance)
    await lab.call(moveCapacityReservationInstances, move(1))
    expect([await counts(from), await counts(to)]).toEqual(['cancelled 0/0', 'active 4/4'])
  })
})

describe('a change of capacity that is asked for again', () => {
  it('is answered without its source when that has been forgotten', async () => {
    const [source, destination] = [await create(), await create()]
    const move = {
      SourceCapacityReservationId: source.CapacityReservationId, DestinationCapacityReservationId: destination.CapacityReservationId,
      InstanceCount: 2, ClientToken: 'move',
    }
    await lab.call(moveCapacityReservationInstances, move)
    const split = { SourceCapacityReservationId: destination.CapacityReservationId, InstanceCount: 1, ClientToken: 'split' }
    const { DestinationCapacityReservation: part } = await lab.call(createCapacityReservationBySplitting, split)
    lab.pass(2 * HOUR_MS)
    await create()
    expect(await lab.call(moveCapacityReservationInstances, move)).toMatchObject({
      SourceCapacityReservation: undefined, DestinationCapacityReservation: { CapacityReservationId: destination.CapacityReservationId },
    })
    await lab.call(cancelCapacityReservation, { CapacityReservationId: destination.CapacityReservationId })
    lab.pass(2 * HOUR_MS)
    await create()
    expect(await lab.call(createCapacityReservationBySplitting, split)).toMatchObject({
      SourceCapacityReservation: undefined, DestinationCapacityReservation: { CapacityReservationId: part?.CapacityReservationId },
    })
  })
})

describe('instances in capacity that changes its reservation', () => {
  it('go with it where both are open, and they mean none in particular', async () => {
    const { CapacityReservationId: from } = await create({ InstanceCount: 3 })
    const { CapacityReservationId: to } = await create({ InstanceCount: 1 })
    const [meant] = await launch(target(from))
    const [willing] = await launch(only)
    lab.pass(1)
    const [first] = await launch()
    const before = await lab.used()
    const move = (InstanceCount: number) => ({ SourceCapacityReservationId: from, DestinationCapacityReservationId: to, InstanceCount })
    expect(await lab.failure(moveCapacityReservationInstances, move(2))).toMatch(/^InvalidParameterValue/)
    await lab.call(moveCapacityReservationInstances, move(1))
    expect(await lab.reservationsOf([meant, willing, first])).toEqual([from, from, to])
    expect([await counts(from), await counts(to), await lab.used()]).toEqual(['active 0/2', 'active 1/2', before])
    const { DestinationCapacityReservation: part } =
      await lab.call(createCapacityReservationBySplitting, { SourceCapacityReservationId: to, InstanceCount: 1 })
    expect(await lab.reservationsOf([first])).toEqual([to])
    expect(await counts(part?.CapacityReservationId ?? '')).toBe('active 1/1')
  })

  it('leave those on their host that stay', async () => {
    const { CapacityReservationId: from } = await create({ InstanceCount: 4 })
    const { CapacityReservationId: to } = await create({ InstanceCount: 1, InstanceMatchCriteria: 'targeted' })
    const instances = await launch({ MinCount: 4, MaxCount: 4 })
    await lab.call(modifyCapacityReservation, { CapacityReservationId: to, InstanceMatchCriteria: 'open' })
    await lab.call(moveCapacityReservationInstances, { SourceCapacityReservationId: from, DestinationCapacityReservationId: to, InstanceCount: 1 })
    expect((await lab.reservationsOf(instances)).filter((each) => each === from)).toHaveLength(3)
    expect([await counts(from), await counts(to)]).toEqual(['active 0/3', 'active 1/2'])
    await lab.terminate(instances[3])
    expect([await counts(from), await counts(to)]).toContain('active 1/3')
  })
})

describe('describeCapacityReservations', () => {
  it('knows the documented filters, and tags', async () => {
    const { CapacityReservationId: id } = await create({
      InstanceCount: 1, InstanceMatchCriteria: 'targeted', EndDate: new Date(NOW_MS + HOUR_MS),
      TagSpecifications: [{ ResourceType: 'capacity-reservation', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    await create({ InstanceType: 't3.small', AvailabilityZone: 'us-east-1b', InstanceCount: 1 })
    const by = async (Name: string, value: string) => (await list({ Filters: [{ Name, Values: [value] }] })).map((each) => each.CapacityReservationId)
    for (const name of DOCUMENTED_FILTERS.DescribeCapacityReservations) expect(await by(name, 'nothing-has-this'), name).toEqual([])
    for (const [name, value] of [
      ['instance-type', 't3.medium'], ['availability-zone', ZONE], ['end-date-type', 'limited'], ['instance-match-criteria', 'targeted'],
      ['start-date', new Date(NOW_MS + 1).toISOString()], ['end-date', new Date(NOW_MS + HOUR_MS).toISOString()], ['tag:a', 'b'], ['tag-key', 'a'],
    ] as const) expect(await by(name, value), name).toEqual([id])
    for (const [name, value] of [
      ['owner-id', DEFAULT_ACCOUNT], ['instance-platform', 'Linux/UNIX'], ['tenancy', 'default'], ['state', 'active'],
    ] as const) expect(await by(name, value), name).toHaveLength(2)
  })

  it('answers page by page, and for ids all or an error', async () => {
    const ids = [await create({ InstanceCount: 1 }), await create({ InstanceCount: 1 })].map((each) => each.CapacityReservationId)
    const first = await lab.call(describeCapacityReservations, { MaxResults: 1 })
    const second = await lab.call(describeCapacityReservations, { MaxResults: 1, NextToken: first.NextToken })
    expect([...first.CapacityReservations ?? [], ...second.CapacityReservations ?? []].map((each) => each.CapacityReservationId)).toEqual(ids)
    expect(second.NextToken).toBeUndefined()
    const unknown = { CapacityReservationIds: [...ids, 'cr-00000000000000000'] }
    expect(await lab.failure(describeCapacityReservations, unknown)).toMatch(/^InvalidCapacityReservationId.NotFound/)
    expect(await lab.as('other').call(describeCapacityReservations, {})).toMatchObject({ CapacityReservations: [] })
  })

  it('getCapacityReservationUsage says who is in it', async () => {
    const { CapacityReservationId: id } = await create()
    const usage = () => lab.call(getCapacityReservationUsage, { CapacityReservationId: id })
    expect(await usage()).toMatchObject({ TotalInstanceCount: 2, AvailableInstanceCount: 2, InstanceUsages: [], State: 'active', InstanceType: 't3.medium' })
    await launch()
    expect(await usage()).toMatchObject({ AvailableInstanceCount: 1, InstanceUsages: [{ AccountId: DEFAULT_ACCOUNT, UsedInstanceCount: 1 }] })
  })
})
