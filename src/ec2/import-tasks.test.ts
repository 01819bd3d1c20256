import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { insertSnapshot, OTHER_ACCOUNT, testContext } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { importImage } from './import-image.ts'
import { importSnapshot } from './import-snapshot.ts'
import { cancelImportTask, describeImportImageTasks, describeImportSnapshotTasks } from './import-tasks.ts'
import { createTags } from './tags.ts'

let account: MemoryAccount
beforeEach(async () => {
  account = await openMemoryAccount()
})
afterEach(() => account.store.close())

const Url = 'file:///imports/disk.vmdk'
const snapshotFailure = (DiskContainer: Parameters<typeof importSnapshot>[1]['DiskContainer'], more = {}) =>
  account.failure(importSnapshot, { DiskContainer, ...more })
const imageFailure = (input: Parameters<typeof importImage>[1]) => account.failure(importImage, { DiskContainers: [{ Url }], ...input })

describe('an import', () => {
  it('names a file of the host by a file URL or a path', async () => {
    const names = [
      Url, 'file://localhost/imports/disk.vmdk', '/imports/disk.vmdk', '/imports/../imports/disk.vmdk', 'file:///imports/di%73k.vmdk',
    ]
    for (const name of names) {
      await account.call(importSnapshot, { DiskContainer: { Url: name } })
    }
    const docs = await account.query((db) => db.selectFrom('import_tasks').select('doc').execute())
    expect(new Set(docs.map(({ doc }) => (JSON.parse(doc) as { disks: { file: string }[] }).disks[0]?.file)))
      .toEqual(new Set(['/imports/disk.vmdk']))
  })

  it('reads from no bucket and from no other host, and says what does', async () => {
    const hint = /hearth image import/
    for (const name of ['https://example.com/disk.vmdk', 's3://bucket/disk.vmdk', 'http://169.254.169.254/latest']) {
      expect(await snapshotFailure({ Url: name })).toMatch(/^UnsupportedOperation: DiskContainer.Url names a \w+:\/\/ address/)
      expect(await snapshotFailure({ Url: name })).toMatch(hint)
    }
    expect(await snapshotFailure({ UserBucket: { S3Bucket: 'b', S3Key: 'k' } }))
      .toMatch(/^UnsupportedOperation: There is no S3 here/)
    for (const name of ['file://elsewhere/disk', 'file:///a%2fb', 'file:///a%00b', 'disk.vmdk', '/a\0b']) {
      expect(await snapshotFailure({ Url: name }), name).toMatch(/^InvalidParameterValue: /)
    }
    expect(await snapshotFailure({})).toBe('MissingParameter: The request must contain the parameter DiskContainer.Url')
    expect(await snapshotFailure(undefined)).toBe('MissingParameter: The request must contain the parameter DiskContainer')
    expect(await account.query((db) => db.selectFrom('import_tasks').selectAll().execute())).toEqual([])
  })

  it('is of a format that is known', async () => {
    for (const Format of ['RAW', 'VHD', 'vhdx', 'VMDK', 'qcow2']) await account.call(importSnapshot, { DiskContainer: { Url, Format } })
    expect(await snapshotFailure({ Url, Format: 'VDI' }))
      .toMatch(/^InvalidParameterValue: Value \(VDI\) for parameter DiskContainer.Format is invalid/)
    expect(await snapshotFailure({ Url, Format: 'OVA' })).toMatch(/^UnsupportedOperation: .*unpack it with tar/)
  })

  it('accepts nothing that it does not honour', async () => {
    expect(await snapshotFailure({ Url }, { RoleName: 'vmimport' })).toMatch(/^UnsupportedOperation: The parameter RoleName/)
    expect(await snapshotFailure({ Url }, { ClientData: { Comment: 'c' } })).toMatch(/^UnsupportedOperation/)
    expect(await snapshotFailure({ Url }, { KmsKeyId: 'alias/aws/ebs' })).toMatch(/^InvalidParameterDependency/)
    expect(await snapshotFailure({ Url }, { TagSpecifications: [{ ResourceType: 'snapshot', Tags: [{ Key: 'a' }] }] }))
      .toMatch(/^InvalidParameterValue: 'snapshot' is not a valid taggable resource type/)
    expect(await imageFailure({ Platform: 'Windows' })).toMatch(/^UnsupportedOperation/)
    expect(await imageFailure({ Platform: 'BeOS' })).toMatch(/^InvalidParameterValue/)
    expect(await imageFailure({ LicenseType: 'AWS' })).toMatch(/^UnsupportedOperation/)
    expect(await imageFailure({ UsageOperation: 'RunInstances:0002' })).toMatch(/^UnsupportedOperation/)
    expect(await imageFailure({ Hypervisor: 'kvm' })).toMatch(/^InvalidParameterValue/)
    expect(await imageFailure({ Architecture: 'sparc' })).toMatch(/^InvalidParameterValue/)
    expect(await imageFailure({ BootMode: 'uefi-preferred' })).toMatch(/^InvalidParameterValue/)
    expect(await imageFailure({ Architecture: 'arm64', BootMode: 'legacy-bios' })).toMatch(/^InvalidParameterCombination/)
    expect(await imageFailure({ DiskContainers: [] })).toMatch(/^MissingParameter/)
    expect(await imageFailure({ DiskContainers: Array.from({ length: 23 }, () => ({ Url })) })).toMatch(/^InvalidParameterValue/)
    expect(await imageFailure({ DiskContainers: [{ Url }, { Url, DeviceName: '/dev/sda1' }] }))
      .toMatch(/^InvalidParameterValue: .*of its own/)
    expect(await imageFailure({ DiskContainers: [{ Url, DeviceName: '../x' }] })).toMatch(/^InvalidParameterValue/)
    expect(await account.query((db) => db.selectFrom('import_tasks').selectAll().execute())).toEqual([])
  })

  it('takes snapshots that the account has and that are complete', async () => {
    const [own, pending, foreign] = await account.query(async (db) => {
      const context = testContext(db, seededRandom(9))
      return [
        await insertSnapshot(context), await insertSnapshot(context, { state: 'pending' }),
        await insertSnapshot(context, { account_id: OTHER_ACCOUNT, is_public: 1 }),
      ]
    })
    const withSnapshot = (SnapshotId = '', more = {}) => imageFailure({ DiskContainers: [{ SnapshotId, ...more }] })
    expect(await withSnapshot(own?.snapshot_id)).toBe('no failure')
    expect(await withSnapshot(own?.snapshot_id, { Url })).toMatch(/^InvalidParameterCombination/)
    expect(await withSnapshot(pending?.snapshot_id)).toMatch(/^IncorrectState/)
    expect(await withSnapshot(foreign?.snapshot_id)).toMatch(/^UnsupportedOperation/)
    expect(await withSnapshot('snap-00000000000000000')).toMatch(/^InvalidSnapshot.NotFound/)
    expect(await withSnapshot('x')).toMatch(/^InvalidSnapshotID.Malformed/)
  })

  it('with a token is made once', async () => {
    for (const [handler, input] of [[importSnapshot, { DiskContainer: { Url } }], [importImage, { DiskContainers: [{ Url }] }]] as const) {
      const call = (more: object) => account.call(handler as typeof importSnapshot, { ...input, ClientToken: 'token', ...more })
      const first = await call({ Encrypted: true })
      expect(await call({ Encrypted: true })).toEqual(first)
      expect(await account.failure(handler as typeof importSnapshot, { ...input, ClientToken: 'token' }))
        .toMatch(/^IdempotentParameterMismatch/)
    }
    expect(await account.query((db) => db.selectFrom('import_tasks').selectAll().execute())).toHaveLength(2)
  })
})

describe('import tasks', () => {
  it('are found by id, state and tag, each kind by its own call, in pages', async () => {
    const image = (await account.call(importImage, { DiskContainers: [{ Url }] })).ImportTaskId ?? ''
    const ids: string[] = []
    for (let index = 0; index < 7; index++) {
      account.pass(1)
      ids.push((await account.call(importSnapshot, { DiskContainer: { Url } })).ImportTaskId ?? '')
    }
    await account.call(createTags, { Resources: [ids[3] ?? '', image], Tags: [{ Key: 'k', Value: 'v' }] })
    const found = async (input: object) =>
      (await account.call(describeImportSnapshotTasks, input)).ImportSnapshotTasks?.map((task) => task.ImportTaskId)
    expect(await found({})).toEqual(ids)
    expect(await found({ Filters: [{ Name: 'tag:k', Values: ['v'] }] })).toEqual([ids[3]])
    expect(await found({ Filters: [{ Name: 'task-state', Values: ['active'] }] })).toEqual(ids)
    expect(await found({ Filters: [{ Name: 'task-state', Values: ['completed'] }] })).toEqual([])
    expect(await found({ ImportTaskIds: [ids[5]] })).toEqual([ids[5]])
    const { ImportSnapshotTasks: first, NextToken } = await account.call(describeImportSnapshotTasks, { MaxResults: 5 })
    expect(first).toHaveLength(5)
    expect(await found({ MaxResults: 5, NextToken })).toEqual(ids.slice(5))
    expect((await account.call(describeImportImageTasks, {})).ImportImageTasks?.map((task) => [task.ImportTaskId, task.Tags])).toEqual([
      [image, [{ Key: 'k', Value: 'v' }]]])
    expect(await account.failure(describeImportSnapshotTasks, { Filters: [{ Name: 'x', Values: ['y'] }] }))
      .toMatch(/^InvalidParameterValue/)
  })

  it('of nobody are not found', async () => {
    const absent = 'import-snap-00000000000000000'
    expect(await account.failure(describeImportSnapshotTasks, { ImportTaskIds: [absent] })).toMatch(/^InvalidConversionTaskId: /)
    expect(await account.failure(describeImportSnapshotTasks, { ImportTaskIds: ['x'] }))
      .toMatch(/^InvalidConversionTaskId.Malformed: /)
    expect(await account.failure(cancelImportTask, { ImportTaskId: absent })).toMatch(/^InvalidConversionTaskId: /)
    expect(await account.failure(cancelImportTask, {})).toMatch(/^MissingParameter/)
    const { ImportTaskId } = await account.call(importSnapshot, { DiskContainer: { Url } })
    const asOther: typeof describeImportSnapshotTasks = (context, input) =>
      describeImportSnapshotTasks({ ...context, account: OTHER_ACCOUNT }, input)
    expect(await account.failure(asOther, { ImportTaskIds: [ImportTaskId ?? ''] })).toMatch(/^InvalidConversionTaskId: /)
    expect((await account.call(asOther, {})).ImportSnapshotTasks).toEqual([])
  })
})
