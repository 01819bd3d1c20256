import { pick } from '../core/random.ts'
import type { Random } from '../core/random.ts'
import type { ImportFiles } from '../disk-formats/import-folder.ts'
import { DiskFormatError } from '../disk-formats/inspect.ts'
import { importTaskDoc } from '../model/import-task.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

const GIB = 1024 ** 3

/** Files by name: good ones, some that are no disk, and some that change now and then. */
export function createSimImports(random: Random): ImportFiles {
  return {
    inspect: async (file) => {
      if (file.endsWith('bad')) throw new DiskFormatError(`${file} cannot be used: it is no disk`)
      const modifiedMs = file.endsWith('changing') ? random.int(2) : 0
      return {
        path: file, format: 'qcow2', virtualSizeBytes: GIB + 512, identity: { device: 1, inode: 1, sizeBytes: 4096, modifiedMs },
      }
    },
    discard: async () => {},
  }
}

/** A random call about imports. */
export async function drawImportCall(cloud: SimulatedCloud): Promise<DrawnCall> {
  const { random } = cloud
  const file = () => ({ Url: `file:///imports/${pick(random, ['good', 'good', 'bad', 'changing'])}` })
  const tasks = await cloud.store.read((db) =>
    db.selectFrom('import_tasks').select(['task_id', 'state']).orderBy('task_id').execute())
  const active = tasks.filter((task) => task.state === 'active')
  if (active.length > 0 && random.int(2) === 0) {
    return { action: 'CancelImportTask', input: { ImportTaskId: pick(random, active).task_id } }
  }
  const calls: DrawnCall[] = [
    { action: 'ImportSnapshot', input: { DiskContainer: file() } },
    { action: 'ImportImage', input: { DiskContainers: random.int(2) === 0 ? [file()] : [file(), file()] } },
    { action: pick(random, ['DescribeImportImageTasks', 'DescribeImportSnapshotTasks']), input: {} },
  ]
  if (tasks.length > 0) calls.push({ action: 'CancelImportTask', input: { ImportTaskId: pick(random, tasks).task_id } })
  return pick(random, calls)
}

/** When all is settled every task is over; what it made is whole, and of one that came to nothing there is nothing. */
export async function checkImports(cloud: SimulatedCloud): Promise<string[]> {
  const { tasks, snapshots, images } = await cloud.store.read(async (db) => ({
    tasks: await db.selectFrom('import_tasks').selectAll().execute(),
    snapshots: await db.selectFrom('snapshots').innerJoin('layers', 'layers.layer_id', 'snapshots.layer_id')
      .select(['snapshots.snapshot_id', 'snapshots.state', 'snapshots.doc', 'layers.state as layer']).execute(),
    images: await db.selectFrom('images').select(['image_id', 'name', 'state']).execute(),
  }))
  const made = new Map(snapshots.map((row) => [row.snapshot_id, row]))
  return tasks.flatMap((task) => {
    const doc = importTaskDoc(task)
    if (task.state === 'active' || task.state === 'deleting') return [`${task.task_id} is still ${task.state}`]
    // One that was complete before the task ended may be under somebody's image.
    const own = snapshots
      .filter((row) => row.state !== 'completed' && row.doc.includes(task.task_id)).map((row) => row.snapshot_id)
    const image = images.find((row) => row.name === task.task_id)
    const left = [...own, ...(image ? [image.image_id] : [])]
    if (task.state !== 'completed') return left.length > 0 ? [`${task.task_id} is ${task.state} and left ${left.join()}`] : []
    // What a task has made may be deleted, or in the bin, by now.
    const broken = doc.disks.filter((disk) => {
      const snapshot = made.get(disk.snapshotId ?? '')
      return snapshot && (snapshot.state !== 'completed' || snapshot.layer !== 'sealed')
    })
    return [
      ...broken.map((disk) => `${task.task_id} is completed, and ${disk.snapshotId} is not`),
      ...(doc.disks.some((disk) => disk.snapshotId === null) ? [`${task.task_id} is completed without all its snapshots`] : []),
      ...((doc.imageId === undefined) === (task.kind === 'image')
        ? [`${task.task_id} is completed, and has ${doc.imageId}`]
        : []),
      ...(image && image.image_id !== doc.imageId ? [`${task.task_id} made ${image.image_id} and says ${doc.imageId}`] : []),
      ...(image?.state === 'pending' ? [`${image.image_id} is pending`] : []),
    ]
  })
}
