import type {
  CreateKeyPairRequest, DeleteKeyPairRequest, DeleteKeyPairResult, DescribeKeyPairsRequest, DescribeKeyPairsResult,
  ImportKeyPairRequest, ImportKeyPairResult, KeyPair, TagSpecification,
} from '@aws-sdk/client-ec2'
import type { KeyObject } from 'node:crypto'
import { ApiError, messageOf } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { generateSshKey, type KeyMaterial } from '../core/ssh-key.ts'
import { importedFingerprint, openSshLine, parsePublicKey, sshKeyTypeOf, SshKeyError } from '../core/ssh-public-key.ts'
import { keyPairToWire } from '../model/key-pair-wire.ts'
import type { KeyPairTable } from '../store/schema.ts'
import type { Context } from './context.ts'
import { compileFilters } from './filters.ts'
import { paginate, timeKey } from './pagination.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'
import { deleteTagsOf, insertTags, parseTagSpecifications, tagsOf, toWireTags, type TagInput } from './tags.ts'

/** Longest name of a key pair, and longest public key, as EC2 documents them. */
const MAX_NAME_LENGTH = 255
const MAX_MATERIAL_BYTES = 2048

/**
 * Makes the key that `createKeyPair` stores. RSA takes some 100 ms, on a thread of its own, so this
 * comes before the transaction.
 *
 * @throws ApiError on a bad name, type, format or tag, so that no key is made in vain.
 */
export async function prepareCreateKeyPair(input: CreateKeyPairRequest): Promise<KeyMaterial> {
  const name = checkName(input.KeyName)
  const type = checkEnum('KeyType', input.KeyType, ['rsa', 'ed25519']) ?? 'rsa'
  const format = checkEnum('KeyFormat', input.KeyFormat, ['pem', 'ppk']) ?? 'pem'
  requestedTags(input.TagSpecifications)
  return generateSshKey(type, format, name)
}

/** CreateKeyPair: stores the public half of `material`; the private half is answered, and nowhere kept. */
export async function createKeyPair(
  context: Context,
  input: CreateKeyPairRequest,
  material: KeyMaterial,
): Promise<KeyPair> {
  const stored = await insertKeyPair(context, input, material)
  return { ...stored, KeyMaterial: material.privateKey }
}

/** ImportKeyPair: stores a public key in any form that `parsePublicKey` reads. */
export async function importKeyPair(context: Context, input: ImportKeyPairRequest): Promise<ImportKeyPairResult> {
  checkName(input.KeyName)
  const material = input.PublicKeyMaterial
  if (!material || material.length === 0) throw missingParameter('PublicKeyMaterial')
  if (material.length > MAX_MATERIAL_BYTES) {
    throw new ApiError(
      'InvalidParameterValue',
      `Value for parameter PublicKeyMaterial is invalid. Length exceeds maximum of ${MAX_MATERIAL_BYTES}.`,
    )
  }
  const key = parseMaterial(material)
  return insertKeyPair(context, input, {
    keyType: sshKeyTypeOf(key) ?? 'rsa',
    fingerprint: importedFingerprint(key),
    publicKey: openSshLine(key),
  })
}

function requestedTags(specifications: TagSpecification[] | undefined): TagInput[] {
  return parseTagSpecifications(specifications, ['key-pair']).get('key-pair') ?? []
}

function parseMaterial(material: Uint8Array): KeyObject {
  try {
    return parsePublicKey(material)
  } catch (error) {
    if (error instanceof SshKeyError) throw new ApiError('InvalidKey.Format', messageOf(error))
    throw error
  }
}

async function insertKeyPair(
  { db, account, random, nowMs }: Context,
  input: { KeyName: string | undefined; TagSpecifications?: TagSpecification[] | undefined },
  key: Pick<KeyMaterial, 'keyType' | 'fingerprint' | 'publicKey'>,
): Promise<ImportKeyPairResult> {
  const name = checkName(input.KeyName)
  const tags = requestedTags(input.TagSpecifications)
  const existing = await db
    .selectFrom('key_pairs').select('key_pair_id')
    .where('account_id', '=', account).where('name', '=', name)
    .executeTakeFirst()
  if (existing) throw new ApiError('InvalidKeyPair.Duplicate', 'The keypair already exists')
  const id = newId(random, 'key')
  await db
    .insertInto('key_pairs')
    .values({
      key_pair_id: id, account_id: account, name, key_type: key.keyType, fingerprint: key.fingerprint,
      // EC2 puts the name where the comment was, here and in the metadata service.
      public_key: `${key.publicKey} ${name}`, created_ms: nowMs,
    })
    .execute()
  await insertTags(db, account, 'key-pair', id, tags)
  return {
    KeyPairId: id,
    KeyName: name,
    KeyFingerprint: key.fingerprint,
    Tags: tags.length === 0 ? undefined : toWireTags(tags),
  }
}

/** DescribeKeyPairs: those named, or all of the account, oldest first. */
export async function describeKeyPairs(
  { db, account }: Context,
  input: DescribeKeyPairsRequest,
): Promise<DescribeKeyPairsResult> {
  const names = input.KeyNames ?? []
  const ids = input.KeyPairIds ?? []
  const all = await db.selectFrom('key_pairs').selectAll().where('account_id', '=', account).execute()
  requireKeyPairs(names, new Set(all.map((row) => row.name)))
  requireKeyPairs(ids, new Set(all.map((row) => row.key_pair_id)))
  const wanted = new Set([...names, ...ids])
  const chosen = wanted.size === 0 ? all : all.filter((row) => wanted.has(row.name) || wanted.has(row.key_pair_id))
  const tags = await tagsOf(db, chosen.map((row) => row.key_pair_id))
  const matches = compileFilters<KeyPairTable>(
    input.Filters,
    {
      'key-pair-id': (row) => row.key_pair_id,
      'key-name': (row) => row.name,
      fingerprint: (row) => row.fingerprint,
    },
    (row) => tags.get(row.key_pair_id) ?? [],
  )
  const { page } = paginate(chosen.filter(matches), {
    keyOf: (row) => timeKey(row.created_ms, row.key_pair_id),
    operation: 'DescribeKeyPairs',
  })
  return {
    KeyPairs: page.map((row) =>
      keyPairToWire(row, toWireTags(tags.get(row.key_pair_id)), input.IncludePublicKey === true)),
  }
}

function requireKeyPairs(asked: readonly string[], found: ReadonlySet<string>): void {
  const missing = [...new Set(asked)].filter((each) => !found.has(each))
  if (missing.length === 0) return
  const subject = missing.length === 1 ? `key pair '${missing[0]}' does` : `key pairs '${missing.join(', ')}' do`
  throw new ApiError('InvalidKeyPair.NotFound', `The ${subject} not exist`)
}

/**
 * DeleteKeyPair: by name, by id, or by both, which then must mean the same pair. What does not exist
 * is as good as deleted. Instances keep the key that they were launched with.
 */
export async function deleteKeyPair(
  { db, account }: Context,
  input: DeleteKeyPairRequest,
): Promise<DeleteKeyPairResult> {
  if (!input.KeyName && !input.KeyPairId) throw missingParameter('KeyName or KeyPairId')
  let query = db.selectFrom('key_pairs').select('key_pair_id').where('account_id', '=', account)
  if (input.KeyName) query = query.where('name', '=', input.KeyName)
  if (input.KeyPairId) query = query.where('key_pair_id', '=', input.KeyPairId)
  const found = await query.executeTakeFirst()
  if (!found) return { Return: true }
  await deleteTagsOf(db, [found.key_pair_id])
  await db.deleteFrom('key_pairs').where('key_pair_id', '=', found.key_pair_id).execute()
  return { Return: true, KeyPairId: found.key_pair_id }
}

function checkName(name: string | undefined): string {
  if (!name) throw missingParameter('KeyName')
  if (name.length > MAX_NAME_LENGTH) {
    throw invalidValue('KeyName', name, `Length exceeds maximum of ${MAX_NAME_LENGTH}.`)
  }
  // No line breaks: the name ends up in lines of authorized_keys.
  if (!/^[\x20-\x7e]+$/.test(name)) {
    throw invalidValue('KeyName', name, 'Only printable ASCII characters are supported.')
  }
  if (name.trim() !== name) throw invalidValue('KeyName', name, 'It must not begin or end with a space.')
  return name
}
