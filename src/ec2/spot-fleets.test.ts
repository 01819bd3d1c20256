import type { SpotFleetRequestConfigData } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertImage, NOW_MS, openTestStore, OTHER_ACCOUNT, REGION, type TestStore } from '../../test/support/rows.ts'
import type { FleetState } from '../model/fleet.ts'
import { cancelSpotFleetRequests } from './spot-fleet-cancel.ts'
import { describeSpotFleetInstances, describeSpotFleetRequestHistory, describeSpotFleetRequests } from './spot-fleet-describe.ts'
import { modifySpotFleetRequest } from './spot-fleet-modify.ts'
import { requestSpotFleet } from './spot-fleet-request.ts'
import { createTags } from './tags.ts'

const HOUR_MS = 60 * 60 * 1000
const NOBODY = 'sfr-00000000-0000-0000-0000-000000000000'

let store: TestStore
let config: SpotFleetRequestConfigData
beforeEach(async () => {
  store = await openTestStore()
  const { image_id: ImageId } = await store.run((context) => insertImage(context))
  config = {
    IamFleetRole: 'arn:aws:iam::000000000000:role/fleet', TargetCapacity: 2,
    LaunchSpecifications: [{ ImageId, InstanceType: 't3.micro', SpotPrice: '', Placement: { AvailabilityZone: `${REGION}a, ${REGION}b` } }],
  }
})

const request = async (change: Partial<SpotFleetRequestConfigData> = {}) =>
  (await store.run((context) => requestSpotFleet(context, { SpotFleetRequestConfig: { ...config, ...change } }))).SpotFleetRequestId ?? ''
const refusal = (change: Partial<SpotFleetRequestConfigData>) => request(change).then(() => 'none', (error: Error & { code?: string }) => `${error.code}: ${error.message}`)
const show = async (id: string, nowMs = NOW_MS) =>
  (await store.run((context) => describeSpotFleetRequests({ ...context, nowMs }, { SpotFleetRequestIds: [id] }))).SpotFleetRequestConfigs?.[0]
const cancel = (ids: string[], terminates: boolean) =>
  store.run((context) => cancelSpotFleetRequests(context, { SpotFleetRequestIds: ids, TerminateInstances: terminates }))
const put = (id: string, state: FleetState) => store.run(({ db }) => db.updateTable('fleets').set({ state }).where('fleet_id', '=', id).execute())
const modify = (id: string, change: object) => store.run((context) => modifySpotFleetRequest(context, { SpotFleetRequestId: id, ...change }))
const history = async (id: string) => {
  const { HistoryRecords = [] } = await store.run((context) =>
    describeSpotFleetRequestHistory(context, { SpotFleetRequestId: id, StartTime: new Date(0) }))
  return HistoryRecords.map(({ EventInformation: { EventSubType: type, EventDescription: text } = {} }) => (text ? `${type}: ${text}` : type))
}

describe('a Spot Fleet', () => {
  it('is shown as it was asked for, with what EC2 adds', async () => {
    const id = await request({ SpotPrice: '0.01', TagSpecifications: [{ ResourceType: 'spot-fleet-request', Tags: [{ Key: 'team', Value: 'a' }] }] })
    expect(id).toMatch(/^sfr-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    expect(await show(id)).toEqual({
      SpotFleetRequestId: id, SpotFleetRequestState: 'submitted', ActivityStatus: 'pending_fulfillment', CreateTime: new Date(NOW_MS),
      Tags: [{ Key: 'team', Value: 'a' }],
      SpotFleetRequestConfig: {
        ...config, SpotPrice: '0.01', AllocationStrategy: 'lowestPrice', OnDemandAllocationStrategy: 'lowestPrice', Type: 'maintain',
        ExcessCapacityTerminationPolicy: 'default', InstanceInterruptionBehavior: 'terminate', ReplaceUnhealthyInstances: false,
        TerminateInstancesWithExpiration: false, OnDemandTargetCapacity: 0, FulfilledCapacity: 0, OnDemandFulfilledCapacity: 0,
      },
    })
  })

  it('is made once for a client token', async () => {
    const id = await request({ ClientToken: 'once' })
    expect(await request({ ClientToken: 'once' })).toBe(id)
    expect(await refusal({ ClientToken: 'once', TargetCapacity: 3 })).toMatch(/^IdempotentParameterMismatch/)
  })

  it('is refused where it could never launch from one of its places', async () => {
    const [specification] = config.LaunchSpecifications ?? []
    const places = (change: object) => refusal({ LaunchSpecifications: [{ ...specification, ...change }] })
    expect(await places({ ImageId: 'ami-00000000000000009' })).toMatch(/^InvalidSpotFleetRequestConfig: The image id/)
    expect(await places({ Placement: undefined, SubnetId: 'subnet-00000000000000009' })).toMatch(/^InvalidSpotFleetRequestConfig: The subnet ID/)
    expect(await refusal({ LaunchSpecifications: [specification ?? {}, specification ?? {}] })).toMatch(/^InvalidSpotFleetRequestConfig.*duplicate/)
    expect(await refusal({
      LaunchSpecifications: [], LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateName: 'nobody', Version: '1' } }],
    })).toMatch(/^InvalidLaunchTemplateName.NotFoundException/)
  })

  it('belongs to its account, and has tags by its id', async () => {
    const id = await request()
    await store.run((context) => createTags(context, { Resources: [id], Tags: [{ Key: 'a', Value: 'b' }] }))
    expect((await show(id))?.Tags).toEqual([{ Key: 'a', Value: 'b' }])
    const others = await store.run((context) => describeSpotFleetRequests(context, {}), OTHER_ACCOUNT)
    expect(others.SpotFleetRequestConfigs).toEqual([])
    await expect(store.run((context) => describeSpotFleetInstances(context, { SpotFleetRequestId: id }), OTHER_ACCOUNT))
      .rejects.toMatchObject({ code: 'InvalidSpotFleetRequestId.NotFound', message: `The spot fleet request ID '${id}' does not exist` })
  })

  it('must be named by an id of its form', async () => {
    const of = (id: string) => store.run((context) => describeSpotFleetInstances(context, { SpotFleetRequestId: id }))
    await expect(of('sir-pzegskqj')).rejects.toThrow(
      "2 validation errors detected: Value 'sir-pzegskqj' at 'spotFleetRequestId' failed to satisfy constraint: Member must have length greater "
      + "than or equal to 40; Value 'sir-pzegskqj' at 'spotFleetRequestId' failed to satisfy constraint: Member must satisfy regular expression pattern: ^sfr-[a-z0-9-]*")
    await expect(of(NOBODY.replaceAll('0', 'x'))).rejects.toMatchObject({ code: 'InvalidSpotFleetRequestId.Malformed' })
  })

  it('is paged, oldest first', async () => {
    const ids = [await request(), await request(), await request()].toSorted()
    const first = await store.run((context) => describeSpotFleetRequests(context, { MaxResults: 2 }))
    const second = await store.run((context) => describeSpotFleetRequests(context, { MaxResults: 2, NextToken: first.NextToken }))
    expect([...first.SpotFleetRequestConfigs ?? [], ...second.SpotFleetRequestConfigs ?? []].map((each) => each.SpotFleetRequestId)).toEqual(ids)
    expect(second.NextToken).toBeUndefined()
  })
})

describe('a change of a Spot Fleet', () => {
  it('is taken while it is active, and written down', async () => {
    const id = await request()
    await put(id, 'active')
    expect(await modify(id, { TargetCapacity: 38, ExcessCapacityTerminationPolicy: 'noTermination' })).toEqual({ Return: true })
    expect(await show(id)).toMatchObject({
      SpotFleetRequestState: 'modifying', SpotFleetRequestConfig: { TargetCapacity: 38, ExcessCapacityTerminationPolicy: 'noTermination' },
    })
    expect(await history(id)).toEqual([
      'submitted', 'modify_in_progress: Modify request received. Requested targetCapacity: 38, excessCapacityTerminationPolicy: NoTermination',
    ])
    await expect(modify(id, { TargetCapacity: 1 })).rejects.toMatchObject({ code: 'FleetNotInModifiableState' })
  })

  it('is refused for one of type request, without anything to change, and beyond what a new one may be', async () => {
    const once = await request({ Type: 'request' })
    await expect(modify(once, { TargetCapacity: 1 })).rejects.toMatchObject({
      code: 'FleetNotInModifiableState', message: `Fleet Request: ${once} is not a modifiable fleet request type.`,
    })
    const id = await request()
    await put(id, 'active')
    await expect(modify(id, {})).rejects.toMatchObject({ code: 'InvalidParameterCombinationException', message: 'No attributes specified.' })
    for (const change of [{ TargetCapacity: -1 }, { OnDemandTargetCapacity: 1 }, { LaunchTemplateConfigs: [{}] }]) {
      await expect(modify(id, change)).rejects.toMatchObject({ code: 'InvalidSpotFleetRequestConfig' })
    }
    await expect(modify(NOBODY, { TargetCapacity: 1 })).rejects.toMatchObject({ code: 'InvalidSpotFleetRequestId.NotFound' })
  })
})

describe('a cancellation', () => {
  it('leaves instances to run or terminates them, also afterwards, and answers for each fleet', async () => {
    const [id, other] = [await request(), await request()]
    expect(await cancel([id, NOBODY, 'sfr-1'], false)).toEqual({
      SuccessfulFleetRequests: [{ SpotFleetRequestId: id, PreviousSpotFleetRequestState: 'submitted', CurrentSpotFleetRequestState: 'cancelled_running' }],
      UnsuccessfulFleetRequests: [
        { SpotFleetRequestId: NOBODY, Error: { Code: 'fleetRequestIdDoesNotExist', Message: `The spot fleet request ID '${NOBODY}' does not exist` } },
        { SpotFleetRequestId: 'sfr-1', Error: { Code: 'fleetRequestIdMalformed', Message: "The spot fleet request ID 'sfr-1' is malformed" } },
      ],
    })
    expect((await cancel([id], false)).UnsuccessfulFleetRequests?.[0]?.Error?.Code).toBe('fleetRequestNotInCancellableState')
    expect((await cancel([id, other], true)).SuccessfulFleetRequests?.map((each) => each.PreviousSpotFleetRequestState))
      .toEqual(['cancelled_running', 'submitted'])
    expect(await history(id)).toEqual(['submitted', 'cancelled_running', 'cancelled_terminating'])
  })

  it('takes up to a hundred fleets', async () => {
    await expect(cancel(Array.from({ length: 101 }, (_, index) => `sfr-${index}`), true)).rejects.toMatchObject({ code: 'InvalidParameterValue' })
  })

  it('is shown for two days', async () => {
    const id = await request()
    await cancel([id], true)
    await put(id, 'deleted')
    expect((await show(id, NOW_MS + 47 * HOUR_MS))?.SpotFleetRequestState).toBe('cancelled')
    await expect(show(id, NOW_MS + 48 * HOUR_MS)).rejects.toMatchObject({ code: 'InvalidSpotFleetRequestId.NotFound' })
    await store.run((context) => requestSpotFleet({ ...context, nowMs: NOW_MS + 48 * HOUR_MS }, { SpotFleetRequestConfig: config }))
    expect(await store.run(({ db }) => db.selectFrom('fleets').select('fleet_id').where('fleet_id', '=', id).execute())).toEqual([])
  })
})
