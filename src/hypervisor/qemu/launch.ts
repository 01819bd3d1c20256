import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, lchownSync, lstatSync, statSync } from 'node:fs'

/** Exit code of a launch that found the machine's lock taken: its QEMU runs already. */
export const ALREADY_RUNNING = 75

/** How QEMU is to be started. */
export interface Launch {
  /** Its working directory, which also holds the file "lock". */
  folder: string
  /** The user and group it becomes; null to stay who we are (not root). */
  uid: number | null
  /** Whether it needs /dev/kvm. */
  kvm: boolean
  netnsPath: string | null
  /** Whether it opens taps. */
  tun: boolean
  cgroupFiles: string[]
  /** QEMU's program; the one for x86_64 unless told otherwise. */
  program?: string
  arguments: string[]
  /** A handle that it is to have as MASTER_HANDLE (secrets.ts). */
  masterHandle?: number
  /** Ends with this process, instead of outliving it. */
  diesWithParent?: boolean
}

/** Joins the cgroups named before "--", then becomes what comes after it. */
const JOIN_AND_EXEC = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; ulimit -c 0; exec "$@"'

/**
 * Gives one machine a /dev/net/tun of its own, in a mount namespace of its own. On most hosts it is
 * open to everyone (the kernel guards each tap by its owner) and this is not needed; where it is
 * not, its permissions are the administrator's business.
 */
const OWN_TUN = [
  'mount -t tmpfs -o mode=755,size=64k hearth-tun /dev/net',
  'mknod -m 600 /dev/net/tun c 10 200',
  'chown "$1" /dev/net/tun',
  'shift',
  'exec "$@"',
].join(' && ')

/**
 * The command that becomes QEMU, every program in it replacing itself by the next, so that the pid
 * is QEMU's. The lock's handle passes down the chain: the kernel holds the lock exactly as long as
 * that QEMU lives, so a second one is never started on the same disks, whoever crashed when.
 */
export function launchCommand(launch: Launch): string[] {
  const { uid, netnsPath } = launch
  const join = ['/bin/sh', '-c', JOIN_AND_EXEC, 'hearth-launch', ...launch.cgroupFiles, '--']
  // As a slave, so that namespaces and disks that the host unmounts are not kept alive in here.
  const tun = uid === null || !launch.tun || isTunOpen() ? [] : [
    'unshare', '--mount', '--propagation', 'slave', '--', '/bin/sh', '-c', OWN_TUN, 'hearth-launch', String(uid),
  ]
  const enter = netnsPath === null ? [] : ['nsenter', `--net=${netnsPath}`, '--']
  const drop = uid === null ? [] : [
    `--reuid=${uid}`, `--regid=${uid}`, launch.kvm ? kvmGroup() : '--clear-groups',
    '--bounding-set=-all', '--inh-caps=-all',
  ]
  const follow = launch.diesWithParent ? ['--pdeathsig=KILL'] : []
  const restrict = ['setpriv', '--no-new-privs', ...drop, ...follow, '--']
  const lock = ['flock', '--no-fork', '--nonblock', '--conflict-exit-code', String(ALREADY_RUNNING), 'lock']
  return [...lock, ...join, ...tun, ...enter, ...restrict, launch.program ?? 'qemu-system-x86_64', ...launch.arguments]
}

/** Starts QEMU in a session of its own, its output going to `logHandle`. */
export function spawnQemu(launch: Launch, logHandle: number): ChildProcess {
  const [program = '', ...words] = launchCommand(launch)
  const child = spawn(program, words, {
    cwd: launch.folder,
    detached: true,
    // The fourth is MASTER_HANDLE; every program on the way to QEMU passes it on.
    stdio: ['ignore', logHandle, logHandle, ...(launch.masterHandle === undefined ? [] : [launch.masterHandle])],
    env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  })
  // Whoever starts a probe waits for its end.
  if (!launch.diesWithParent) child.unref()
  return child
}

/**
 * Makes the file the machine's own: readable and writable by its user and nobody else.
 *
 * @throws Error when there is no such plain file.
 */
export function giveToMachine(path: string, uid: number): void {
  if (!lstatSync(path).isFile()) throw new Error(`${path} is not a plain file`)
  lchownSync(path, uid, uid)
  chmodSync(path, 0o600)
}

/** Whether this process may take on other users, as QEMU's unprivileged start needs. */
export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** A machine's user is in no group but, for acceleration, the one that /dev/kvm is open to. */
function kvmGroup(): string {
  const { gid, mode } = statSync('/dev/kvm')
  return isGroupOpen(gid, mode) ? `--groups=${gid}` : '--clear-groups'
}

/** Whether the unprivileged users of machines can open that /dev/kvm. */
export function isOpenToMachines({ gid, mode }: { gid: number; mode: number }): boolean {
  return isGroupOpen(gid, mode) || (mode & 0o006) === 0o006
}

/** Root's group is never given to a machine. */
function isGroupOpen(gid: number, mode: number): boolean {
  return gid !== 0 && (mode & 0o060) === 0o060
}

function isTunOpen(): boolean {
  const stat = statSync('/dev/net/tun', { throwIfNoEntry: false })
  return stat !== undefined && (stat.mode & 0o006) === 0o006
}
