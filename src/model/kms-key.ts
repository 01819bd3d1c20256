import { ApiError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { insertRow } from '../store/prepared.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { accountSetting, setAccountSetting } from './account-setting.ts'
import { snapshotDoc } from './snapshot.ts'

/** What of a key SQL never looks into. Keys themselves are not here: what is wrapped under one names it. */
export interface KmsKeyDoc {
  /** `alias/aws/ebs` for the one that an account has from the beginning, `alias/NAME` for those that it made. */
  alias: string
}

/** Who asks for a key. */
export interface KeyAmbient {
  db: Db
  account: string
  region: string
  random: Random
  nowMs: number
}

/** The key that encrypts where nobody names one. */
export const EBS_ALIAS = 'alias/aws/ebs'

/** Settings of an account: whether new volumes are encrypted unasked (`true`), and under which key (its id). */
const ENCRYPTION_BY_DEFAULT = 'ebs.encryption-by-default'
const DEFAULT_KEY = 'ebs.default-kms-key'

/** A key as the API shows it: what a key encrypts belongs to the account that has the key. */
export function kmsKeyArn(region: string, account: string, keyId: string): string {
  return `arn:aws:kms:${region}:${account}:key/${keyId}`
}

/** Whether the account has all new volumes and copies of snapshots encrypted. */
export async function isEncryptedByDefault(db: Db, account: string): Promise<boolean> {
  return (await accountSetting(db, account, ENCRYPTION_BY_DEFAULT)) === 'true'
}

/** Has all new volumes and copies of snapshots encrypted, or only those that ask for it. */
export async function setEncryptedByDefault(db: Db, account: string, isEncrypted: boolean): Promise<void> {
  await setAccountSetting(db, account, ENCRYPTION_BY_DEFAULT, isEncrypted ? 'true' : null)
}

/** The id of the key that the account chose for where nobody names one; undefined while that is aws/ebs. */
export async function chosenDefaultKey(db: Db, account: string): Promise<string | undefined> {
  return accountSetting(db, account, DEFAULT_KEY)
}

/** Chooses the key for where nobody names one; null for aws/ebs. */
export async function setDefaultKey(db: Db, account: string, keyId: string | null): Promise<void> {
  await setAccountSetting(db, account, DEFAULT_KEY, keyId)
}

/** The id of the account's aws/ebs key, which is made when it is asked for first. */
export async function awsManagedKey(ambient: KeyAmbient): Promise<string> {
  const { db, account } = ambient
  return (await keyOfAlias(db, account, EBS_ALIAS)) ?? insertKey(ambient, EBS_ALIAS)
}

/** Writes the row of a new key. */
export async function insertKey({ db, account, random, nowMs }: Omit<KeyAmbient, 'region'>, alias: string): Promise<string> {
  const keyId = uuid(random)
  await insertRow(db, 'kms_keys', {
    key_id: keyId, account_id: account, created_ms: nowMs, doc: JSON.stringify({ alias } satisfies KmsKeyDoc),
  })
  return keyId
}

/** The keys of an account, oldest first. */
export async function keysOf(db: Db, account: string): Promise<{ keyId: string; alias: string; createdMs: number }[]> {
  const rows = await db
    .selectFrom('kms_keys').selectAll().where('account_id', '=', account).orderBy('created_ms').orderBy('key_id').execute()
  return rows.map((row) => ({ keyId: row.key_id, alias: (JSON.parse(row.doc) as KmsKeyDoc).alias, createdMs: row.created_ms }))
}

async function keyOfAlias(db: Db, account: string, alias: string): Promise<string | undefined> {
  return (await keysOf(db, account)).find((key) => key.alias === alias)?.keyId
}

/**
 * The id of the account's key that is named by its id, its ARN, an alias or an alias's ARN.
 *
 * @throws ApiError InvalidParameterValue. EC2 finds out about a key that is not there only after it has
 * answered, and has the volume vanish; here nothing is made.
 */
export async function requireKmsKey(ambient: KeyAmbient, identifier: string): Promise<string> {
  const { db, account, region } = ambient
  const prefix = `arn:aws:kms:${region}:${account}:`
  const name = identifier.startsWith(prefix) ? identifier.slice(prefix.length) : identifier
  if (name === EBS_ALIAS) return awsManagedKey(ambient)
  const isArn = name !== identifier
  const keyId = name.startsWith('alias/')
    ? await keyOfAlias(db, account, name)
    : await ownKey(db, account, isArn ? name.replace(/^key\//, '') : name)
  if (keyId !== undefined) return keyId
  throw new ApiError(
    'InvalidParameterValue',
    `Value (${identifier}) for parameter KmsKeyId is invalid. The KMS key does not exist, or not in this account and Region.`,
  )
}

async function ownKey(db: Db, account: string, keyId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('kms_keys').select('key_id').where('account_id', '=', account).where('key_id', '=', keyId).executeTakeFirst()
  return row?.key_id
}

/** What a call says of the encryption of a volume, or of a copy of a snapshot. */
export interface EncryptionRequest {
  Encrypted?: boolean | undefined
  KmsKeyId?: string | undefined
  /** What it is made from. */
  snapshot?: Pick<SnapshotTable, 'account_id' | 'encrypted' | 'doc'> | null | undefined
}

/**
 * The id of the key that a new volume, or a copy of a snapshot, is encrypted under; null for a plain
 * one. Encrypted is what asks for it, what comes from an encrypted snapshot, and everything where the account has
 * it so by default. Under which key: the one that is named; the snapshot's own, of an own snapshot;
 * else the account's default one.
 * https://docs.aws.amazon.com/ebs/latest/userguide/encryption-examples.html
 *
 * @throws ApiError InvalidParameterDependency, InvalidParameterCombination, and what requireKmsKey throws.
 */
export async function requestedKmsKey(ambient: KeyAmbient, asked: EncryptionRequest): Promise<string | null> {
  const { db, account } = ambient
  const { snapshot } = asked
  const isSnapshotEncrypted = snapshot?.encrypted === 1
  if (asked.KmsKeyId && asked.Encrypted !== true) {
    throw new ApiError('InvalidParameterDependency', 'The parameter KmsKeyId requires the parameter Encrypted to be set.')
  }
  if (isSnapshotEncrypted && asked.Encrypted === false) {
    throw new ApiError('InvalidParameterCombination', 'Encrypted snapshots must be used to create encrypted volumes.')
  }
  if (asked.KmsKeyId) return requireKmsKey(ambient, asked.KmsKeyId)
  if (!asked.Encrypted && !isSnapshotEncrypted && !(await isEncryptedByDefault(db, account))) return null
  const own = isSnapshotEncrypted && snapshot?.account_id === account ? snapshotDoc(snapshot).kmsKeyId : undefined
  return own ?? (await chosenDefaultKey(db, account)) ?? awsManagedKey(ambient)
}

/** A random id in the form that KMS has them. */
function uuid(random: Random): string {
  const bytes = Uint8Array.from(random.bytes(16))
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = Buffer.from(bytes).toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
