import { readFile } from 'node:fs/promises'
import { messageOf } from './core/errors.ts'
import type { Random } from './core/random.ts'
import { writeDurably } from './core/write-durably.ts'

/** The key that `hearth env` prints. */
export interface Credentials {
  accessKeyId: string
  secretAccessKey: string
  accountId: string
}

/** Letters and digits of AWS's access key ids. */
const KEY_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** The home's credentials; undefined before the first `hearth up`. */
export async function readCredentials(file: string): Promise<Credentials | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Credentials
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`cannot read ${file}: ${messageOf(error)}`, { cause: error })
  }
}

/** The home's credentials, made now if there are none; only their owner may read them. */
export async function ensureCredentials(file: string, random: Random, accountId: string): Promise<Credentials> {
  const existing = await readCredentials(file)
  if (existing) return existing
  const credentials = newCredentials(random, accountId)
  await writeCredentials(file, credentials)
  return credentials
}

/** A new key for the account; nobody knows it yet. */
export function newCredentials(random: Random, accountId: string): Credentials {
  return {
    accessKeyId: `AKIA${[...random.bytes(16)].map((byte) => KEY_ALPHABET[byte % 32]).join('')}`,
    secretAccessKey: random.bytes(30).toString('base64'),
    accountId,
  }
}

/** Keeps credentials where only the owner of the folder may read them. */
export function writeCredentials(file: string, credentials: Credentials): Promise<void> {
  return writeDurably(file, `${JSON.stringify(credentials, null, 2)}\n`)
}
