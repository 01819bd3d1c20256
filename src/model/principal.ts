import { createHash } from 'node:crypto'
import type { Db } from '../store/store.ts'

/** Who a key stands for. */
export interface Principal {
  arn: string
  /** What STS calls UserId: the account, or the role's id and the session's name. */
  userId: string
  isRoleSession: boolean
}

/** Letters and digits of the ids that IAM makes. */
const ID_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** A key's id or an id of IAM: the prefix ("ASIA") and `count` letters and digits of the bytes. */
export function iamId(prefix: string, bytes: Uint8Array, count: number): string {
  return prefix + [...bytes].slice(0, count).map((byte) => ID_ALPHABET[byte % 32]).join('')
}

/** The ARN of an account's root user. */
export function rootArn(account: string): string {
  return `arn:aws:iam::${account}:root`
}

/**
 * The id that a role has. Roles are not kept anywhere, so it follows from account and name, and is
 * the same each time that the role is assumed.
 */
export function roleId(account: string, roleName: string): string {
  return iamId('AROA', createHash('sha256').update(`${account} ${roleName}`).digest(), 17)
}

/** The ARN of a session of a role; the role's path is no part of it. */
export function roleSessionArn(account: string, roleName: string, session: string): string {
  return `arn:aws:sts::${account}:assumed-role/${roleName}/${session}`
}

/** The principal of a call: a temporary key's own, for any other key and for none the root user. */
export async function principalOf(db: Db, account: string, accessKeyId: string | null): Promise<Principal> {
  const row = accessKeyId === null
    ? undefined
    : await db
      .selectFrom('access_keys').select('principal')
      .where('access_key_id', '=', accessKeyId).where('account_id', '=', account).executeTakeFirst()
  const arn = row?.principal ?? rootArn(account)
  const [, roleName, session] = /:assumed-role\/([^/]+)\/(.+)$/.exec(arn) ?? []
  if (roleName === undefined || session === undefined) return { arn, userId: account, isRoleSession: false }
  return { arn, userId: `${roleId(account, roleName)}:${session}`, isRoleSession: true }
}
