import type { PlacementGroup, Tag } from '@aws-sdk/client-ec2'
import type { PlacementGroupTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'

/** A placement group as DescribePlacementGroups shows it. */
export function placementGroupToWire(row: PlacementGroupTable, region: string, tags: Tag[]): PlacementGroup {
  return {
    GroupName: row.name, GroupId: row.group_id, State: 'available', Strategy: row.strategy,
    GroupArn: ec2Arn(region, row.account_id, 'placement-group', row.name),
    ...(row.strategy === 'partition' ? { PartitionCount: row.partition_count } : {}),
    ...(row.strategy === 'spread' ? { SpreadLevel: 'rack' } : {}),
    ...(tags.length > 0 ? { Tags: tags } : {}),
  }
}
