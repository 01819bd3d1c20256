import type { ImportSnapshotRequest, ImportSnapshotResult } from '@aws-sdk/client-ec2'
import { importSnapshotTaskToWire } from '../model/import-task-wire.ts'
import { insertImportTask, newImportTaskId } from '../model/import-task.ts'
import { requestedKmsKey } from '../model/kms-key.ts'
import { claimToken } from './client-token.ts'
import type { Context } from './context.ts'
import { importDisk, importHost } from './import-input.ts'
import { requireImportTask } from './import-tasks.ts'
import { missingParameter, refuseParameters } from './parameters.ts'
import { RESOURCE_KINDS } from './resources.ts'
import { insertTags, parseTagSpecifications, tagsOf, toWireTags } from './tags.ts'

/**
 * ImportSnapshot: a snapshot of a disk file in the import folder. It answers before anybody has looked at
 * the file; what is wrong with it, DescribeImportSnapshotTasks tells.
 *
 * @throws ApiError UnsupportedOperation, MissingParameter, InvalidParameterValue and what KmsKeyId may end in.
 */
export async function importSnapshot(context: Context, input: ImportSnapshotRequest): Promise<ImportSnapshotResult> {
  const { db, account, region, random } = context
  const kind = RESOURCE_KINDS.importSnapshotTask
  const taskId = newImportTaskId(random, 'snapshot')
  const earlier = await claimToken(context, 'ImportSnapshot', input, taskId)
  if (earlier !== undefined) {
    const tags = await tagsOf(db, [earlier], account)
    return importSnapshotTaskToWire(await requireImportTask(context, kind, earlier), region, toWireTags(tags.get(earlier)))
  }
  refuseParameters(input, ['ClientData', 'RoleName'])
  if (!input.DiskContainer) throw missingParameter('DiskContainer')
  const tags = parseTagSpecifications(input.TagSpecifications, [kind.type]).get(kind.type) ?? []
  const disk = importDisk(input.DiskContainer, 'DiskContainer')
  const kmsKeyId = await requestedKmsKey(context, { Encrypted: input.Encrypted, KmsKeyId: input.KmsKeyId })
  const row = await insertImportTask(
    context, { taskId, account, kind: 'snapshot', hostId: await importHost(context) },
    { description: input.Description ?? null, disks: [disk], kmsKeyId, image: null },
  )
  await insertTags(db, account, kind.type, taskId, tags)
  return importSnapshotTaskToWire(row, region, toWireTags(tags))
}
