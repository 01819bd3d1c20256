import type { Credentials } from '@aws-sdk/client-sts'
import type { Context } from '../ec2/context.ts'
import { iamId } from '../model/principal.ts'

/** How long an expired key is kept, so that who still uses it is told that it expired: a day. */
const KEEP_EXPIRED_MS = 24 * 60 * 60 * 1000

/** Writes a new temporary key of a principal, good for `durationS` seconds; removes those long expired. */
export async function createTemporaryKey(
  { db, account, nowMs, random }: Context,
  { principal, durationS }: { principal: string; durationS: number },
): Promise<Credentials> {
  await db.deleteFrom('access_keys').where('expires_ms', '<', nowMs - KEEP_EXPIRED_MS).execute()
  // AWS tells times of STS in whole seconds.
  const expiresMs = (Math.floor(nowMs / 1000) + durationS) * 1000
  const accessKeyId = iamId('ASIA', random.bytes(16), 16)
  const secret = random.bytes(30).toString('base64')
  const token = random.bytes(132).toString('base64')
  await db
    .insertInto('access_keys')
    .values({
      access_key_id: accessKeyId, account_id: account, secret, created_ms: nowMs, session_token: token,
      expires_ms: expiresMs, principal,
    })
    .execute()
  return { AccessKeyId: accessKeyId, SecretAccessKey: secret, SessionToken: token, Expiration: new Date(expiresMs) }
}
