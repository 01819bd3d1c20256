import { createCipheriv } from 'node:crypto'
import { closeSync, constants, fchmodSync, fchownSync, ftruncateSync, openSync, statfsSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../../core/random.ts'
import { childrenOf, isNotFound, says, type Execute } from './devices.ts'

/** Where there is memory that has names: what is written here is on no disk. */
const MEMORY = '/dev/shm'
const TMPFS_MAGIC = 0x01021994
const MASTER = 'master'
/** The handle by which QEMU inherits the master key. */
const MASTER_HANDLE = 3

/** A key, and the id that block nodes name it by. */
export interface KeySecret {
  id: string
  /** Text; QEMU takes it as the passphrase as it is. */
  key: string
}

/** Keys for a QEMU that is to be started. */
export interface LaunchSecrets {
  /** To be there at MASTER_HANDLE; null without keys. */
  master: Buffer | null
  arguments: string[]
}

/**
 * Anybody may read a command line: keys are on it only encrypted by a key that is made for this
 * start alone, and passed through a handle.
 */
export function launchSecrets(keys: readonly KeySecret[], random: Random): LaunchSecrets {
  if (keys.length === 0) return { master: null, arguments: [] }
  const master = random.bytes(32)
  const secrets = keys.map(({ id, key }) => {
    const iv = random.bytes(16)
    const cipher = createCipheriv('aes-256-cbc', master, iv)
    const data = Buffer.concat([cipher.update(key, 'utf8'), cipher.final()]).toString('base64')
    return { id, keyid: MASTER, iv: iv.toString('base64'), format: 'base64', data }
  })
  const objects = [{ id: MASTER, format: 'raw', file: `/dev/fd/${MASTER_HANDLE}` }, ...secrets]
  return { master, arguments: objects.flatMap((object) => ['-object', JSON.stringify({ 'qom-type': 'secret', ...object })]) }
}

/** A handle on the master key in memory, which the machine's user may read, and nobody find: it has no name. */
export function openMaster(master: Buffer, uid: number | null, random: Random): number {
  if (statfsSync(MEMORY).type !== TMPFS_MAGIC) throw new Error(`${MEMORY} is not in memory (tmpfs); keys of disks are not written to a disk`)
  const file = join(MEMORY, `.hearth-${random.bytes(12).toString('hex')}`)
  const handle = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  unlinkSync(file)
  writeSync(handle, master)
  fchmodSync(handle, 0o400)
  if (uid !== null) fchownSync(handle, uid, uid)
  return handle
}

/** Empties what `openMaster` gave, also for those that inherited it. */
export function closeMaster(handle: number): void {
  ftruncateSync(handle, 0)
  closeSync(handle)
}

/** Runs `use` while QEMU knows these keys; it needs them only to open a layer. */
export async function withKeys<T>(execute: Execute, keys: readonly KeySecret[], use: () => Promise<T>): Promise<T> {
  try {
    for (const { id, key } of keys) {
      // An attempt that was cut short may have left it.
      await deleteObject(execute, id)
      await execute('object-add', { 'qom-type': 'secret', id, format: 'raw', data: key })
    }
    return await use()
  } finally {
    for (const { id } of keys) await deleteObject(execute, id)
  }
}

/** Has QEMU forget all keys that it was started with or that were left behind. */
export async function forgetKeys(execute: Execute): Promise<void> {
  for (const id of await childrenOf(execute, '/objects')) if (id === MASTER || id.startsWith('key-')) await deleteObject(execute, id)
}

/** Deletes an object, if it is there. */
export async function deleteObject(execute: Execute, id: string): Promise<void> {
  await execute('object-del', { id }).catch((error: unknown) => {
    if (!isNotFound(error) && !says(error, 'not found')) throw error
  })
}
