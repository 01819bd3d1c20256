import type {
  CancelImportTaskRequest, CancelImportTaskResult, DescribeImportImageTasksRequest, DescribeImportImageTasksResult,
  DescribeImportSnapshotTasksRequest, DescribeImportSnapshotTasksResult, Filter, Tag,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { isWellFormedId } from '../core/ids.ts'
import { changeImportTask, importTaskDoc, KEEP_TASK_MS } from '../model/import-task.ts'
import { importImageTaskToWire, importSnapshotTaskToWire } from '../model/import-task-wire.ts'
import type { ImportTaskTable } from '../store/schema.ts'
import { enqueue } from '../store/work.ts'
import type { Context } from './context.ts'
import { compileFilters, type FilterFields } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, notFoundError, requireAll, RESOURCE_KINDS, type ResourceKind } from './resources.ts'
import { tagsOf, toWireTags, type TagInput } from './tags.ts'

interface Asked {
  ImportTaskIds?: string[] | undefined
  Filters?: Filter[] | undefined
  MaxResults?: number | undefined
  NextToken?: string | undefined
}

/** A task with the tags that filters look at. */
interface Tagged {
  row: ImportTaskTable
  tags: readonly TagInput[]
}

/** DescribeImportImageTasks: those that are under way or were over within a week, oldest first. */
export async function describeImportImageTasks(
  context: Context,
  input: DescribeImportImageTasksRequest,
): Promise<DescribeImportImageTasksResult> {
  const { tasks, nextToken } = await findTasks(context, RESOURCE_KINDS.importImageTask, 'image', input)
  const shown = tasks.map(({ row, tags }) => importImageTaskToWire(row, context.region, tags))
  return { ImportImageTasks: shown, NextToken: nextToken }
}

/** DescribeImportSnapshotTasks: those that are under way or were over within a week, oldest first. */
export async function describeImportSnapshotTasks(
  context: Context,
  input: DescribeImportSnapshotTasksRequest,
): Promise<DescribeImportSnapshotTasksResult> {
  const { tasks, nextToken } = await findTasks(context, RESOURCE_KINDS.importSnapshotTask, 'snapshot', input)
  const shown = tasks.map(({ row, tags }) => importSnapshotTaskToWire(row, context.region, tags))
  return { ImportSnapshotTasks: shown, NextToken: nextToken }
}

async function findTasks(
  { db, account, nowMs }: Context,
  resource: ResourceKind,
  kind: ImportTaskTable['kind'],
  input: Asked,
): Promise<{ tasks: { row: ImportTaskTable; tags: Tag[] }[]; nextToken: string | undefined }> {
  const matches = compileFilters(input.Filters, FIELDS, (task: Tagged) => task.tags)
  const ids = input.ImportTaskIds ?? []
  checkIds(resource, ids)
  const all = await db.selectFrom('import_tasks').selectAll().where('account_id', '=', account).where('kind', '=', kind).execute()
  const shown = all.filter((row) => (importTaskDoc(row).endedMs ?? nowMs) + KEEP_TASK_MS > nowMs)
  requireAll(resource, ids, new Set(shown.map((row) => row.task_id)))
  const rows = ids.length === 0 ? shown : shown.filter((row) => ids.includes(row.task_id))
  const tags = await tagsOf(db, rows.map((row) => row.task_id), account)
  const { page, nextToken } = paginate(
    rows.map((row): Tagged => ({ row, tags: tags.get(row.task_id) ?? [] })).filter(matches),
    {
      maxResults: input.MaxResults, nextToken: input.NextToken, operation: `DescribeImportTasks ${kind}`,
      keyOf: ({ row }) => timeKey(row.created_ms, row.task_id),
    },
  )
  return { tasks: page.map((task) => ({ row: task.row, tags: toWireTags(task.tags) })), nextToken }
}

/** The states that EC2 documents; those in error are among none of them. */
const FIELDS: FilterFields<Tagged> = { 'task-state': ({ row }) => row.state }

/**
 * The row of a task of the account, of that kind.
 *
 * @throws ApiError InvalidConversionTaskId.
 */
export async function requireImportTask({ db, account }: Context, kind: ResourceKind, taskId: string): Promise<ImportTaskTable> {
  const row = await db
    .selectFrom('import_tasks').selectAll().where('account_id', '=', account).where('task_id', '=', taskId).executeTakeFirst()
  if (!row) throw notFoundError(kind, [taskId])
  return row
}

/**
 * CancelImportTask: of a task that is under way. What it has made so far goes away; again for one that is
 * being cancelled, or is, changes nothing.
 *
 * @throws ApiError MissingParameter, InvalidConversionTaskId, IncorrectState for one that is over.
 */
export async function cancelImportTask(context: Context, input: CancelImportTaskRequest): Promise<CancelImportTaskResult> {
  const { db, nowMs } = context
  const taskId = input.ImportTaskId
  if (!taskId) throw missingParameter('ImportTaskId')
  const isImage = isWellFormedId('import-ami', taskId)
  const kind = isImage ? RESOURCE_KINDS.importImageTask : RESOURCE_KINDS.importSnapshotTask
  checkIds(kind, [taskId])
  const row = await requireImportTask(context, kind, taskId)
  if (row.state === 'completed' || row.state === 'error') {
    throw new ApiError('IncorrectState', `The import task '${taskId}' is over already: its status is '${row.state}'.`)
  }
  if (row.state !== 'active') return { ImportTaskId: taskId, PreviousState: row.state, State: row.state }
  await changeImportTask(db, taskId, 'active', {
    state: 'deleting', doc: { statusMessage: 'deleting', ...(input.CancelReason ? { cancelReason: input.CancelReason } : {}) },
  })
  await enqueue(db, { kind: 'import', id: taskId, hostId: row.host_id }, nowMs)
  return { ImportTaskId: taskId, PreviousState: 'active', State: 'deleting' }
}
