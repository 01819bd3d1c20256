import type {
  DescribeVolumesModificationsRequest, DescribeVolumesModificationsResult, VolumeModification,
} from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'
import { modificationToWire } from '../model/volume-modification.ts'
import { inBatches } from '../store/batch.ts'
import type { VolumeModificationTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters, filterText as text, type FilterFields } from './filters.ts'
import { paginate, refuseIdsWithMaxResults, timeKey } from './pagination.ts'
import { requireVolumes } from './volume-rows.ts'

/**
 * DescribeVolumesModifications: the newest modification of each volume that has been modified, oldest first.
 *
 * @throws ApiError InvalidVolumeModification.NotFound for a volume that is named and never was modified.
 */
export async function describeVolumesModifications(
  context: Context,
  input: DescribeVolumesModificationsRequest,
): Promise<DescribeVolumesModificationsResult> {
  refuseIdsWithMaxResults(input.VolumeIds, input.MaxResults, 'volumeSet')
  const matches = compileFilters(input.Filters, FIELDS)
  const modifications = (await selectRows(context, input.VolumeIds ?? [])).map(modificationToWire)
  const { page, nextToken } = paginate(modifications.filter(matches), {
    maxResults: input.MaxResults, nextToken: input.NextToken, operation: 'DescribeVolumesModifications',
    keyOf: (each) => timeKey(each.StartTime?.getTime() ?? 0, each.VolumeId ?? ''),
  })
  return { VolumesModifications: page, NextToken: nextToken }
}

async function selectRows(context: Context, ids: readonly string[]): Promise<VolumeModificationTable[]> {
  const query = context.db
    .selectFrom('volume_modifications').innerJoin('volumes', 'volumes.volume_id', 'volume_modifications.volume_id')
    .selectAll('volume_modifications')
    .where('volume_modifications.account_id', '=', context.account).where('volumes.binned_ms', 'is', null)
  if (ids.length === 0) return query.execute()
  await requireVolumes(context, ids)
  const rows = await inBatches([...new Set(ids)], (batch) => query.where('volumes.volume_id', 'in', batch).execute())
  const missing = ids.find((id) => !rows.some((row) => row.volume_id === id))
  if (missing === undefined) return rows
  throw new ApiError('InvalidVolumeModification.NotFound', `Modification for volume '${missing}' does not exist.`)
}

const FIELDS: FilterFields<VolumeModification> = {
  'modification-state': (each) => each.ModificationState,
  'original-iops': (each) => text(each.OriginalIops),
  'original-size': (each) => text(each.OriginalSize),
  'original-volume-type': (each) => each.OriginalVolumeType,
  originalMultiAttachEnabled: (each) => text(each.OriginalMultiAttachEnabled),
  'start-time': (each) => text(each.StartTime),
  'target-iops': (each) => text(each.TargetIops),
  'target-size': (each) => text(each.TargetSize),
  'target-volume-type': (each) => each.TargetVolumeType,
  targetMultiAttachEnabled: (each) => text(each.TargetMultiAttachEnabled),
  'volume-id': (each) => each.VolumeId,
}
