import { sql, type RawBuilder, type SqlBool } from 'kysely'

/** As a condition: images that an account may see and launch. Those in the recycle bin nobody does. */
export function isImageVisible(account: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`(images.binned_ms is null and (images.account_id = ${account}
    or (images.state <> 'disabled' and (images.is_public = 1 or exists (select 1 from image_permissions
      where image_permissions.image_id = images.image_id and image_permissions.account_id = ${account})))))`
}

/** The setting of an account that says whether its snapshots may be public (GetSnapshotBlockPublicAccessState). */
export const SNAPSHOT_PUBLIC_ACCESS = 'snapshot.block-public-access'

/**
 * As a condition: snapshots that an account may see and use: its own, public ones, unless their owner blocks
 * all public sharing, and those shared with it.
 */
export function isSnapshotVisible(account: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`(snapshots.binned_ms is null and (snapshots.account_id = ${account}
    or (snapshots.is_public = 1 and not exists (select 1 from account_settings
      where account_settings.account_id = snapshots.account_id and account_settings.name = ${SNAPSHOT_PUBLIC_ACCESS}
        and account_settings.value = 'block-all-sharing'))
    or exists (select 1 from snapshot_permissions where snapshot_permissions.snapshot_id = snapshots.snapshot_id
      and snapshot_permissions.account_id = ${account})))`
}
