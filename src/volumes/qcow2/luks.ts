import { createCipheriv, createHash, pbkdf2, randomBytes, randomUUID } from 'node:crypto'
import { promisify } from 'node:util'

/**
 * The LUKS 1 header of a new encrypted disk, as QEMU reads it. qemu-img would make one too, but measures
 * for seconds how fast this processor is, to choose how slow guessing a passphrase shall be; ours has
 * 256 random bits, which nobody guesses.
 *
 * Format: "LUKS1 On-Disk Format Specification", version 1.2.3.
 */

const SECTOR_BYTES = 512
/** Two AES-256 keys, as XTS takes. */
const MASTER_KEY_BYTES = 64
const STRIPES = 4000
const SLOTS = 8
const SALT_BYTES = 32
const DIGEST_BYTES = 20
/** The fewest that the specification allows. */
const ITERATIONS = 1000
const SLOT_ACTIVE = 0x00ac71f3
const SLOT_INACTIVE = 0x0000dead

/** Where QEMU puts each slot's key material, and what is encrypted: on whole blocks of 4 KiB. */
const FIRST_SLOT_SECTOR = 8
const SLOT_SECTORS = Math.ceil((MASTER_KEY_BYTES * STRIPES) / 4096) * 8

/** Length of the whole header, empty key slots included. */
export const LUKS_HEADER_BYTES = (FIRST_SLOT_SECTOR + SLOTS * SLOT_SECTORS) * SECTOR_BYTES

const derive = promisify(pbkdf2)

/** The beginning of a header for a new random master key; all after it is zeros, up to LUKS_HEADER_BYTES. */
export async function newLuksHeader(passphrase: string): Promise<Buffer> {
  const masterKey = randomBytes(MASTER_KEY_BYTES)
  const [digestSalt, slotSalt] = [randomBytes(SALT_BYTES), randomBytes(SALT_BYTES)]
  const [digest, slotKey] = await Promise.all([
    derive(masterKey, digestSalt, ITERATIONS, DIGEST_BYTES, 'sha256'),
    derive(passphrase, slotSalt, ITERATIONS, MASTER_KEY_BYTES, 'sha256'),
  ])
  const material = encryptSectors(slotKey, split(masterKey))
  const header = Buffer.alloc(FIRST_SLOT_SECTOR * SECTOR_BYTES + material.length)
  header.write('LUKS\xba\xbe', 0, 'latin1')
  header.writeUInt16BE(1, 6)
  header.write('aes', 8)
  header.write('xts-plain64', 40)
  header.write('sha256', 72)
  header.writeUInt32BE(LUKS_HEADER_BYTES / SECTOR_BYTES, 104)
  header.writeUInt32BE(MASTER_KEY_BYTES, 108)
  digest.copy(header, 112)
  digestSalt.copy(header, 132)
  header.writeUInt32BE(ITERATIONS, 164)
  header.write(randomUUID(), 168)
  for (let slot = 0; slot < SLOTS; slot++) {
    const at = 208 + slot * 48
    header.writeUInt32BE(slot === 0 ? SLOT_ACTIVE : SLOT_INACTIVE, at)
    header.writeUInt32BE(slot === 0 ? ITERATIONS : 0, at + 4)
    if (slot === 0) slotSalt.copy(header, at + 8)
    header.writeUInt32BE(FIRST_SLOT_SECTOR + slot * SLOT_SECTORS, at + 40)
    header.writeUInt32BE(STRIPES, at + 44)
  }
  material.copy(header, FIRST_SLOT_SECTOR * SECTOR_BYTES)
  return header
}

/**
 * The anti-forensic splitter: the key spread over so many stripes that all of them are needed to have
 * it back.
 */
function split(key: Buffer): Buffer {
  const stripes = randomBytes(key.length * STRIPES)
  let mixed: Buffer = Buffer.alloc(key.length)
  for (let stripe = 0; stripe < STRIPES - 1; stripe++) {
    mixed = diffuse(xor(mixed, stripes.subarray(stripe * key.length, (stripe + 1) * key.length)))
  }
  xor(mixed, key).copy(stripes, (STRIPES - 1) * key.length)
  return stripes
}

function xor(a: Buffer, b: Buffer): Buffer {
  const result = Buffer.allocUnsafe(a.length)
  for (let index = 0; index < a.length; index++) result[index] = (a[index] ?? 0) ^ (b[index] ?? 0)
  return result
}

function diffuse(block: Buffer): Buffer {
  const counter = Buffer.alloc(4)
  const parts: Buffer[] = []
  for (let at = 0; at < block.length; at += 32) {
    counter.writeUInt32BE(at / 32)
    parts.push(createHash('sha256').update(counter).update(block.subarray(at, at + 32)).digest())
  }
  return Buffer.concat(parts)
}

/** AES-XTS, each sector under its own number ("plain64"). */
function encryptSectors(key: Buffer, content: Buffer): Buffer {
  const encrypted = Buffer.alloc(content.length)
  const tweak = Buffer.alloc(16)
  for (let at = 0; at < content.length; at += SECTOR_BYTES) {
    tweak.writeBigUInt64LE(BigInt(at / SECTOR_BYTES))
    createCipheriv('aes-256-xts', key, tweak).update(content.subarray(at, at + SECTOR_BYTES)).copy(encrypted, at)
  }
  return encrypted
}
