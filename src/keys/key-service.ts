import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto'
import { linkSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { systemRandom, type Random } from '../core/random.ts'
import { flushFolderOf, writeDurably } from '../core/write-durably.ts'
import { DATA_KEY_BYTES, KeysError, type Keys } from './keys.ts'

/**
 * A wrapped key: version, fingerprint of the master key, nonce, the data key encrypted, tag. Version,
 * fingerprint and key id are authenticated with it.
 */
const VERSION = 1
const FINGERPRINT_BYTES = 8
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = 1 + FINGERPRINT_BYTES
const WRAPPED_BYTES = HEAD_BYTES + NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES
const MASTER_BYTES = 32
const CIPHER = 'aes-256-gcm'

/**
 * Keys under one master key in `file`, which is made when the first data key is. Whoever has that file
 * and the database reads every encrypted disk of the home; without it nobody does.
 */
export function createKeyService(file: string, random: Random = systemRandom): Keys {
  return new KeyService(file, random)
}

class KeyService implements Keys {
  readonly #file: string
  readonly #random: Random

  constructor(file: string, random: Random) {
    this.#file = file
    this.#random = random
  }

  async newDataKey(kmsKeyId: string) {
    const master = (await this.#read()) ?? (await this.#make())
    const head = Buffer.concat([Buffer.from([VERSION]), fingerprintOf(master)])
    const nonce = this.#random.bytes(NONCE_BYTES)
    const key = this.#random.bytes(DATA_KEY_BYTES)
    const cipher = createCipheriv(CIPHER, wrappingKey(master, kmsKeyId), nonce)
    cipher.setAAD(bound(head, kmsKeyId))
    const encrypted = Buffer.concat([cipher.update(key), cipher.final()])
    const wrapped = Buffer.concat([head, nonce, encrypted, cipher.getAuthTag()])
    return { key: key.toString('base64'), wrapped: wrapped.toString('base64') }
  }

  async unwrap(kmsKeyId: string, wrapped: string): Promise<string> {
    const master = await this.#read()
    if (!master) {
      throw new KeysError(`the master key ${this.#file} is missing: put it back from a backup, nothing else opens this home's encrypted disks`)
    }
    const bytes = Buffer.from(wrapped, 'base64')
    if (bytes.length !== WRAPPED_BYTES) throw damaged(kmsKeyId)
    if (bytes[0] !== VERSION) {
      throw new KeysError(`a data key under ${kmsKeyId} has version ${bytes[0]}, which a newer Hearth wrote: use that one`)
    }
    const head = bytes.subarray(0, HEAD_BYTES)
    if (!head.subarray(1).equals(fingerprintOf(master))) {
      throw new KeysError(`a data key under ${kmsKeyId} was made with another master key than ${this.#file}: put that one back from a backup`)
    }
    const decipher = createDecipheriv(CIPHER, wrappingKey(master, kmsKeyId), bytes.subarray(HEAD_BYTES, HEAD_BYTES + NONCE_BYTES))
    decipher.setAAD(bound(head, kmsKeyId))
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
    const encrypted = bytes.subarray(HEAD_BYTES + NONCE_BYTES, -TAG_BYTES)
    try {
      return Buffer.concat([decipher.update(encrypted), decipher.final()]).toString('base64')
    } catch {
      throw damaged(kmsKeyId)
    }
  }

  /** Read each time: the file may be put back while we run. */
  async #read(): Promise<Buffer | undefined> {
    let text: string
    try {
      text = await readFile(this.#file, 'latin1')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    const master = Buffer.from(text.trim(), 'base64')
    if (master.length !== MASTER_BYTES || master.toString('base64') !== text.trim()) {
      throw new KeysError(`${this.#file} is not a master key (32 bytes in base64): put it back from a backup`)
    }
    return master
  }

  /** By link, which never replaces: of two processes that come here at once, both use the first one's. */
  async #make(): Promise<Buffer> {
    const draft = `${this.#file}.${this.#random.bytes(6).toString('hex')}`
    await writeDurably(draft, `${this.#random.bytes(MASTER_BYTES).toString('base64')}\n`)
    try {
      linkSync(draft, this.#file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      rmSync(draft)
    }
    await flushFolderOf(this.#file)
    const master = await this.#read()
    if (!master) throw new KeysError(`the master key ${this.#file} went away while it was made`)
    return master
  }
}

/** Each key of an account wraps under a key of its own, so that no nonce ever meets another account's. */
function wrappingKey(master: Buffer, kmsKeyId: string): Buffer {
  return Buffer.from(hkdfSync('sha256', master, Buffer.alloc(0), `hearth data keys of ${kmsKeyId}`, 32))
}

/** Tells one master key from another, and nothing about either. */
function fingerprintOf(master: Buffer): Buffer {
  return createHmac('sha256', master).update('hearth master key').digest().subarray(0, FINGERPRINT_BYTES)
}

function bound(head: Buffer, kmsKeyId: string): Buffer {
  return Buffer.concat([head, Buffer.from(kmsKeyId, 'utf8')])
}

function damaged(kmsKeyId: string): KeysError {
  return new KeysError(`a data key under ${kmsKeyId} is damaged, or was made under another key: restore the database from a backup`)
}
