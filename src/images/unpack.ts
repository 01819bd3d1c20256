import { spawn } from 'node:child_process'
import { closeSync, createReadStream, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { MOST_DISK_BYTES } from '../disk-formats/inspect.ts'
import { SparseWriter } from './sparse-file.ts'

/** Compressed files by their first bytes, and what unpacks them; null for this process itself. */
const KINDS = [
  { name: 'xz', magic: '\xfd7zXZ\0', command: ['xz', '-dc'], apt: 'xz-utils' },
  { name: 'zstd', magic: '\x28\xb5\x2f\xfd', command: ['zstd', '-dcq'], apt: 'zstd' },
  { name: 'bzip2', magic: 'BZh', command: ['bzip2', '-dc'], apt: 'bzip2' },
  { name: 'gzip', magic: '\x1f\x8b', command: null, apt: '' },
] as const
type Kind = (typeof KINDS)[number]

/** How a file is compressed; undefined when it is not. */
export async function compressionOf(file: string): Promise<Kind | undefined> {
  const handle = await open(file, 'r')
  try {
    const head = Buffer.alloc(6)
    const { bytesRead } = await handle.read(head, 0, head.length, 0)
    const text = head.subarray(0, bytesRead).toString('latin1')
    return KINDS.find((kind) => text.startsWith(kind.magic))
  } finally {
    await handle.close()
  }
}

/**
 * Unpacks a compressed file into a new one, zeros as holes.
 *
 * @param mostWrittenBytes what it may take of the disk; a small file can become any number of bytes.
 * @throws Error that says what to install, or what is wrong with the file.
 */
export async function unpack(
  file: string,
  kind: Kind,
  target: string,
  { mostWrittenBytes, onBytes }: { mostWrittenBytes: number; onBytes: (bytes: number) => void },
): Promise<void> {
  const handle = await open(target, 'wx', 0o600)
  const source = kind.command === null ? gunzip(file) : program(file, kind)
  try {
    const writer = new SparseWriter(handle, { mostBytes: MOST_DISK_BYTES, mostWrittenBytes })
    for await (const chunk of source.output) {
      await writer.write(chunk as Buffer)
      onBytes(writer.bytes)
    }
    await source.ended
    await writer.end()
  } catch (error) {
    source.stop()
    // That it was stopped is no news.
    await source.ended.catch(() => {})
    throw error
  } finally {
    await handle.close()
  }
}

interface Source {
  output: Readable
  /** Rejects when what came is not the whole. */
  ended: Promise<void>
  stop: () => void
}

function gunzip(file: string): Source {
  const input = createReadStream(file)
  const output = input.pipe(createGunzip())
  input.on('error', (error) => output.destroy(error))
  return { output, ended: Promise.resolve(), stop: () => void output.destroy() }
}

/** Whoever unpacks a file from anywhere is nobody, may have no more rights, no network, and only so much memory. */
const CONFINED = [
  'unshare', '--net', '--', 'setpriv', '--no-new-privs', '--reuid=65534', '--regid=65534', '--clear-groups',
  '--bounding-set=-all', '--inh-caps=-all', '--',
]
const LIMITED = [
  'setpriv', '--no-new-privs', '--pdeathsig=KILL', '--', 'prlimit', `--as=${2 * 1024 ** 3}`, '--core=0', '--nofile=32', '--',
]

function program(file: string, { name, command, apt }: Kind): Source {
  const [word = ''] = command ?? []
  const [first = '', ...words] = [...(process.getuid?.() === 0 ? CONFINED : []), ...LIMITED, ...(command ?? [])]
  // As its input: whom it runs as need not be able to open the file.
  const input = openSync(file, 'r')
  const child = spawn(first, words, { stdio: [input, 'pipe', 'pipe'] })
  closeSync(input)
  if (!child.stdout || !child.stderr) throw new Error(`${first} has no output`)
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-500)))
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve()
      else if (code === 127) reject(new Error(`it is compressed (${name}), and ${word} is not installed: apt install ${apt}`))
      else reject(new Error(`${word} cannot unpack it: ${complaint.trim() || `it ended by ${signal ?? `status ${code}`}`}`))
    })
  })
  // Looked at when the output has ended; until then it is nobody's.
  ended.catch(() => {})
  return { output: child.stdout, ended, stop: () => void child.kill('SIGKILL') }
}
