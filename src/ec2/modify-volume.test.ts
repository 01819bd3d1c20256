import type { ModifyVolumeRequest } from '@aws-sdk/client-ec2'
import { beforeEach, expect, test } from 'vitest'
import { DOCUMENTED_FILTERS } from '../../test/support/documented-filters.ts'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertInstance, insertVolume, NOW_MS, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import type { VolumeTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { modifyVolume } from './modify-volume.ts'
import { describeVolumesModifications } from './volumes-modifications.ts'
import { describeVolumes } from './volumes.ts'

let cloud: MemoryAccount
let volume: VolumeTable

beforeEach(async () => {
  cloud = await openMemoryAccount()
  volume = await cloud.call((context: Context) => insertVolume(context, undefined), {})
})

const modify = (input: Omit<ModifyVolumeRequest, 'VolumeId'>) => cloud.call(modifyVolume, { VolumeId: volume.volume_id, ...input })
const failure = (input: Omit<ModifyVolumeRequest, 'VolumeId'>) => cloud.failure(modifyVolume, { VolumeId: volume.volume_id, ...input })
/** As the reconciler does when it is in force. */
const complete = () => cloud.query((db) => db.updateTable('volume_modifications').set({ state: 'completed', ended_ms: NOW_MS + 5 }).execute())
const shown = async () => (await cloud.call(describeVolumes, {})).Volumes?.[0]
const due = () => cloud.query((db) => db.selectFrom('work').select(['kind', 'id']).execute())

test('a free volume grows; the agent is told', async () => {
  expect(await modify({ Size: 20 })).toEqual({
    VolumeModification: {
      VolumeId: volume.volume_id, ModificationState: 'modifying', Progress: 0, StartTime: new Date(NOW_MS), EndTime: undefined,
      OriginalSize: 8, OriginalVolumeType: 'gp3', OriginalIops: 3000, OriginalThroughput: 125, OriginalMultiAttachEnabled: false,
      TargetSize: 20, TargetVolumeType: 'gp3', TargetIops: 3000, TargetThroughput: 125, TargetMultiAttachEnabled: false,
    },
  })
  expect(await shown()).toMatchObject({ Size: 20, VolumeType: 'gp3' })
  expect(await due()).toEqual([{ kind: 'volume', id: volume.volume_id }])
  await complete()
  expect((await cloud.call(describeVolumesModifications, { VolumeIds: [volume.volume_id] })).VolumesModifications)
    .toMatchObject([{ ModificationState: 'completed', Progress: 100, EndTime: new Date(NOW_MS + 5) }])
})

test('an attached one is a matter of its instance', async () => {
  volume = await cloud.call(async (context: Context) => insertVolume(context, await insertInstance(context)), {})
  await modify({ Iops: 4000, Throughput: 500 })
  const row = await cloud.query((db) => db.selectFrom('volumes').selectAll().where('volume_id', '=', volume.volume_id).executeTakeFirst())
  expect(row).toMatchObject({ revision: 2, synced_revision: 1, doc: JSON.stringify({ iops: 4000, throughputMibps: 500 }) })
  expect(await due()).toEqual([{ kind: 'instance', id: volume.instance_id }])
})

test.each<[ModifyVolumeRequest['VolumeType'], Omit<ModifyVolumeRequest, 'VolumeId'>, object]>([
  ['gp2', { Size: 100 }, { Size: 100, VolumeType: 'gp2', Iops: 300 }],
  ['io2', {}, { VolumeType: 'io2', Iops: 3000 }],
  ['io1', { Iops: 400 }, { VolumeType: 'io1', Iops: 400 }],
  ['standard', {}, { VolumeType: 'standard' }],
  ['st1', { Size: 125 }, { VolumeType: 'st1', Size: 125 }],
])('it may become a %s', async (VolumeType, input, expected) => {
  await modify({ VolumeType, ...input })
  const after = await shown()
  expect(after).toMatchObject(expected)
  expect(after?.Throughput).toBeUndefined()
})

test('what stays the same type keeps its IOPS and throughput', async () => {
  await modify({ Size: 16, Iops: 5000, Throughput: 300 })
  await complete()
  await modify({ Size: 32 })
  expect(await shown()).toMatchObject({ Size: 32, Iops: 5000, Throughput: 300 })
})

test('one at a time, and four within a day', async () => {
  await modify({ Size: 9 })
  expect(await failure({ Size: 10 })).toBe(
    `IncorrectModificationState: Volume ${volume.volume_id} cannot be modified in modification state MODIFYING`)
  for (const Size of [10, 11, 12]) {
    await complete()
    cloud.pass(1000)
    await modify({ Size })
  }
  await complete()
  expect(await failure({ Size: 13 })).toMatch(/^VolumeModificationRateExceeded: You've reached the maximum modification rate/)
  cloud.pass(24 * 60 * 60 * 1000 - 3000)
  await modify({ Size: 13 })
  await complete()
  expect(await failure({ Size: 14 })).toMatch(/^VolumeModificationRateExceeded/)
})

test.each<[string, Omit<ModifyVolumeRequest, 'VolumeId'>, RegExp]>([
  ['a smaller size', { Size: 7 }, /^InvalidParameterValue: New size cannot be smaller than existing size$/],
  ['nothing', {}, /^MissingParameter/],
  ['more than a type has', { Iops: 4001 }, /^InvalidParameterValue: Iops to volume size ratio/],
  ['IOPS of a type that has none', { VolumeType: 'gp2', Iops: 100 }, /^InvalidParameterCombination/],
  ['an unknown type', { VolumeType: 'gp9' as 'gp2' }, /^InvalidParameterValue/],
  ['several instances at once', { MultiAttachEnabled: true }, /^UnsupportedOperation/],
])('refuses %s', async (_what, input, message) => {
  expect(await failure(input)).toMatch(message)
  expect(await shown()).toMatchObject({ Size: 8, VolumeType: 'gp3', Iops: 3000 })
})

test('refuses a root that cannot be booted from, volumes that are not there yet, and those of others', async () => {
  const root = await cloud.call(async (context: Context) => insertVolume(context, await insertInstance(context), { size_gib: 200 }), {})
  expect(await cloud.failure(modifyVolume, { VolumeId: root.volume_id, VolumeType: 'st1' })).toMatch(/root volume cannot be of type st1/)
  const unmade = await cloud.call((context: Context) => insertVolume(context, undefined, { state: 'creating' }), {})
  expect(await cloud.failure(modifyVolume, { VolumeId: unmade.volume_id, Size: 9 })).toMatch(/^IncorrectState/)
  const foreign = await cloud.call((context: Context) => insertVolume({ ...context, account: OTHER_ACCOUNT }, undefined), {})
  expect(await cloud.failure(modifyVolume, { VolumeId: foreign.volume_id, Size: 9 })).toMatch(/^InvalidVolume.NotFound/)
  expect(await cloud.failure(describeVolumesModifications, { VolumeIds: [foreign.volume_id] })).toMatch(/^InvalidVolume.NotFound/)
})

test('only what was modified is listed', async () => {
  expect((await cloud.call(describeVolumesModifications, {})).VolumesModifications).toEqual([])
  expect(await cloud.failure(describeVolumesModifications, { VolumeIds: [volume.volume_id] }))
    .toBe(`InvalidVolumeModification.NotFound: Modification for volume '${volume.volume_id}' does not exist.`)
})

test.each(DOCUMENTED_FILTERS.DescribeVolumesModifications)('DescribeVolumesModifications knows the filter %s', async (Name) => {
  await modify({ Size: 9 })
  const find = async (value: string) =>
    (await cloud.call(describeVolumesModifications, { Filters: [{ Name, Values: [value] }] })).VolumesModifications?.length
  expect(await find('no such value')).toBe(0)
  expect(await find('*')).toBe(1)
})
