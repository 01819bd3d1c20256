import {
  CancelImportTaskCommand, DescribeImagesCommand, DescribeImportImageTasksCommand, DescribeImportSnapshotTasksCommand,
  DescribeTagsCommand, ImportImageCommand, ImportSnapshotCommand, RunInstancesCommand, waitUntilSnapshotImported,
} from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ImportFiles } from '../../src/disk-formats/import-folder.ts'
import { DiskFormatError } from '../../src/disk-formats/inspect.ts'
import { startTestCloud, type TestCloud } from '../support/cloud.ts'

/** Files that are nowhere: the agent of a simulated cloud has nothing to read. */
const imports: ImportFiles = {
  inspect: async (file) => {
    if (!file.endsWith('.vmdk')) throw new DiskFormatError(`${file} cannot be used: it is no disk`)
    const identity = { device: 1, inode: 1, sizeBytes: 1_000_000, modifiedMs: 1 }
    return { path: file, format: 'vmdk', virtualSizeBytes: 3 * 1024 ** 3, identity }
  },
  discard: async () => {},
}

let cloud: TestCloud
beforeAll(async () => {
  cloud = await startTestCloud({ imports })
})
afterAll(() => cloud.close())

describe('importing', () => {
  it('a disk as a snapshot: the SDK waits for it', async () => {
    const { ImportTaskId, SnapshotTaskDetail } = await cloud.ec2.send(new ImportSnapshotCommand({
      Description: 'data', DiskContainer: { Url: 'file:///imports/data.vmdk', Format: 'VMDK' },
      TagSpecifications: [{ ResourceType: 'import-snapshot-task', Tags: [{ Key: 'Name', Value: 'data' }] }],
    }))
    expect(SnapshotTaskDetail).toMatchObject({ Status: 'active', StatusMessage: 'pending', Progress: '0', Format: 'VMDK' })
    await waitUntilSnapshotImported({ client: cloud.ec2, maxWaitTime: 20 }, { ImportTaskIds: [ImportTaskId ?? ''] })
    const { ImportSnapshotTasks: [task] = [] } = await cloud.ec2.send(new DescribeImportSnapshotTasksCommand({ ImportTaskIds: [ImportTaskId ?? ''] }))
    expect(task?.SnapshotTaskDetail).toMatchObject({
      Status: 'completed', Progress: '100', DiskImageSize: 1_000_000, SnapshotId: expect.stringMatching(/^snap-/) as string,
    })
    const { Tags } = await cloud.ec2.send(new DescribeTagsCommand({ Filters: [{ Name: 'resource-type', Values: ['import-snapshot-task'] }] }))
    expect(Tags).toMatchObject([{ ResourceId: ImportTaskId, Key: 'Name', Value: 'data' }])
  })

  it('two disks as an image, which can be launched', async () => {
    const { ImportTaskId } = await cloud.ec2.send(new ImportImageCommand({
      Description: 'web', DiskContainers: [{ Url: 'file:///imports/root.vmdk' }, { Url: 'file:///imports/data.vmdk' }],
    }))
    const { ImportImageTasks: [task] = [] } = await cloud.ec2.send(new DescribeImportImageTasksCommand({
      Filters: [{ Name: 'task-state', Values: ['completed'] }],
    }))
    expect(task).toMatchObject({
      ImportTaskId, Status: 'completed', Architecture: 'x86_64', ImageId: expect.stringMatching(/^ami-/) as string,
    })
    const { Images: [image] = [] } = await cloud.ec2.send(new DescribeImagesCommand({ Owners: ['self'] }))
    expect(image).toMatchObject({ ImageId: task?.ImageId, Name: ImportTaskId, State: 'available', RootDeviceName: '/dev/sda1' })
    const { Instances: [instance] = [] } = await cloud.ec2.send(new RunInstancesCommand({
      ImageId: task?.ImageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1,
    }))
    expect(instance?.ImageId).toBe(task?.ImageId)
  })

  it('what is no disk ends in error, and makes nothing', async () => {
    const { ImportTaskId } = await cloud.ec2.send(new ImportSnapshotCommand({ DiskContainer: { Url: 'file:///etc/shadow' } }))
    await expect(waitUntilSnapshotImported({ client: cloud.ec2, maxWaitTime: 20 }, { ImportTaskIds: [ImportTaskId ?? ''] }))
      .rejects.toThrow(/FAILURE/)
    const { ImportSnapshotTasks: [task] = [] } = await cloud.ec2.send(new DescribeImportSnapshotTasksCommand({ ImportTaskIds: [ImportTaskId ?? ''] }))
    expect(task?.SnapshotTaskDetail).toMatchObject({
      Status: 'error', StatusMessage: 'ClientError: /etc/shadow cannot be used: it is no disk',
    })
    await expect(cloud.ec2.send(new CancelImportTaskCommand({ ImportTaskId }))).rejects.toMatchObject({ name: 'IncorrectState' })
    const pending = await cloud.store.read((db) =>
      db.selectFrom('snapshots').select('snapshot_id').where('state', '!=', 'completed').execute())
    const unsealed = await cloud.store.read((db) =>
      db.selectFrom('layers').select(['layer_id', 'state']).where('state', 'in', ['filling', 'failed', 'deleting']).execute())
    expect([pending, unsealed]).toEqual([[], []])
  })
})
