import type { CreateVolumeRequest, VolumeType } from '@aws-sdk/client-ec2'
import { beforeEach, expect, test } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertSnapshot, OTHER_ACCOUNT } from '../../test/support/rows.ts'
import { PROVIDER_ACCOUNT } from '../model/account.ts'
import { insertKey } from '../model/kms-key.ts'
import type { Context } from './context.ts'
import { createVolume } from './create-volume.ts'
import { enableEbsEncryptionByDefault } from './ebs-encryption.ts'
import { deleteVolume } from './volumes.ts'

let cloud: MemoryAccount
beforeEach(async () => {
  cloud = await openMemoryAccount()
})

const create = (input: CreateVolumeRequest) => cloud.call(createVolume, { AvailabilityZone: 'us-east-1a', ...input })
const failure = (input: CreateVolumeRequest) => cloud.failure(createVolume, { AvailabilityZone: 'us-east-1a', ...input })
const snapshot = (change: Parameters<typeof insertSnapshot>[1]) =>
  cloud.call(async (context: Context) => (await insertSnapshot(context, change)).snapshot_id, {})
const row = (id: string | undefined) => cloud.query((db) =>
  db.selectFrom('volumes').selectAll().where('volume_id', '=', id ?? '').executeTakeFirstOrThrow())

test('an empty volume is of type gp2, plain, and being made; the agent is told', async () => {
  const volume = await create({ Size: 10, TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'Name', Value: 'data' }] }] })
  expect(volume).toMatchObject({
    State: 'creating', Size: 10, VolumeType: 'gp2', Iops: 100, Encrypted: false, SnapshotId: '', Attachments: [],
    AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', Tags: [{ Key: 'Name', Value: 'data' }],
  })
  const { layer_id: layerId } = await row(volume.VolumeId)
  const layer = await cloud.query((db) => db.selectFrom('layers').selectAll().where('layer_id', '=', layerId).executeTakeFirst())
  expect(layer).toMatchObject({ state: 'making', parent_id: null, size_gib: 10, doc: '{}' })
  expect(await cloud.query((db) => db.selectFrom('work').select(['kind', 'id']).execute())).toContainEqual({ kind: 'volume', id: volume.VolumeId })
})

test('the zone may be named by its id', async () => {
  const volume = await cloud.call(createVolume, { AvailabilityZoneId: 'use1-az2', Size: 1 })
  expect(volume.AvailabilityZone).toBe('us-east-1b')
  expect(await cloud.failure(createVolume, { Size: 1 })).toMatch(/^MissingParameter/)
  expect(await failure({ AvailabilityZoneId: 'use1-az2', Size: 1 })).toMatch(/^InvalidParameterCombination/)
  expect(await cloud.failure(createVolume, { AvailabilityZone: 'mars-1a', Size: 1 })).toMatch(/^InvalidParameterValue: .*Volumes can/)
})

test('a volume of a snapshot stands on its layer and is at least as large', async () => {
  const id = await snapshot({ size_gib: 8 })
  const volume = await create({ SnapshotId: id, VolumeType: 'gp3', Iops: 4000, Throughput: 200 })
  expect(volume).toMatchObject({ Size: 8, SnapshotId: id, Iops: 4000, Throughput: 200 })
  expect(await create({ SnapshotId: id, Size: 9 })).toMatchObject({ Size: 9 })
  expect(await failure({ SnapshotId: id, Size: 4 })).toMatch(/^InvalidParameterValue: Volume of size 4GB is smaller/)
})

test('snapshots of others are not there unless they share them, and one must be complete', async () => {
  const foreign = await snapshot({ account_id: OTHER_ACCOUNT })
  expect(await failure({ SnapshotId: foreign })).toBe(`InvalidSnapshot.NotFound: The snapshot '${foreign}' does not exist.`)
  await cloud.query((db) => db.insertInto('snapshot_permissions').values({ snapshot_id: foreign, account_id: '123456789012' }).execute())
  expect(await create({ SnapshotId: foreign })).toMatchObject({ SnapshotId: foreign })
  const pending = await snapshot({ state: 'pending' })
  expect(await failure({ SnapshotId: pending })).toBe(`IncorrectState: Snapshot ${pending} is in invalid state - pending`)
  const binned = await snapshot({ binned_ms: 1, bin_exit_ms: 2 })
  expect(await failure({ SnapshotId: binned })).toMatch(/^InvalidSnapshot.NotFound/)
})

test('an encrypted volume of a plain snapshot stands on an encrypted copy, which only what is everybody\'s needs not', async () => {
  const layers = () => cloud.query((db) => db.selectFrom('layers').selectAll().execute())
  const under = async (input: CreateVolumeRequest) => {
    const { layer_id: id } = await row((await create(input)).VolumeId)
    const rows = await layers()
    const head = rows.find((each) => each.layer_id === id)
    return { head, under: rows.find((each) => each.layer_id === head?.parent_id) }
  }
  const plain = await snapshot({ size_gib: 2 })
  const { layer_id: source } = await cloud.query((db) =>
    db.selectFrom('snapshots').select('layer_id').where('snapshot_id', '=', plain).executeTakeFirstOrThrow())
  const encrypted = await under({ SnapshotId: plain, Size: 3, Encrypted: true })
  const { kmsKeyId } = JSON.parse(encrypted.head?.doc ?? '{}') as { kmsKeyId?: string }
  expect(kmsKeyId).toBeDefined()
  expect(encrypted.head).toMatchObject({ state: 'making', size_gib: 3, depth: 1 })
  expect(encrypted.under).toMatchObject({ state: 'filling', size_gib: 2, depth: 0, parent_id: source })
  expect(JSON.parse(encrypted.under?.doc ?? '')).toEqual({ kmsKeyId, source: { layerId: source } })
  expect(await cloud.query((db) => db.selectFrom('work').select('kind').where('id', '=', encrypted.under?.layer_id ?? '').execute()))
    .toEqual([{ kind: 'layer' }])
  expect((await under({ SnapshotId: plain })).under?.layer_id).toBe(source)
  const everybodys = await snapshot({ account_id: PROVIDER_ACCOUNT, is_public: 1 })
  expect((await under({ SnapshotId: everybodys, Encrypted: true })).under?.state).toBe('sealed')
})

test('an encrypted volume names its key; its layer is to be encrypted under it', async () => {
  const key = await cloud.call((context: Context) => insertKey(context, 'alias/web'), {})
  const volume = await create({ Size: 1, Encrypted: true, KmsKeyId: 'alias/web' })
  expect(volume).toMatchObject({ Encrypted: true, KmsKeyId: `arn:aws:kms:us-east-1:123456789012:key/${key}` })
  const { layer_id: layerId, encrypted } = await row(volume.VolumeId)
  expect(encrypted).toBe(1)
  const layer = await cloud.query((db) => db.selectFrom('layers').select('doc').where('layer_id', '=', layerId).executeTakeFirst())
  expect(layer?.doc).toBe(JSON.stringify({ kmsKeyId: key }))
  await cloud.call(enableEbsEncryptionByDefault, {})
  expect(await create({ Size: 1 })).toMatchObject({ Encrypted: true })
})

test('the same token makes one volume, until that is deleted', async () => {
  const first = await create({ Size: 1, ClientToken: 'once' })
  expect((await create({ Size: 1, ClientToken: 'once' })).VolumeId).toBe(first.VolumeId)
  expect(await failure({ Size: 2, ClientToken: 'once' })).toMatch(/^IdempotentParameterMismatch/)
  await cloud.query((db) => db.updateTable('volumes').set({ state: 'deleting' }).execute())
  expect(await failure({ Size: 1, ClientToken: 'once' })).toMatch(/^IdempotentParameterMismatch: .*already been deleted/)
  await cloud.call(deleteVolume, { VolumeId: first.VolumeId })
  expect((await create({ Size: 1, ClientToken: 'once' })).VolumeId).not.toBe(first.VolumeId)
})

test.each<[string, CreateVolumeRequest, RegExp]>([
  ['no size', {}, /^MissingParameter: .*size or snapshotId/],
  ['no size that a type has', { Size: 2000, VolumeType: 'standard' }, /^InvalidParameterValue/],
  ['an unknown type', { Size: 1, VolumeType: 'gp9' as VolumeType }, /^InvalidParameterValue: .*gp9/],
  ['IOPS that a type has not', { Size: 1, Iops: 100 }, /^InvalidParameterCombination/],
  ['tags of something else', { Size: 1, TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'a', Value: 'b' }] }] }, /^InvalidParameterValue/],
  ['several instances at once', { Size: 4, VolumeType: 'io1', Iops: 100, MultiAttachEnabled: true }, /^UnsupportedOperation/],
  ['an Outpost', { Size: 1, OutpostArn: 'arn:x' }, /^UnsupportedOperation/],
  ['a rate of initialization', { Size: 1, VolumeInitializationRate: 100 }, /^UnsupportedOperation/],
  ['a key without encryption', { Size: 1, KmsKeyId: 'alias/aws/ebs' }, /^InvalidParameterDependency/],
])('refuses %s', async (_what, input, message) => {
  expect(await failure(input)).toMatch(message)
  expect(await cloud.query((db) => db.selectFrom('layers').select('layer_id').execute())).toEqual([])
})
