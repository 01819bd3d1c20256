import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { generateSshKey } from '../core/ssh-key.ts'
import { writeDurably } from '../core/write-durably.ts'

/** By which the serial console's SSH server is known again; the public half is beside it, for people. */
function filesIn(keysFolder: string) {
  return { privateKey: path.join(keysFolder, 'serial-console.pem'), publicKey: path.join(keysFolder, 'serial-console.pub') }
}

/** The private host key of the home, in OpenSSH's form; made now if there is none. */
export async function ensureHostKey(keysFolder: string): Promise<string> {
  const files = filesIn(keysFolder)
  try {
    return await readFile(files.privateKey, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const { privateKey, publicKey } = await generateSshKey('ed25519', 'pem', 'hearth serial console')
  // The private half comes last: where it is, the other one is.
  await writeDurably(files.publicKey, `${publicKey}\n`)
  await writeDurably(files.privateKey, privateKey)
  return privateKey
}

/** The host key's fingerprint as ssh shows it ("SHA256:…"); undefined before there is one. */
export function hostKeyFingerprint(keysFolder: string): string | undefined {
  try {
    const [, blob = ''] = readFileSync(filesIn(keysFolder).publicKey, 'utf8').trim().split(' ')
    return `SHA256:${createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64').replaceAll('=', '')}`
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
