import { beforeEach, describe, expect, it } from 'vitest'
import { insertImage, insertSnapshot, insertLayerRow, NOW_MS, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { insertKey, setEncryptedByDefault } from '../model/kms-key.ts'
import { layerDoc, layerOf } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { copySnapshot } from './copy-snapshot.ts'
import { deleteSnapshot } from './delete-snapshot.ts'
import { describeSnapshots } from './snapshots.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const SourceRegion = 'us-east-1'

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

/** The row of the copy, and its layer's. */
async function copied(context: Context, input: object) {
  const { SnapshotId = '' } = await copySnapshot(context, { SourceRegion, SourceSnapshotId: undefined, ...input })
  const row = await context.db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', SnapshotId).executeTakeFirstOrThrow()
  const layer = await layerOf(context.db, row.layer_id ?? '')
  if (!layer) throw new Error('a copy without a layer')
  return { row, layer, doc: layerDoc(layer) }
}

/** An encrypted snapshot under a key of the account. */
async function insertEncrypted(context: Context): Promise<{ row: SnapshotTable; kmsKeyId: string }> {
  const kmsKeyId = await insertKey(context, `alias/${context.random.int(1e9)}`)
  const layer = await insertLayerRow(context, { doc: JSON.stringify({ kmsKeyId }) })
  return { row: await insertSnapshot(context, { layer_id: layer.layer_id, encrypted: 1 }, { kmsKeyId }), kmsKeyId }
}

describe('copySnapshot', () => {
  it('of a plain one is complete at once, and outlives its source', async () => {
    await test.run(async (context) => {
      const source = await insertSnapshot(context, { size_gib: 8, volume_id: 'vol-0123456789abcdef0' })
      const answer = await copySnapshot(context, {
        SourceRegion, SourceSnapshotId: source.snapshot_id, Description: 'second', DestinationRegion: 'us-east-1',
        PresignedUrl: 'https://ec2.us-east-1.amazonaws.com/?Action=CopySnapshot',
        TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'a', Value: 'b' }] }],
      })
      expect(answer.Tags).toEqual([{ Key: 'a', Value: 'b' }])
      await deleteSnapshot(context, { SnapshotId: source.snapshot_id })
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([{
        SnapshotId: answer.SnapshotId, State: 'completed', Progress: '100%', VolumeSize: 8, VolumeId: 'vol-ffffffff',
        Description: 'second', TransferType: 'standard', Encrypted: false, Tags: [{ Key: 'a', Value: 'b' }],
      }])
      expect(await layerOf(context.db, source.layer_id ?? '')).toMatchObject({ state: 'sealed' })
    })
  })

  it('of an encrypted one under the same key is complete at once', async () => {
    await test.run(async (context) => {
      const { row, kmsKeyId } = await insertEncrypted(context)
      expect(await copied(context, { SourceSnapshotId: row.snapshot_id })).toMatchObject({
        row: { state: 'completed', encrypted: 1, layer_id: row.layer_id, doc: expect.stringContaining(kmsKeyId) as string },
      })
    })
  })

  it('under another key is filled in the background, from a source that is kept until then', async () => {
    await test.run(async (context) => {
      const { row } = await insertEncrypted(context)
      const other = await insertKey(context, 'alias/other')
      const copy = await copied(context, { SourceSnapshotId: row.snapshot_id, Encrypted: true, KmsKeyId: 'alias/other' })
      expect(copy).toMatchObject({
        row: { state: 'pending', encrypted: 1 }, layer: { state: 'filling', size_gib: 1 },
        doc: { kmsKeyId: other, source: { layerId: row.layer_id } },
      })
      expect(await context.db.selectFrom('work').select(['kind', 'id']).where('id', '=', copy.layer.layer_id).execute())
        .toEqual([{ kind: 'layer', id: copy.layer.layer_id }])
      await deleteSnapshot(context, { SnapshotId: row.snapshot_id })
      expect(await layerOf(context.db, row.layer_id ?? '')).toMatchObject({ state: 'sealed' })
      await settleSnapshotsOf(context.db, copy.layer.layer_id, { state: 'completed' }, NOW_MS)
      expect((await describeSnapshots(context, {})).Snapshots).toMatchObject([{ State: 'completed', Encrypted: true }])
    })
  })

  it('encrypts a plain one when it is asked to, and unasked where the account has it so', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SourceSnapshotId } = await insertSnapshot(context)
      const asked = await copied(context, { SourceSnapshotId, Encrypted: true })
      await setEncryptedByDefault(context.db, context.account, true)
      const unasked = await copied(context, { SourceSnapshotId })
      expect(asked.doc.kmsKeyId).toMatch(/^[0-9a-f-]{36}$/)
      expect(unasked.doc.kmsKeyId).toBe(asked.doc.kmsKeyId)
      expect(unasked.row).toMatchObject({ state: 'pending', encrypted: 1 })
    })
  })

  it('of a shared one is the copier\'s own, under a key of theirs', async () => {
    const { plain, secret, encrypted } = await test.run(async (context) => {
      const made = {
        plain: await insertSnapshot(context), secret: await insertSnapshot(context), encrypted: await insertEncrypted(context),
      }
      for (const { snapshot_id } of [made.plain, made.encrypted.row]) {
        await context.db.insertInto('snapshot_permissions').values({ snapshot_id, account_id: OTHER_ACCOUNT }).execute()
      }
      return made
    })
    await test.run(async (context) => {
      expect((await copied(context, { SourceSnapshotId: plain.snapshot_id })).row)
        .toMatchObject({ account_id: OTHER_ACCOUNT, state: 'completed', layer_id: plain.layer_id })
      const theirs = await copied(context, { SourceSnapshotId: encrypted.row.snapshot_id })
      expect(theirs).toMatchObject({ row: { account_id: OTHER_ACCOUNT, state: 'pending', encrypted: 1 } })
      expect(theirs.doc.kmsKeyId).not.toBe(encrypted.kmsKeyId)
      expect(await failure(copied(context, { SourceSnapshotId: secret.snapshot_id }))).toMatch(/^InvalidSnapshot.NotFound: /)
    }, OTHER_ACCOUNT)
  })

  it('is refused while twenty are under way; those of images do not count', async () => {
    await test.run(async (context) => {
      const { row: { snapshot_id: SourceSnapshotId } } = await insertEncrypted(context)
      const copyAgain = () => copied(context, { SourceSnapshotId, Encrypted: true, KmsKeyId: 'alias/other' })
      await insertKey(context, 'alias/other')
      const { image_id } = await insertImage(context)
      for (let count = 0; count < 20; count++) await copyAgain()
      expect(await failure(copyAgain()))
        .toBe('ResourceLimitExceeded: Too many snapshot copies in progress. The limit is 20 for this destination region.')
      const row = await context.db.selectFrom('snapshots').selectAll().where('state', '=', 'pending').executeTakeFirstOrThrow()
      await context.db.insertInto('image_snapshots').values({ image_id, device_name: '/dev/sdf', snapshot_id: row.snapshot_id }).execute()
      expect((await copyAgain()).row.state).toBe('pending')
      expect(await failure(copyAgain())).toMatch(/^ResourceLimitExceeded: /)
      await deleteSnapshot(context, { SnapshotId: (await context.db.selectFrom('snapshots').select('snapshot_id').where('state', '=', 'pending')
        .where('snapshot_id', '!=', row.snapshot_id).executeTakeFirstOrThrow()).snapshot_id })
      expect((await copyAgain()).row.state).toBe('pending')
    })
  })

  it('refuses sources that are not complete, other regions, and keys that are not there', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SourceSnapshotId } = await insertSnapshot(context)
      const pending = await insertSnapshot(context, { state: 'pending' })
      const { row: encrypted } = await insertEncrypted(context)
      const of = (input: object) => failure(copied(context, { SourceSnapshotId, ...input }))
      expect(await of({ SourceSnapshotId: pending.snapshot_id }))
        .toBe(`IncorrectState: Snapshot ${pending.snapshot_id} is in invalid state - pending`)
      expect(await of({ SourceRegion: 'eu-west-1' })).toMatch(/^InvalidParameterValue: .*sourceRegion/)
      expect(await of({ DestinationRegion: 'eu-west-1' })).toMatch(/^InvalidParameterValue: .*destinationRegion/)
      expect(await of({ SourceRegion: '' })).toMatch(/^MissingParameter: /)
      expect(await of({ SourceSnapshotId: '' })).toMatch(/^MissingParameter: /)
      expect(await of({ Encrypted: true, KmsKeyId: 'alias/none' })).toMatch(/^InvalidParameterValue: .*KmsKeyId/)
      expect(await of({ KmsKeyId: 'alias/none' })).toMatch(/^InvalidParameterDependency: /)
      expect(await of({ SourceSnapshotId: encrypted.snapshot_id, Encrypted: false })).toMatch(/^InvalidParameterCombination: /)
      expect(await of({ CompletionDurationMinutes: 15 })).toMatch(/^UnsupportedOperation: /)
      expect(await of({ DestinationOutpostArn: 'arn:x' })).toMatch(/^UnsupportedOperation: /)
    })
  })
})
