import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ImportImageRequest, ImportSnapshotRequest } from '@aws-sdk/client-ec2'
import { openMemoryAccount, type MemoryAccount } from '../../test/support/memory-account.ts'
import { HOST_ID, NOW_MS } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import type { ImportFiles } from '../disk-formats/import-folder.ts'
import { DiskFormatError, type DiskFile } from '../disk-formats/inspect.ts'
import { importImage } from '../ec2/import-image.ts'
import { importSnapshot } from '../ec2/import-snapshot.ts'
import { cancelImportTask, describeImportImageTasks, describeImportSnapshotTasks } from '../ec2/import-tasks.ts'
import { describeImages } from '../ec2/images.ts'
import { imageDoc, mappingsOf } from '../model/image.ts'
import { importTaskDoc, insertImportTask, KEEP_TASK_MS } from '../model/import-task.ts'
import { changeLayerDoc, layerDoc } from '../model/layer.ts'
import { settleSnapshotsOf } from '../model/snapshot.ts'
import { createImportReconciler } from './import.ts'
import type { Outcome, Reconciler } from './loop.ts'

const GIB = 1024 ** 3
let account: MemoryAccount
let reconciler: Reconciler
let files: Map<string, DiskFile>
let discarded: string[]
let nowMs: number

const disk = (path: string, virtualSizeBytes: number, change: Partial<DiskFile> = {}): DiskFile => ({
  path, format: 'qcow2', virtualSizeBytes, identity: { device: 1, inode: files.size + 1, sizeBytes: 4711, modifiedMs: 1 }, ...change,
})

beforeEach(async () => {
  account = await openMemoryAccount()
  files = new Map()
  files.set('/imports/root.qcow2', disk('/imports/root.qcow2', 2 * GIB + 512))
  files.set('/imports/data.vmdk', disk('/imports/data.vmdk', GIB, { format: 'vmdk' }))
  discarded = []
  nowMs = NOW_MS
  const imports: ImportFiles = {
    inspect: async (file) => {
      const found = files.get(file)
      if (!found) throw new DiskFormatError(`there is no file ${file}`)
      return structuredClone(found)
    },
    discard: async (file) => void discarded.push(file),
  }
  const clock = { now: () => nowMs } as Parameters<typeof createImportReconciler>[0]['clock']
  reconciler = createImportReconciler({ store: account.store, clock, random: seededRandom(7), imports })
})
afterEach(() => account.store.close())

/** Runs the reconciler as the loop does, without the waiting. */
async function run(taskId: string): Promise<Outcome> {
  const outcome = await reconciler.reconcile(taskId)
  await account.query(async (db) => outcome.observed?.write(db))
  return outcome
}

/** What the layer's reconciler records when a file has become a layer, or could not. */
async function fill(index = 0, failure?: string): Promise<void> {
  const layer = (await layers())[index]
  if (!layer) throw new Error('no such layer')
  await account.query(async (db) => {
    await db
      .updateTable('layers').set({ state: failure === undefined ? 'sealed' : 'failed' }).where('layer_id', '=', layer.layer_id).execute()
    await settleSnapshotsOf(db, layer.layer_id, failure === undefined ? { state: 'completed' } : { state: 'error', message: failure }, nowMs)
  })
}

const layers = () => account.query((db) => db.selectFrom('layers').selectAll().orderBy('size_gib', 'desc').execute())
const snapshots = () => account.query((db) => db.selectFrom('snapshots').selectAll().execute())
const work = (kind: 'layer' | 'import') => account.query((db) => db.selectFrom('work').select('id').where('kind', '=', kind).execute())

async function startSnapshot(input: ImportSnapshotRequest = {}): Promise<string> {
  const made = await account.call(importSnapshot, { DiskContainer: { Url: 'file:///imports/root.qcow2' }, ...input })
  return made.ImportTaskId ?? ''
}
const snapshotTask = async (taskId: string) =>
  (await account.call(describeImportSnapshotTasks, { ImportTaskIds: [taskId] })).ImportSnapshotTasks?.[0]
const startImage = async (input: ImportImageRequest = {}) => (await account.call(importImage, {
  DiskContainers: [{ Url: 'file:///imports/root.qcow2' }, { Url: '/imports/data.vmdk', DeviceName: '/dev/sdf' }], ...input,
})).ImportTaskId ?? ''
const imageTask = async (taskId: string) =>
  (await account.call(describeImportImageTasks, { ImportTaskIds: [taskId] })).ImportImageTasks?.[0]

describe('importing a snapshot', () => {
  it('looks at the file, has a layer filled with it, and is completed with it', async () => {
    const taskId = await startSnapshot({
      Description: 'mine', TagSpecifications: [{ ResourceType: 'import-snapshot-task', Tags: [{ Key: 'a', Value: 'b' }] }],
    })
    expect(await work('import')).toEqual([{ id: taskId }])
    expect(await snapshotTask(taskId)).toEqual({
      Description: 'mine', ImportTaskId: taskId, Tags: [{ Key: 'a', Value: 'b' }],
      SnapshotTaskDetail: {
        DiskImageSize: 0, Encrypted: false, Progress: '0', Status: 'active', StatusMessage: 'pending', Url: 'file:///imports/root.qcow2',
      },
    })
    await run(taskId)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail?.StatusMessage).toBe('validating')
    await run(taskId)
    const [layer] = await layers()
    // Just over 2 GiB is 3.
    expect(layer).toMatchObject({ state: 'filling', size_gib: 3, parent_id: null, host_id: HOST_ID })
    expect(layer && layerDoc(layer)).toEqual({ source: { file: '/imports/root.qcow2', format: 'qcow2' } })
    expect(await work('layer')).toEqual([{ id: layer?.layer_id }])
    const [snapshot] = await snapshots()
    expect(snapshot).toMatchObject({ state: 'pending', size_gib: 3, volume_id: null, layer_id: layer?.layer_id, encrypted: 0 })

    await account.query((db) => changeLayerDoc(db, layer?.layer_id ?? '', { progress: 50 }))
    await run(taskId)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail).toMatchObject({
      Progress: '50', StatusMessage: 'converting', Status: 'active', DiskImageSize: 4711, Format: 'QCOW2',
    })
    await fill()
    await run(taskId)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail).toMatchObject({
      Progress: '100', Status: 'completed', StatusMessage: 'completed', SnapshotId: snapshot?.snapshot_id,
    })
    expect(await snapshots()).toMatchObject([{ state: 'completed' }])
  })

  it('is the same after a crash before every commit, which is a run whose outcome is lost', async () => {
    const taskId = await startSnapshot()
    for (let step = 0; step < 3; step++) {
      await reconciler.reconcile(taskId)
      await run(taskId)
    }
    expect(await layers()).toHaveLength(1)
    await fill()
    await reconciler.reconcile(taskId)
    await run(taskId)
    expect(await snapshots()).toHaveLength(1)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail?.Status).toBe('completed')
  })

  it('under a key makes an encrypted snapshot', async () => {
    const taskId = await startSnapshot({ Encrypted: true })
    await run(taskId)
    await run(taskId)
    const [layer] = await layers()
    expect(layer && layerDoc(layer).kmsKeyId).toMatch(/^[0-9a-f-]{36}$/)
    expect(await snapshots()).toMatchObject([{ encrypted: 1 }])
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail).toMatchObject({
      Encrypted: true, KmsKeyId: expect.stringMatching(/^arn:aws:kms:us-east-1:123456789012:key\//) as string,
    })
  })

  it('of a file that is not there, or no disk, ends in error', async () => {
    const taskId = await startSnapshot({ DiskContainer: { Url: 'file:///imports/absent' } })
    await run(taskId)
    await run(taskId)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail).toMatchObject({
      Status: 'error', StatusMessage: 'ClientError: there is no file /imports/absent',
    })
    expect([await layers(), await snapshots()]).toEqual([[], []])
  })

  it.each([
    ['cannot be converted', () => fill(0, 'the disk is full'), /^ClientError: the disk is full$/],
    ['is changed meanwhile', async () => {
      files.set('/imports/root.qcow2', disk('/imports/root.qcow2', GIB))
      await fill()
    }, /^ClientError: .*root.qcow2 was changed while it was imported$/],
    ['is replaced by something else', async () => {
      files.delete('/imports/root.qcow2')
      await fill()
    }, /^ClientError: there is no file/],
    ['has its snapshot deleted', async () => {
      await account.query(async (db) => {
        await db.deleteFrom('snapshots').execute()
        await db.deleteFrom('layers').execute()
      })
    }, /^ClientError: the snapshot snap-.* was deleted meanwhile$/],
  ])('that %s leaves nothing', async (_what, happen, message) => {
    const taskId = await startSnapshot()
    await run(taskId)
    await run(taskId)
    await happen()
    await run(taskId)
    const task = (await snapshotTask(taskId))?.SnapshotTaskDetail
    expect(task?.Status).toBe('error')
    expect(task?.StatusMessage).toMatch(message)
    expect(task?.SnapshotId).toBeUndefined()
    expect(await snapshots()).toEqual([])
    expect((await layers()).map((layer) => layer.state).filter((state) => state !== 'deleting')).toEqual([])
  })

  it('can be cancelled at any step, and then leaves nothing', async () => {
    for (let steps = 0; steps < 3; steps++) {
      const taskId = await startSnapshot()
      for (let step = 0; step < steps; step++) await run(taskId)
      expect(await account.call(cancelImportTask, { ImportTaskId: taskId, CancelReason: 'changed my mind' }))
        .toEqual({ ImportTaskId: taskId, PreviousState: 'active', State: 'deleting' })
      await run(taskId)
      expect((await snapshotTask(taskId))?.SnapshotTaskDetail).toMatchObject({
        Status: 'deleted', StatusMessage: 'changed my mind',
      })
      expect(await account.call(cancelImportTask, { ImportTaskId: taskId })).toMatchObject({
        PreviousState: 'deleted', State: 'deleted',
      })
      expect(await snapshots()).toEqual([])
      expect((await layers()).every((layer) => layer.state === 'deleting')).toBe(true)
    }
  })

  it('that was cancelled while a run was under way stays cancelled', async () => {
    const taskId = await startSnapshot()
    await run(taskId)
    const late = await reconciler.reconcile(taskId)
    await account.call(cancelImportTask, { ImportTaskId: taskId })
    await account.query(async (db) => late.observed?.write(db))
    await run(taskId)
    expect((await snapshotTask(taskId))?.SnapshotTaskDetail?.Status).toBe('deleted')
    expect([await layers(), await snapshots()]).toEqual([[], []])
  })

  it('is forgotten a week after it was over, with its tags and its token', async () => {
    const taskId = await startSnapshot({
      ClientToken: 't', TagSpecifications: [{ ResourceType: 'import-snapshot-task', Tags: [{ Key: 'a' }] }],
    })
    for (let step = 0; step < 2; step++) await run(taskId)
    await fill()
    await run(taskId)
    expect(await account.failure(cancelImportTask, { ImportTaskId: taskId })).toMatch(/^IncorrectState: .* is over already/)
    expect(await run(taskId)).toEqual({ kind: 'again', afterMs: KEEP_TASK_MS })
    nowMs += KEEP_TASK_MS
    expect(await run(taskId)).toMatchObject({ kind: 'done' })
    expect(await account.query((db) => db.selectFrom('tags').selectAll().execute())).toEqual([])
    expect(await account.query((db) => db.selectFrom('client_tokens').selectAll().execute())).toEqual([])
    expect(await run(taskId)).toEqual({ kind: 'done' })
    expect(await snapshots()).toHaveLength(1)
  })
})

describe('importing an image', () => {
  it('makes an AMI of the disks, named after the task', async () => {
    const taskId = await startImage({ Description: 'web', BootMode: 'uefi' })
    await run(taskId)
    await run(taskId)
    expect(await imageTask(taskId)).toMatchObject({
      Architecture: 'x86_64', BootMode: 'uefi', Status: 'active', StatusMessage: 'converting', Progress: '5', Platform: 'Linux', LicenseType: 'BYOL',
      SnapshotDetails: [{ DeviceName: '/dev/sda1', Format: 'QCOW2' }, { DeviceName: '/dev/sdf', Format: 'VMDK' }],
    })
    await fill(0)
    await run(taskId)
    expect(await imageTask(taskId)).toMatchObject({ Status: 'active', Progress: '50' })
    await fill(1)
    await run(taskId)
    const task = await imageTask(taskId)
    expect(task).toMatchObject({ Status: 'completed', StatusMessage: 'completed', Progress: '100' })
    const { Images: [image] = [] } = await account.call(describeImages, { Owners: ['self'] })
    expect(image).toMatchObject({
      ImageId: task?.ImageId, Name: taskId, State: 'available', Public: false, Architecture: 'x86_64', BootMode: 'uefi',
      RootDeviceName: '/dev/sda1', Description: 'web',
    })
    const row = await account.query((db) => db.selectFrom('images').selectAll().executeTakeFirstOrThrow())
    expect(mappingsOf(row).map(({ deviceName, sizeGib, snapshotId }) => [deviceName, sizeGib, snapshotId])).toEqual(
      task?.SnapshotDetails?.map((each, index) => [each.DeviceName, [3, 1][index], each.SnapshotId]))
    expect(await account.query((db) => db.selectFrom('image_snapshots').selectAll().execute())).toHaveLength(2)
  })

  it('of which one file is bad begins with none', async () => {
    files.delete('/imports/data.vmdk')
    const taskId = await startImage()
    await run(taskId)
    await run(taskId)
    expect(await imageTask(taskId)).toMatchObject({
      Status: 'error', StatusMessage: 'ClientError: there is no file /imports/data.vmdk',
    })
    expect(await layers()).toEqual([])
  })

  it('takes a snapshot as a disk as it is, and leaves it when the import fails', async () => {
    const first = await startSnapshot()
    for (let step = 0; step < 2; step++) await run(first)
    await fill()
    await run(first)
    const snapshotId = (await snapshotTask(first))?.SnapshotTaskDetail?.SnapshotId ?? ''
    const both = { DiskContainers: [{ SnapshotId: snapshotId }, { Url: '/imports/data.vmdk' }] }
    const broken = await startImage(both)
    for (let step = 0; step < 2; step++) await run(broken)
    await fill(1, 'no room')
    await run(broken)
    expect(await imageTask(broken)).toMatchObject({ Status: 'error' })
    expect((await snapshots()).map((each) => each.snapshot_id)).toEqual([snapshotId])
    const alone = await startImage({ DiskContainers: [{ SnapshotId: snapshotId }] })
    for (let step = 0; step < 3; step++) await run(alone)
    expect(await imageTask(alone)).toMatchObject({
      Status: 'completed', SnapshotDetails: [{ SnapshotId: snapshotId, DeviceName: '/dev/sda1' }],
    })
  })

  it('that the command line asks for has a name, a user and a copy of its own, which goes', async () => {
    const insert = (taskId: string) => account.query((db) => insertImportTask(
      { db, nowMs }, { taskId, account: '123456789012', kind: 'image', hostId: HOST_ID },
      {
        description: null, kmsKeyId: null,
        disks: [{
          url: null, file: '/imports/root.qcow2', isOwned: true, format: null, description: null, deviceName: '/dev/vda', snapshotId: null,
        }],
        image: { name: 'debian', description: 'Debian', architecture: 'x86_64', bootMode: 'legacy-bios', isPublic: true, sshUser: 'debian' },
      }))
    await insert('import-ami-00000000000000001')
    for (let step = 0; step < 2; step++) await run('import-ami-00000000000000001')
    await fill()
    expect(discarded).toEqual([])
    for (let step = 0; step < 2; step++) await run('import-ami-00000000000000001')
    const row = await account.query((db) => db.selectFrom('images').selectAll().executeTakeFirstOrThrow())
    expect(row).toMatchObject({ name: 'debian', is_public: 1, root_device_name: '/dev/vda' })
    expect(imageDoc(row)).toMatchObject({ sshUser: 'debian', recipe: null })
    expect(discarded).toEqual(['/imports/root.qcow2'])

    await insert('import-ami-00000000000000002')
    for (let step = 0; step < 2; step++) await run('import-ami-00000000000000002')
    await fill(1)
    await run('import-ami-00000000000000002')
    expect(await imageTask('import-ami-00000000000000002')).toMatchObject({
      Status: 'error', StatusMessage: 'ClientError: there is an image of the name debian already',
    })
    expect(importTaskDoc(await account.query((db) => db.selectFrom('import_tasks').selectAll().where('task_id', '=', 'import-ami-00000000000000002')
      .executeTakeFirstOrThrow())).imageId).toBeUndefined()
  })
})
