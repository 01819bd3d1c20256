import { sql, type RawBuilder, type SqlBool } from 'kysely'

/** As a condition: images that an account may see and launch. Those in the recycle bin nobody does. */
export function isImageVisible(account: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`(images.binned_ms is null and (images.account_id = ${account}
    or (images.state <> 'disabled' and (images.is_public = 1 or exists (select 1 from image_permissions
      where image_permissions.image_id = images.image_id and image_permissions.account_id = ${account})))))`
}

/** As a condition: snapshots that an account may see and use: its own, public ones, those shared with it. */
export function isSnapshotVisible(account: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`(snapshots.binned_ms is null and (snapshots.account_id = ${account} or snapshots.is_public = 1
    or exists (select 1 from snapshot_permissions where snapshot_permissions.snapshot_id = snapshots.snapshot_id
      and snapshot_permissions.account_id = ${account})))`
}
