import type { KeyPairInfo, Tag } from '@aws-sdk/client-ec2'
import type { KeyPairTable } from '../store/schema.ts'

/** A key pair as DescribeKeyPairs shows it; the public key only when it was asked for. */
export function keyPairToWire(row: KeyPairTable, tags: Tag[], includePublicKey: boolean): KeyPairInfo {
  return {
    KeyPairId: row.key_pair_id,
    KeyName: row.name,
    KeyType: row.key_type,
    KeyFingerprint: row.fingerprint,
    CreateTime: new Date(row.created_ms),
    PublicKey: includePublicKey ? row.public_key : undefined,
    Tags: tags,
  }
}
