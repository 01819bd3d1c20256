import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Db } from '../store/store.ts'
import { createDefaultVpc } from './new-vpc.ts'

/** The account of the person who runs Hearth, and of everybody in permissive mode. */
export const DEFAULT_ACCOUNT = '123456789012'

/** Owns the public images that Hearth builds; DescribeImages knows it by the alias "amazon". */
export const PROVIDER_ACCOUNT = '137112412989'

/** Makes the account with its default VPC, subnets and security group, unless it is there. */
export async function ensureAccount(
  db: Db,
  ambient: { clock: Clock; random: Random; zones: readonly string[] },
  account: { accountId: string; name: string },
): Promise<void> {
  const existing = await db
    .selectFrom('accounts').select('account_id').where('account_id', '=', account.accountId).executeTakeFirst()
  if (existing) return
  const createdMs = ambient.clock.now()
  await db
    .insertInto('accounts')
    .values({ account_id: account.accountId, name: account.name, created_ms: createdMs })
    .execute()
  await createDefaultVpc({ db, random: ambient.random, nowMs: createdMs }, account.accountId, ambient.zones)
}
