import { spawn } from 'node:child_process'
import { openSync, closeSync, readSync } from 'node:fs'

const TIMEOUT_MS = 60_000

/** What matters of a qcow2 file. */
export interface ImageFacts {
  sizeBytes: number
  /** A file that it names and reads (backing or data file); null when it stands alone. */
  reference: string | null
}

/** Makes an empty image, or an overlay on `backing` (named relative to `file`). */
export async function createImage(file: string, sizeBytes: number, backing: string | null): Promise<void> {
  const overlay = backing === null ? [] : ['-F', 'qcow2', '-b', backing]
  await qemuImg(['create', '-q', '-f', 'qcow2', ...overlay, file, String(sizeBytes)])
}

/** @throws Error when the file is not a readable qcow2 image. */
export async function inspectImage(file: string): Promise<ImageFacts> {
  if (!hasQcow2Magic(file)) throw new Error(`${file} is not a qcow2 image`)
  const text = await qemuImg(['info', '-U', '-f', 'qcow2', '--output=json', file])
  const facts = JSON.parse(text) as {
    'virtual-size'?: unknown
    'backing-filename'?: unknown
    'format-specific'?: { data?: { 'data-file'?: unknown } }
  }
  const sizeBytes = facts['virtual-size']
  if (typeof sizeBytes !== 'number') throw new Error(`qemu-img does not tell the size of ${file}`)
  const reference = facts['backing-filename'] ?? facts['format-specific']?.data?.['data-file'] ?? null
  return { sizeBytes, reference: reference === null ? null : String(reference) }
}

function hasQcow2Magic(file: string): boolean {
  const handle = openSync(file, 'r')
  try {
    const magic = Buffer.alloc(4)
    return readSync(handle, magic, 0, 4, 0) === 4 && magic.toString('latin1') === 'QFI\xfb'
  } finally {
    closeSync(handle)
  }
}

/** Runs qemu-img. @throws Error with what it said, or what to install. */
function qemuImg(words: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const limits = { timeout: TIMEOUT_MS, killSignal: 'SIGKILL' as const }
    const child = spawn('qemu-img', words, { stdio: ['ignore', 'pipe', 'pipe'], ...limits })
    let output = ''
    let complaint = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error('qemu-img is not installed: apt install qemu-utils') : error),
    )
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(output)
      const why = complaint.trim() || (signal ? `ended by ${signal} (limit ${TIMEOUT_MS} ms)` : `exit code ${code}`)
      reject(new Error(`qemu-img ${words[0]}: ${why}`))
    })
  })
}
