import type { CreateFleetRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { defaultNetwork, failZone, hostOf, insertImage, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { parseCidr } from '../core/cidr.ts'
import { FLEET_TRANSITIONS, moveFleet, type FleetState } from '../model/fleet.ts'
import type { CapacityReservationTable } from '../store/schema.ts'
import { createFleet } from './create-fleet.ts'
import { deleteFleets, describeFleets } from './fleets.ts'
import { createLaunchTemplate } from './launch-templates.ts'

const HOUR_MS = 60 * 60 * 1000

let store: TestStore
let request: CreateFleetRequest
beforeEach(async () => {
  store = await openTestStore()
  const template = await store.run(async (context) => {
    const { image_id: ImageId } = await insertImage(context)
    return createLaunchTemplate(context, { LaunchTemplateName: 'web', LaunchTemplateData: { ImageId, InstanceType: 't3.micro' } })
  })
  request = {
    Type: 'instant', TargetCapacitySpecification: { TotalTargetCapacity: 2, DefaultTargetCapacityType: 'on-demand' },
    LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: template.LaunchTemplate?.LaunchTemplateId, Version: '$Latest' } }],
  }
})

const create = async (change: Partial<CreateFleetRequest> = {}) =>
  store.run((context) => createFleet(context, { ...request, ...change }))
const show = (id: string | undefined, nowMs = NOW_MS) =>
  store.run((context) => describeFleets({ ...context, nowMs }, { FleetIds: [id ?? ''] })).then(({ Fleets }) => Fleets?.[0]?.FleetState)

describe('a deleted fleet', () => {
  it('is terminating until its last instance is terminated', async () => {
    const { FleetId: id = '' } = await create()
    await store.run((context) => deleteFleets(context, { FleetIds: [id], TerminateInstances: true }))
    expect(await show(id)).toBe('deleted_terminating')
    await store.run(({ db }) => db.updateTable('instances').set({ state: 'terminated' }).execute())
    expect(await show(id)).toBe('deleted')
  })

  it('is shown for two days, and then forgotten with its tags and its token', async () => {
    const tags = [{ ResourceType: 'fleet' as const, Tags: [{ Key: 'a', Value: 'b' }] }]
    const { FleetId: id = '' } = await create({ ClientToken: 'once', TagSpecifications: tags })
    await store.run((context) => deleteFleets(context, { FleetIds: [id], TerminateInstances: true }))
    expect(await show(id, NOW_MS + 47 * HOUR_MS)).toBe('deleted_terminating')
    await expect(show(id, NOW_MS + 48 * HOUR_MS)).rejects.toThrow(`The fleet ID '${id}' does not exist`)
    const later = await store.run((context) =>
      createFleet({ ...context, nowMs: NOW_MS + 48 * HOUR_MS }, { ...request, ClientToken: 'once', TagSpecifications: tags }))
    expect(later.FleetId).not.toBe(id)
    expect(await store.run(({ db }) => db.selectFrom('fleets').select('fleet_id').execute())).toEqual([{ fleet_id: later.FleetId }])
    const tagged = await store.run(({ db }) => db.selectFrom('tags').select('resource_id').where('resource_type', '=', 'fleet').execute())
    expect(tagged).toEqual([{ resource_id: later.FleetId }])
  })
})

describe('a fleet\'s states', () => {
  it('end, and nothing comes back from there', () => {
    const reached = new Set<FleetState>(['submitted'])
    for (const state of reached) for (const next of FLEET_TRANSITIONS[state]) reached.add(next)
    expect([...reached].toSorted()).toEqual(Object.keys(FLEET_TRANSITIONS).toSorted())
    expect([FLEET_TRANSITIONS.deleted, FLEET_TRANSITIONS.failed]).toEqual([[], []])
  })

  it('change only where they may', async () => {
    const { FleetId: id = '' } = await create()
    const move = (to: FleetState) => store.run(async ({ db }) =>
      moveFleet(db, await db.selectFrom('fleets').selectAll().where('fleet_id', '=', id).executeTakeFirstOrThrow(), to))
    expect(await move('submitted')).toBe(false)
    expect(await move('deleted_terminating')).toBe(true)
    expect(await move('active')).toBe(false)
  })
})

describe('a fleet with capacity reservations first', () => {
  /** A reservation of t3.large in us-east-1b for one more instance. */
  const reserve = (change: Partial<CapacityReservationTable> = {}) => store.run(async ({ db, account }) => {
    await db
      .insertInto('capacity_reservations')
      .values({
        capacity_reservation_id: 'cr-00000000000000001', account_id: account, zone: `${REGION}b`, instance_type: 't3.large', state: 'active', total: 2,
        match_criteria: 'open', end_ms: null, created_ms: NOW_MS, doc: JSON.stringify({ tenancy: 'default' }),
        ...change,
      })
      .execute()
    await db
      .insertInto('capacity_reservation_hosts')
      .values({ capacity_reservation_id: 'cr-00000000000000001', host_id: hostOf(`${REGION}b`), reserved: 2, used: 1 }).execute()
  })
  const first = { OnDemandOptions: { CapacityReservationOptions: { UsageStrategy: 'use-capacity-reservations-first' as const } } }
  const launched = async (change: Partial<CreateFleetRequest>, placement = {}) => {
    const [config] = request.LaunchTemplateConfigs ?? []
    const Overrides = [
      { InstanceType: 't3.micro' as const, AvailabilityZone: `${REGION}a` },
      { InstanceType: 't3.large' as const, AvailabilityZone: `${REGION}b`, Placement: placement },
    ]
    const { Instances } = await create({ LaunchTemplateConfigs: [{ ...config, Overrides }], ...change })
    return Instances?.map((each) => [each.InstanceType, each.InstanceIds?.length])
  }

  it('launches from what has room in them before it goes by price', async () => {
    await reserve()
    expect(await launched({})).toEqual([['t3.micro', 2]])
    expect(await launched(first)).toEqual([['t3.large', 1], ['t3.micro', 1]])
  })

  it('goes by price where nothing can go into them: their time is over, their zone has failed, or they are of another tenancy', async () => {
    await reserve({ end_ms: NOW_MS - 1 })
    expect(await launched(first)).toEqual([['t3.micro', 2]])
    await store.run(({ db }) => db.updateTable('capacity_reservations').set({ end_ms: null }).execute())
    expect(await launched(first, { Tenancy: 'dedicated' })).toEqual([['t3.micro', 2]])
    await store.run(({ db }) => failZone(db, `${REGION}b`))
    expect(await launched(first)).toEqual([['t3.micro', 2]])
  })
})

describe('a fleet', () => {
  it('launches as many as there are public addresses for', async () => {
    const publicPool = parseCidr('198.18.0.0/29') ?? { base: 0, prefix: 29 }
    const target = { TotalTargetCapacity: 20, DefaultTargetCapacityType: 'on-demand' as const }
    const { Instances = [], Errors } = await store.run((context) =>
      createFleet({ ...context, publicPool }, { ...request, TargetCapacitySpecification: target }))
    expect(Instances.flatMap((each) => each.InstanceIds ?? []).length).toBeGreaterThan(3)
    expect(Errors?.[0]?.ErrorCode).toBe('InsufficientAddressCapacity')
  })

  it('must say how much it is to be', async () => {
    await expect(create({ TargetCapacitySpecification: { TotalTargetCapacity: undefined, DefaultTargetCapacityType: 'on-demand' } }))
      .rejects.toMatchObject({ code: 'MissingParameter' })
  })

  it('is in the subnet of an override, whatever zone its template names', async () => {
    const [template, subnet] = await store.run(async (context) => [
      await createLaunchTemplate(context, { LaunchTemplateName: 'in-zone-a', LaunchTemplateData: {
        ImageId: (await insertImage(context, { name: 'another' })).image_id, InstanceType: 't3.micro', Placement: { AvailabilityZone: `${REGION}a` },
      } }),
      (await defaultNetwork(context, `${REGION}b`)).subnet.subnet_id,
    ] as const)
    const { Instances, Errors } = await create({ LaunchTemplateConfigs: [{
      LaunchTemplateSpecification: { LaunchTemplateId: template.LaunchTemplate?.LaunchTemplateId, Version: '1' }, Overrides: [{ SubnetId: subnet }],
    }] })
    expect([Errors, Instances?.map((each) => each.AvailabilityZone)]).toEqual([[], [`${REGION}b`]])
  })
})
