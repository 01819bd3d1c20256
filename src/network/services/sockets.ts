import { spawn, type ChildProcess } from 'node:child_process'
import type dgram from 'node:dgram'
import type net from 'node:net'
import path from 'node:path'
import type { Clock } from '../../core/clock.ts'
import { packageRoot } from '../../core/package-root.ts'

/** A socket to open: `id` is how its caller tells it from the others. */
export interface SocketSpec {
  id: string
  protocol: 'udp' | 'tcp'
  address: string
  port: number
}

/** What the child says: a socket comes with its id. */
export type SocketMessage = { id: string } | { error: string }

export type SocketHandle = net.Server | dgram.Socket

/** A child takes some 50 ms; a host under great load may need much longer. */
const CHILD_TIMEOUT_MS = 20_000
const MAX_STDERR = 2000

/**
 * Opens sockets inside the network namespace at `netnsPath` and hands each to `attach`, which must
 * put its listeners on it at once: what came in before would be lost. The caller owns and closes
 * what was attached.
 *
 * @throws Error when one of them cannot be opened; then all are closed again.
 */
export async function openSockets(
  clock: Clock,
  netnsPath: string,
  specs: SocketSpec[],
  attach: (id: string, socket: SocketHandle) => void,
): Promise<void> {
  const program = path.join(packageRoot(), 'dist/sockets-child.js')
  const child = spawn('nsenter', [`--net=${netnsPath}`, process.execPath, program, JSON.stringify(specs)], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { PATH: process.env['PATH'] },
  })
  const sockets: SocketHandle[] = []
  let failure: string | undefined
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-MAX_STDERR)))
  child.on('message', (message: SocketMessage, handle: unknown) => {
    if ('error' in message) {
      failure = message.error
      return
    }
    const socket = handle as SocketHandle
    sockets.push(socket)
    attach(message.id, socket)
  })
  failure = (await ended(clock, child)) ?? failure
  if (failure === undefined && sockets.length === specs.length) return
  for (const socket of sockets) closeSocket(socket)
  const reason = failure ?? (said.trim() || 'the process that opens them ended early')
  throw new Error(`cannot open the service sockets of the VPC in ${netnsPath}: ${reason}`)
}

/** Waits until the child is gone and all it said has come; why it failed, where it did not say so itself. */
function ended(clock: Clock, child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    let failure: string | undefined
    const timer = clock.after(CHILD_TIMEOUT_MS, () => {
      failure = `no answer within ${CHILD_TIMEOUT_MS} ms`
      child.kill('SIGKILL')
    })
    const end = (reason: string | undefined) => {
      timer.cancel()
      resolve(reason)
    }
    child.once('error', (error) => end(error.message))
    child.once('close', () => end(failure))
  })
}

/** Closes a socket that may be closed already. */
export function closeSocket(socket: SocketHandle): void {
  try {
    socket.close()
  } catch {
    // Closed before.
  }
}

/** Whether a datagram socket can still send. */
export function isOpen(socket: dgram.Socket): boolean {
  try {
    socket.address()
    return true
  } catch {
    return false
  }
}
