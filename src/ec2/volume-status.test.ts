import type { DescribeVolumeStatusRequest } from '@aws-sdk/client-ec2'
import { beforeEach, expect, test } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertInstance, insertVolume, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import type { InstanceDoc } from '../model/instance.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { describeVolumeAttribute, modifyVolumeAttribute } from './volume-attributes.ts'
import { describeVolumeStatus, enableVolumeIO } from './volume-status.ts'

let cloud: MemoryAccount
beforeEach(async () => {
  cloud = await openMemoryAccount()
})

const statuses = async (input: DescribeVolumeStatusRequest = {}) => (await cloud.call(describeVolumeStatus, input)).VolumeStatuses ?? []
const add = (change: Partial<Omit<VolumeTable, 'doc'>> = {}) => cloud.call((context: Context) => insertVolume(context, undefined, change), {})
const addAttached = (doc: Partial<InstanceDoc> = {}, change: Partial<Omit<VolumeTable, 'doc'>> = {}) =>
  cloud.call(async (context: Context) => insertVolume(context, await insertInstance(context, {}, doc), change), {})
/** What of a status is about its health. */
const health = async () => (await statuses()).map(({ VolumeStatus }) =>
  [VolumeStatus?.Status, ...(VolumeStatus?.Details ?? []).map((detail) => `${detail.Name} ${detail.Status}`)])

test('a volume is ok', async () => {
  const free = await add()
  expect(await statuses()).toEqual([{
    VolumeId: free.volume_id, AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', Actions: [], Events: [],
    AttachmentStatuses: [], Operator: { Managed: false },
    VolumeStatus: { Status: 'ok', Details: [{ Name: 'io-enabled', Status: 'passed' }, { Name: 'io-performance', Status: 'not-applicable' }] },
  }])
})

test('of provisioned IOPS it tells that they are had', async () => {
  const { instance_id: InstanceId } = await addAttached({}, { volume_type: 'io2' })
  expect(await health()).toEqual([['ok', 'io-enabled passed', 'io-performance normal']])
  expect((await statuses())[0]?.AttachmentStatuses).toEqual([{ InstanceId, IoPerformance: 'normal' }])
})

test('nothing is known of one that is being made', async () => {
  await add({ state: 'creating', ready: 0 })
  expect(await health()).toEqual([['insufficient-data', 'io-enabled insufficient-data', 'io-performance insufficient-data']])
})

test('one that could not be made is impaired', async () => {
  await cloud.call((context: Context) => insertVolume(context, undefined, { state: 'error', ready: 0 }, { errorMessage: 'No disk.' }), {})
  expect(await health()).toEqual([['impaired', 'io-enabled failed', 'io-performance not-applicable']])
  expect((await statuses())[0]?.Events).toMatchObject([{ Description: 'No disk.' }])
})

test('one whose guest stands still because the host is full is impaired', async () => {
  const { volume_id: id, instance_id: InstanceId } = await addAttached({ outOfSpaceSinceMs: NOW_MS })
  expect(await health()).toEqual([['impaired', 'io-enabled passed', 'io-performance stalled']])
  expect((await statuses())[0]?.Events).toMatchObject([{ EventType: 'io-performance:stalled', InstanceId, NotBefore: new Date(NOW_MS) }])
  await cloud.call(enableVolumeIO, { VolumeId: id })
  expect(await cloud.query((db) => db.selectFrom('work').select(['kind', 'id']).execute())).toEqual([{ kind: 'instance', id: InstanceId }])
})

test('a volume of a snapshot is initialized from the beginning', async () => {
  await add({ snapshot_id: 'snap-00000000000000000' })
  expect((await statuses())[0]?.InitializationStatusDetails).toEqual({ InitializationType: 'default', Progress: 100 })
})

test('by id, and only the own ones', async () => {
  const [first, second] = [await add(), await add()]
  const foreign = await cloud.call((context: Context) => insertVolume({ ...context, account: OTHER_ACCOUNT }, undefined), {})
  const binned = await add({ binned_ms: NOW_MS, bin_exit_ms: NOW_MS + 1 })
  expect((await statuses()).map((each) => each.VolumeId).toSorted()).toEqual([first.volume_id, second.volume_id].toSorted())
  expect(await statuses({ VolumeIds: [second.volume_id] })).toMatchObject([{ VolumeId: second.volume_id }])
  for (const { volume_id: id } of [foreign, binned]) {
    expect(await cloud.failure(describeVolumeStatus, { VolumeIds: [id] })).toMatch(/^InvalidVolume.NotFound/)
    expect(await cloud.failure(enableVolumeIO, { VolumeId: id })).toMatch(/^InvalidVolume.NotFound/)
  }
})

test.each([
  ['availability-zone', 'us-east-1a', 2], ['event.event-type', 'io-performance:stalled', 1], ['event.description', '*room*', 1],
  ['event.event-id', 'evol-*', 1], ['event.not-before', '2026-*', 1], ['volume-status.status', 'impaired', 1],
  ['volume-status.details-name', 'io-enabled', 2], ['volume-status.details-status', 'stalled', 1],
])('filters by %s = %s', async (Name, value, expected) => {
  await add()
  await addAttached({ outOfSpaceSinceMs: NOW_MS })
  expect(await statuses({ Filters: [{ Name, Values: [value] }] })).toHaveLength(expected)
})

test.each(DOCUMENTED_FILTERS.DescribeVolumeStatus)('knows the filter %s', async (Name) => {
  await add()
  expect(await statuses({ Filters: [{ Name, Values: ['no such value'] }] })).toEqual([])
})

test('attributes: autoEnableIO is false until it is changed, and nothing has product codes', async () => {
  const { volume_id: VolumeId } = await add()
  const autoEnableIO = () => cloud.call(describeVolumeAttribute, { VolumeId, Attribute: 'autoEnableIO' })
  expect(await autoEnableIO()).toEqual({ VolumeId, AutoEnableIO: { Value: false } })
  await cloud.call(modifyVolumeAttribute, { VolumeId, AutoEnableIO: { Value: true } })
  expect(await autoEnableIO()).toEqual({ VolumeId, AutoEnableIO: { Value: true } })
  expect(await cloud.call(describeVolumeAttribute, { VolumeId, Attribute: 'productCodes' })).toEqual({ VolumeId, ProductCodes: [] })
  expect(await cloud.failure(describeVolumeAttribute, { VolumeId, Attribute: undefined })).toMatch(/^MissingParameter/)
  expect(await cloud.failure(modifyVolumeAttribute, { VolumeId })).toMatch(/^MissingParameter/)
})
