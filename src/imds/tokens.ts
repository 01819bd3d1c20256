import { createHmac, timingSafeEqual } from 'node:crypto'

/** Longest life of a token that EC2 grants, in seconds (six hours). */
export const MAX_TOKEN_TTL_SECONDS = 21_600

const VERSION = 1
/** One byte of version, six of the expiry in milliseconds, 32 of HMAC-SHA256. */
const HEAD_BYTES = 7
const TOKEN_BYTES = HEAD_BYTES + 32

/**
 * A session token of one instance. It is kept nowhere: whoever has the secret can tell it, so it is
 * good until its expiry even when the agent restarts in between.
 */
export function issueToken(secret: Buffer, instanceId: string, expiresMs: number): string {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(VERSION, 0)
  head.writeUIntBE(expiresMs, 1, 6)
  return Buffer.concat([head, sign(secret, instanceId, head)]).toString('base64')
}

/** When the token's time is over, in milliseconds; undefined when it was not issued to this instance. */
export function tokenExpiry(secret: Buffer, instanceId: string, token: string): number | undefined {
  const bytes = Buffer.from(token, 'base64')
  // Node skips characters that are not base64; only the one spelling is a token.
  if (bytes.length !== TOKEN_BYTES || bytes.toString('base64') !== token) return undefined
  const head = bytes.subarray(0, HEAD_BYTES)
  if (!timingSafeEqual(bytes.subarray(HEAD_BYTES), sign(secret, instanceId, head))) return undefined
  return head.readUInt8(0) === VERSION ? head.readUIntBE(1, 6) : undefined
}

function sign(secret: Buffer, instanceId: string, head: Buffer): Buffer {
  return createHmac('sha256', secret).update('metadata token\0').update(head).update(instanceId).digest()
}
