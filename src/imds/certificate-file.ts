import { chmod, readFile } from 'node:fs/promises'
import path from 'node:path'
import { writeDurably } from '../core/write-durably.ts'

/** Anybody on the host may verify identity documents. */
const MODE = 0o644

/** Where a home has the certificate of its identity documents. */
export function certificateFileOf(home: string): string {
  return path.join(home, 'identity-certificate.pem')
}

/** Puts the certificate into the home, unless it is there. The truth is the table `meta`. */
export async function publishCertificate(home: string, certificate: string): Promise<void> {
  const file = certificateFileOf(home)
  const present = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (present !== certificate) await writeDurably(file, certificate)
  await chmod(file, MODE)
}
