import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'

/** One run of qemu-img. */
export interface Run {
  /** The user it becomes; null to stay who we are (not root), where only the limits hold. */
  uid: number | null
  /** Files that it may read, absolute; that user may. */
  reads: string[]
  /** The file that it may write, which belongs to that user; null for none. */
  writes: string | null
  /** Passphrases that it needs; they are on no command line and in no file that has a name on a disk. */
  secrets: string[]
  /** Its arguments, made of the names by which it finds all these. */
  words(names: Names): string[]
  limits: { cpuSeconds: number; fileBytes: number }
  /** Gives way to guests, but is not starved by them. */
  isBackground: boolean
  onOutput?(text: string): void
  /** Ends it. */
  signal?: AbortSignal
}

export interface Names {
  reads: string[]
  writes: string
  /** Ids of QEMU's secret objects, one for each of `secrets`. */
  secrets: string[]
}

/** How a run ended: qemu-img's own exit code, or what the kernel ended it by. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  output: string
  complaint: string
}

const MEMORY_BYTES = 2 * 1024 ** 3
const MOST_OUTPUT_BYTES = 1024 ** 2
/** Exit code of a sandbox that could not be made. */
const NOT_MADE = 96

/** Its root is mounted here, in a namespace of its own: there is such a folder everywhere, and no disk's file under it. */
const ROOT = '/sys'

/**
 * Makes a root folder with nothing in it but programs, libraries, the files that are handed in and the
 * keys, and becomes qemu-img in it: another user, without capabilities, network or any way to have more.
 * A disk file from anywhere is read in there and nowhere else.
 */
const ENTER = `
root=$1 uid=$2 target=$3 keys=$4; shift 4
mount -t tmpfs -o mode=755,size=4m,nosuid,nodev hearth-sandbox "$root" || exit ${NOT_MADE}
for folder in /usr /bin /lib /lib64; do
  if [ -L "$folder" ]; then ln -s "$(readlink "$folder")" "$root$folder" || exit ${NOT_MADE}
  elif [ -d "$folder" ]; then mkdir "$root$folder" && mount -o bind,ro "$folder" "$root$folder" || exit ${NOT_MADE}; fi
done
mkdir "$root/etc" "$root/dev" || exit ${NOT_MADE}
for file in /etc/ld.so.cache /dev/null; do
  [ ! -e "$file" ] || { : >"$root$file" && mount --bind "$file" "$root$file"; } || exit ${NOT_MADE}
done
count=0
while [ "$1" != -- ]; do
  : >"$root/in$count" && mount -o bind,ro "$1" "$root/in$count" || exit ${NOT_MADE}
  count=$((count + 1)); shift
done
shift
[ -z "$target" ] || { : >"$root/out" && mount --bind "$target" "$root/out"; } || exit ${NOT_MADE}
for key in $keys; do
  (umask 077 && cat "/proc/self/fd/$key" >"$root/key$key") && chown "$uid" "$root/key$key" || exit ${NOT_MADE}
done
exec chroot "$root" setpriv --no-new-privs --reuid="$uid" --regid="$uid" --clear-groups \
  --bounding-set=-all --inh-caps=-all --pdeathsig=KILL -- qemu-img "$@"
`

/** The first handle that a child gets beside its input and outputs. */
const FIRST_HANDLE = 3

/**
 * Runs qemu-img, which dies with this process.
 *
 * @throws Error when it did not come so far, or was ended by `signal`.
 */
export async function runQemuImg(run: Run): Promise<Ended> {
  const keys: number[] = []
  try {
    for (const secret of run.secrets) keys.push(openSecret(secret))
    return await start(run, keys)
  } finally {
    for (const key of keys) closeSync(key)
  }
}

function start(run: Run, keys: number[]): Promise<Ended> {
  run.signal?.throwIfAborted()
  const [program = '', ...words] = command(run)
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      stdio: ['ignore', 'pipe', 'pipe', ...keys], signal: run.signal, killSignal: 'SIGKILL',
      // Each arena of its allocator would take from the limit of its memory.
      env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', MALLOC_ARENA_MAX: '2' },
    })
    const ended: Ended = { code: null, signal: null, output: '', complaint: '' }
    let failure: Error | undefined
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      run.onOutput?.(text)
      ended.output = bounded(ended.output, text)
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (ended.complaint = bounded(ended.complaint, text)))
    child.once('error', (error) => {
      failure = error
      if (child.pid === undefined) reject(error)
    })
    child.once('close', (code, signal) => {
      if (run.signal?.aborted) return reject(run.signal.reason)
      const problem = failure ?? notStarted(code, ended.complaint)
      if (problem) reject(problem)
      else resolve({ ...ended, code, signal })
    })
  })
}

function command(run: Run): string[] {
  const { uid, limits } = run
  const names: Names = {
    reads: uid === null ? run.reads : run.reads.map((_file, index) => `/in${index}`),
    writes: uid === null ? (run.writes ?? '') : '/out',
    secrets: run.secrets.map((_secret, index) => `key${FIRST_HANDLE + index}`),
  }
  const objects = run.secrets.flatMap((_secret, index) => {
    const file = uid === null ? `/dev/fd/${FIRST_HANDLE + index}` : `/key${FIRST_HANDLE + index}`
    return ['--object', `secret,id=${names.secrets[index]},file=${file}`]
  })
  const [verb = '', ...rest] = run.words(names)
  const words = [verb, ...objects, ...rest]
  const lead = [
    'setpriv', '--no-new-privs', '--pdeathsig=KILL', '--', ...(run.isBackground ? ['nice', '-n', '10', 'ionice', '-c', '2', '-n', '7'] : []),
    // Above the soft limit of time it is told so, by a signal that can be told from others.
    'prlimit', `--as=${MEMORY_BYTES}`, `--cpu=${limits.cpuSeconds}:${limits.cpuSeconds + 10}`, `--fsize=${limits.fileBytes}`, '--core=0', '--',
  ]
  if (uid === null) return [...lead, 'qemu-img', ...words]
  const handles = run.secrets.map((_secret, index) => FIRST_HANDLE + index).join(' ')
  return [
    ...lead, 'unshare', '--mount', '--net', '--ipc', '--propagation', 'slave', '--',
    'sh', '-c', ENTER, 'hearth-sandbox', ROOT, String(uid), run.writes ?? '', handles, ...run.reads, '--', ...words,
  ]
}

/** Why qemu-img did not run; undefined when it did. */
function notStarted(code: number | null, complaint: string): Error | undefined {
  if (code === 127) return new Error('qemu-img is not installed: apt install qemu-utils')
  if (code === 126) return new Error(`qemu-img cannot be started: ${complaint.trim()}`)
  if (code === NOT_MADE) return new Error(`the sandbox of qemu-img cannot be made: ${complaint.trim()}`)
  // Those who lead to it name themselves.
  const other = code === 0 ? null : /^(setpriv|prlimit|unshare|chroot|nice|ionice|sh): .*/m.exec(complaint)
  return other ? new Error(`the sandbox of qemu-img cannot be made: ${other[0]}`) : undefined
}

/** A secret in memory, as an open handle: its file has no name any more. */
function openSecret(secret: string): number {
  const folder = ['/dev/shm', '/run'].find((path) => existsSync(path))
  if (folder === undefined) throw new Error('there is neither /dev/shm nor /run to hand a key over in')
  const file = join(folder, `.hearth-${randomUUID()}`)
  writeFileSync(file, secret, { flag: 'wx', mode: 0o600 })
  try {
    return openSync(file, 'r')
  } finally {
    unlinkSync(file)
  }
}

function bounded(text: string, more: string): string {
  return (text + more).slice(-MOST_OUTPUT_BYTES)
}

/** Options of a disk for QEMU as `key=value,…`: a comma in a value is written twice. */
export function imageOptions(options: Record<string, string>): string {
  return Object.entries(options).map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`).join(',')
}
