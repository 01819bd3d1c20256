import type { CreateVolumePermission } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { insertLayerRow, insertSnapshot, openTestStore, OTHER_ACCOUNT, type TestStore } from '../../test/support/rows.ts'
import { awsManagedKey, insertKey } from '../model/kms-key.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { copySnapshot } from './copy-snapshot.ts'
import { describeSnapshotAttribute, modifySnapshotAttribute, resetSnapshotAttribute } from './snapshot-attributes.ts'
import {
  disableSnapshotBlockPublicAccess, enableSnapshotBlockPublicAccess, getSnapshotBlockPublicAccessState,
} from './snapshot-public-access.ts'
import { describeSnapshots } from './snapshots.ts'

let test: TestStore
beforeEach(async () => {
  test = await openTestStore()
})

const Attribute = 'createVolumePermission'

const failure = (promise: Promise<unknown>) =>
  promise.then(() => 'no failure', (error: { code: string; message: string }) => `${error.code}: ${error.message}`)

/** Who may make volumes of it: accounts, and `all`. */
const allowed = async (context: Context, { snapshot_id: SnapshotId }: SnapshotTable) =>
  (await describeSnapshotAttribute(context, { Attribute, SnapshotId })).CreateVolumePermissions
    ?.map((each) => each.Group ?? each.UserId)

const seenByOther = async () => (await test.run((context) => describeSnapshots(context, {}), OTHER_ACCOUNT)).Snapshots?.length

async function insertEncrypted(context: Context, kmsKeyId: string): Promise<SnapshotTable> {
  const layer = await insertLayerRow(context, { doc: JSON.stringify({ kmsKeyId }) })
  return insertSnapshot(context, { layer_id: layer.layer_id, encrypted: 1 }, { kmsKeyId })
}

describe('modifySnapshotAttribute', () => {
  it('shares with accounts and with all, in both forms, and takes it back', async () => {
    const row = await test.run((context) => insertSnapshot(context))
    const SnapshotId = row.snapshot_id
    const modify = (input: object) => test.run((context) => modifySnapshotAttribute(context, { SnapshotId, ...input }))
    const list = () => test.run((context) => allowed(context, row))
    await modify({ CreateVolumePermission: { Add: [{ UserId: OTHER_ACCOUNT }, { UserId: '111111111111' }] } })
    await modify({ Attribute, OperationType: 'add', UserIds: [OTHER_ACCOUNT], GroupNames: ['all'] })
    expect([await list(), await seenByOther()]).toEqual([['all', '111111111111', OTHER_ACCOUNT], 1])
    await modify({ Attribute, OperationType: 'remove', GroupNames: ['all'] })
    await modify({ CreateVolumePermission: { Remove: [{ UserId: OTHER_ACCOUNT }, { UserId: '222222222222' }] } })
    expect([await list(), await seenByOther()]).toEqual([['111111111111'], 0])
  })

  it('never makes an encrypted one public, and shares none under the default key', async () => {
    await test.run(async (context) => {
      const own = await insertEncrypted(context, await insertKey(context, 'alias/own'))
      const managed = await insertEncrypted(context, await awsManagedKey(context))
      const of = ({ snapshot_id: SnapshotId }: SnapshotTable, permission: object) =>
        failure(modifySnapshotAttribute(context, { SnapshotId, CreateVolumePermission: { Add: [permission] } }))
      expect(await of(own, { Group: 'all' })).toBe('OperationNotPermitted: Encrypted snapshots cannot be made public.')
      expect(await of(managed, { UserId: OTHER_ACCOUNT }))
        .toBe('OperationNotPermitted: Encrypted snapshots with EBS default key cannot be shared')
      expect(await of(own, { UserId: OTHER_ACCOUNT })).toBe('no failure')
      expect([await allowed(context, own), await allowed(context, managed)]).toEqual([[OTHER_ACCOUNT], []])
    })
  })

  it.each([
    [{}, 'MissingParameter'],
    [{ UserIds: [OTHER_ACCOUNT] }, 'MissingParameter'],
    [{ OperationType: 'twist', UserIds: [OTHER_ACCOUNT] }, 'InvalidParameterValue'],
    [{ CreateVolumePermission: { Add: [{ UserId: OTHER_ACCOUNT }], Remove: [{ Group: 'all' }] } }, 'InvalidParameterCombination'],
    [{ CreateVolumePermission: { Add: [{ UserId: OTHER_ACCOUNT, Group: 'all' }] } }, 'InvalidParameterCombination'],
    [{ CreateVolumePermission: { Add: [{ UserId: 'bob' }] } }, 'InvalidUserID.Malformed'],
    [{ CreateVolumePermission: { Add: [{ Group: 'some' }] } }, 'InvalidParameterValue'],
    [{ OperationType: 'add', UserIds: Array.from({ length: 501 }, () => OTHER_ACCOUNT) }, 'InvalidParameterValue'],
    [{ Attribute: 'productCodes', CreateVolumePermission: { Add: [{ Group: 'all' }] } }, 'InvalidParameterValue'],
  ])('refuses %j', async (input, code) => {
    const row = await test.run((context) => insertSnapshot(context))
    const modify = (context: Context) =>
      modifySnapshotAttribute(context, { SnapshotId: row.snapshot_id, ...(input as object) })
    expect((await failure(test.run(modify))).split(':')[0]).toBe(code)
    expect(await test.run((context) => allowed(context, row))).toEqual([])
  })

  it('is for its owner, as describing and resetting are', async () => {
    const row = await test.run((context) => insertSnapshot(context, { is_public: 1 }))
    const SnapshotId = row.snapshot_id
    await test.run(async (context) => {
      const change = { SnapshotId, CreateVolumePermission: { Add: [{ UserId: OTHER_ACCOUNT }] } }
      expect(await failure(modifySnapshotAttribute(context, change))).toMatch(/^AuthFailure: /)
      expect(await failure(describeSnapshotAttribute(context, { SnapshotId, Attribute }))).toMatch(/^AuthFailure: /)
      expect(await failure(resetSnapshotAttribute(context, { SnapshotId, Attribute }))).toMatch(/^AuthFailure: /)
    }, OTHER_ACCOUNT)
  })

  it('leaves an account the copies that it has made', async () => {
    const row = await test.run((context) => insertSnapshot(context, { is_public: 1 }))
    await test.run((context) =>
      copySnapshot(context, { SourceRegion: 'us-east-1', SourceSnapshotId: row.snapshot_id }), OTHER_ACCOUNT)
    await test.run((context) => resetSnapshotAttribute(context, { SnapshotId: row.snapshot_id, Attribute }))
    expect(await seenByOther()).toBe(1)
  })
})

describe('other attributes of a snapshot', () => {
  it('resets who may use it', async () => {
    await test.run(async (context) => {
      const row = await insertSnapshot(context)
      const SnapshotId = row.snapshot_id
      const Add: CreateVolumePermission[] = [{ Group: 'all' }, { UserId: OTHER_ACCOUNT }]
      await modifySnapshotAttribute(context, { SnapshotId, CreateVolumePermission: { Add } })
      expect(await failure(resetSnapshotAttribute(context, { SnapshotId, Attribute: 'productCodes' })))
        .toMatch(/^InvalidParameterValue/)
      expect(await resetSnapshotAttribute(context, { SnapshotId, Attribute })).toEqual({})
      expect(await allowed(context, row)).toEqual([])
    })
  })

  it('knows no product codes', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      expect(await describeSnapshotAttribute(context, { SnapshotId, Attribute: 'productCodes' }))
        .toEqual({ SnapshotId, ProductCodes: [] })
    })
  })
})

describe('blocking public access', () => {
  const publish = { CreateVolumePermission: { Add: [{ Group: 'all' as const }] } }

  it('lets no snapshot become public', async () => {
    await test.run(async (context) => {
      const { snapshot_id: SnapshotId } = await insertSnapshot(context)
      expect(await getSnapshotBlockPublicAccessState(context, {})).toEqual({ State: 'unblocked', ManagedBy: 'account' })
      const State = 'block-new-sharing'
      expect(await enableSnapshotBlockPublicAccess(context, { State })).toEqual({ State })
      expect(await getSnapshotBlockPublicAccessState(context, {})).toMatchObject({ State })
      expect(await failure(modifySnapshotAttribute(context, { SnapshotId, ...publish }))).toMatch(/^OperationNotPermitted: /)
      const share = { CreateVolumePermission: { Add: [{ UserId: OTHER_ACCOUNT }] } }
      expect(await failure(modifySnapshotAttribute(context, { SnapshotId, ...share }))).toBe('no failure')
      expect(await failure(enableSnapshotBlockPublicAccess(context, { State: 'unblocked' }))).toMatch(/^InvalidParameterValue: /)
    })
  })

  it('hides what is public, or leaves it, and shows it again', async () => {
    await test.run((context) => insertSnapshot(context, { is_public: 1 }))
    await test.run((context) => enableSnapshotBlockPublicAccess(context, { State: 'block-new-sharing' }))
    expect(await seenByOther()).toBe(1)
    await test.run((context) => enableSnapshotBlockPublicAccess(context, { State: 'block-all-sharing' }))
    expect(await seenByOther()).toBe(0)
    expect(await test.run((context) => disableSnapshotBlockPublicAccess(context, {}))).toEqual({ State: 'unblocked' })
    expect(await seenByOther()).toBe(1)
  })
})
