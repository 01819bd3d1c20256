import type { CreateFleetRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, insertImage, NOW_MS, openTestStore, REGION, type TestStore } from '../../test/support/rows.ts'
import { FLEET_TRANSITIONS, moveFleet, type FleetState } from '../model/fleet.ts'
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
  it('launches from what has room in them before it goes by price', async () => {
    await store.run(async ({ db, account }) => {
      await db
        .insertInto('capacity_reservations')
        .values({
          capacity_reservation_id: 'cr-00000000000000001', account_id: account, zone: `${REGION}b`, instance_type: 't3.large', state: 'active', total: 2,
          match_criteria: 'open', end_ms: null, created_ms: NOW_MS, doc: JSON.stringify({ tenancy: 'default' }),
        })
        .execute()
      await db
        .insertInto('capacity_reservation_hosts')
        .values({ capacity_reservation_id: 'cr-00000000000000001', host_id: HOST_ID, reserved: 2, used: 1 }).execute()
    })
    const [config] = request.LaunchTemplateConfigs ?? []
    const pools = { LaunchTemplateConfigs: [{ ...config, Overrides: [
      { InstanceType: 't3.micro' as const, AvailabilityZone: `${REGION}a` }, { InstanceType: 't3.large' as const, AvailabilityZone: `${REGION}b` },
    ] }] }
    const launched = async (change: Partial<CreateFleetRequest>) =>
      (await create({ ...pools, ...change })).Instances?.map((each) => [each.InstanceType, each.InstanceIds?.length])
    expect(await launched({})).toEqual([['t3.micro', 2]])
    const first = { OnDemandOptions: { CapacityReservationOptions: { UsageStrategy: 'use-capacity-reservations-first' as const } } }
    expect(await launched(first)).toEqual([['t3.large', 1], ['t3.micro', 1]])
  })
})
