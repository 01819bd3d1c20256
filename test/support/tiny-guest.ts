import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import { systemClock, waitFor } from '../../src/core/clock.ts'

const execute = promisify(execFile)

/** Copies between its standard streams and a socket: how QEMU's user-mode network reaches ours. */
const PIPE = `import net from 'node:net'
const socket = net.connect(process.argv[2])
process.stdin.pipe(socket)
socket.pipe(process.stdout)
`

export interface Identity {
  instanceId: string
  hostname: string
  publicKey: string
  /** undefined: the instance has no user-data. */
  userData?: string | Buffer
}

/** A tiny guest under QEMU by hand, without any other part of Hearth, with its own metadata service. */
export interface TinyGuest {
  /** Everything written to the serial console since this boot. */
  console(): string
  /** Waits for text on the console. */
  waitForConsole(text: string, timeoutMs: number): Promise<void>
  /** Runs a command over SSH; rejects when it fails. */
  ssh(keyFile: string, command: string, input?: string): Promise<string>
  /** The public host key that the guest's SSH server shows. */
  hostKey(): Promise<string>
  /** Types into the serial console. */
  type(text: string): void
  /** Says these lines to the guest's agent, one after the other, and resolves with its answers. */
  askAgent(...lines: string[]): Promise<unknown[]>
  powerDown(): Promise<void>
  /** Waits until the guest ended, and says how: "guest-shutdown", "guest-reset". */
  ended(timeoutMs: number): Promise<string>
  /** What was asked of the metadata service: "GET /latest/user-data". */
  requests: string[]
  kill(): Promise<void>
}

/** Boots `disk` (qcow2, changed by the guest) as the machine `identity` says. `folder` is for its files. */
export async function bootTinyGuest(folder: string, disk: string, identity: Identity): Promise<TinyGuest> {
  await mkdir(folder, { recursive: true })
  const requests: string[] = []
  const metadata = await serveMetadata(path.join(folder, 'metadata.sock'), identity, requests)
  const pipe = path.join(folder, 'pipe.mjs')
  await writeFile(pipe, PIPE)
  const port = await freePort()
  const qmpPath = path.join(folder, 'qmp.sock')
  await rm(qmpPath, { force: true })
  // User-mode networking forwards only addresses of its own network, which therefore is vast.
  const network = [
    'user,id=n0,net=160.0.0.0/4,host=172.31.0.1,dns=172.31.0.2,dhcpstart=172.31.5.10,restrict=on',
    `hostfwd=tcp:127.0.0.1:${port}-172.31.5.10:22`,
    `guestfwd=tcp:169.254.169.254:80-cmd:${process.execPath} ${pipe} ${path.join(folder, 'metadata.sock')}`,
  ]
  const qemu = spawn('qemu-system-x86_64', [
    '-M', 'q35,accel=tcg', '-m', '512', '-smp', '2', '-nodefaults', '-display', 'none', '-vga', 'std',
    '-blockdev', `driver=qcow2,node-name=root,file.driver=file,file.filename=${disk}`,
    '-device', 'virtio-blk-pci,drive=root,bootindex=1',
    '-netdev', network.join(','), '-device', 'virtio-net-pci,netdev=n0,romfile=',
    '-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci,id=channels,max_ports=2',
    '-chardev', `socket,id=qga,path=${path.join(folder, 'qga.sock')},server=on,wait=off`,
    '-device', 'virtserialport,bus=channels.0,nr=1,chardev=qga,name=org.qemu.guest_agent.0',
    '-chardev', 'stdio,id=serial,signal=off', '-serial', 'chardev:serial',
    '-qmp', `unix:${qmpPath},server=on,wait=off`, '-action', 'reboot=shutdown,shutdown=pause',
  ])
  let output = ''
  qemu.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')))
  qemu.stderr.on('data', (chunk: Buffer) => (output += `[qemu] ${chunk.toString()}`))
  const qmp = await connectQmp(qmpPath, qemu)
  const ssh = (keyFile: string, command: string, input = '') => runSsh(port, keyFile, command, input)
  return {
    requests,
    console: () => output,
    ssh,
    waitForConsole: async (text, timeoutMs) => {
      await waitFor(systemClock, `"${text}" on the console`, timeoutMs, () => output.includes(text) || gone(qemu)).catch(
        (error: Error) => Promise.reject(new Error(`${error.message}; it said:\n${output.slice(-3000)}`)),
      )
      if (!output.includes(text)) throw new Error(`QEMU ended before "${text}":\n${output.slice(-3000)}`)
    },
    hostKey: async () => {
      const { stdout } = await execute('ssh-keyscan', ['-t', 'ed25519', '-p', String(port), '127.0.0.1'])
      return stdout.trim().split(' ').slice(1).join(' ')
    },
    type: (text) => void qemu.stdin.write(text),
    askAgent: (...lines) => askAgent(path.join(folder, 'qga.sock'), lines),
    powerDown: () => qmp.send('system_powerdown'),
    ended: (timeoutMs) => waitFor(systemClock, 'the guest to end', timeoutMs, () => qmp.shutdownReason()),
    kill: async () => {
      qmp.close()
      metadata.closeAllConnections()
      metadata.close()
      qemu.kill('SIGKILL')
      await waitFor(systemClock, 'QEMU to be gone', 10_000, () => gone(qemu))
    },
  }
}

function gone(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

/** The few answers of IMDSv2 that the guest asks for; everything without the token is refused. */
async function serveMetadata(socketPath: string, identity: Identity, requests: string[]): Promise<http.Server> {
  await rm(socketPath, { force: true })
  const token = 'VG9rZW4='
  const tree: Record<string, string | Buffer | undefined> = {
    '/latest/meta-data/instance-id': identity.instanceId,
    '/latest/meta-data/local-hostname': `${identity.hostname}.ec2.internal`,
    '/latest/meta-data/public-keys/0/openssh-key': identity.publicKey,
    '/latest/user-data': identity.userData,
  }
  const server = http.createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    if (request.method === 'PUT' && request.url === '/latest/api/token') return response.end(token)
    const body = tree[request.url ?? '']
    response.statusCode = request.headers['x-aws-ec2-metadata-token'] !== token ? 401 : body === undefined ? 404 : 200
    return response.end(response.statusCode === 200 ? body : '<?xml version="1.0"?>\n<html>\n <body/>\n</html>\n')
  })
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  return server
}

interface Qmp {
  send(command: string): Promise<void>
  shutdownReason(): string | undefined
  close(): void
}

async function connectQmp(socketPath: string, qemu: ChildProcess): Promise<Qmp> {
  await waitFor(systemClock, 'QEMU to start', 20_000, () => existsSync(socketPath) || gone(qemu))
  const socket = net.connect(socketPath)
  let reason: string | undefined
  let rest = ''
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as { event?: string; data?: { reason?: string } }
      if (message.event === 'SHUTDOWN') reason = message.data?.reason
    }
  })
  const send = (command: string) =>
    new Promise<void>((resolve) => socket.write(`${JSON.stringify({ execute: command })}\n`, () => resolve()))
  await send('qmp_capabilities')
  return { send, shutdownReason: () => reason, close: () => socket.destroy() }
}

/** A conversation of its own, with whoever is at the other end of the channel. */
async function askAgent(socketPath: string, lines: string[]): Promise<unknown[]> {
  const socket = net.connect(socketPath)
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  const complete = () => said.split('\n').slice(0, -1).filter((line) => line !== '')
  try {
    for (const [index, line] of lines.entries()) {
      socket.write(`${line}\n`, 'latin1')
      await waitFor(systemClock, `an answer to ${line}`, 20_000, () => complete().length > index)
    }
    return complete().map((line) => JSON.parse(line.replace(/^\xff/, '')) as unknown)
  } finally {
    socket.destroy()
  }
}

function runSsh(port: number, keyFile: string, command: string, input: string): Promise<string> {
  const options = [
    'BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'ConnectTimeout=20',
    'IdentitiesOnly=yes',
  ]
  const args = ['-F', 'none', '-i', keyFile, '-p', String(port), ...options.flatMap((option) => ['-o', option])]
  return new Promise((resolve, reject) => {
    const child = execFile('ssh', [...args, 'root@127.0.0.1', command], (error, stdout, stderr) =>
      error ? reject(new Error(`ssh: ${stderr || error.message}`)) : resolve(stdout),
    )
    child.stdin?.end(input)
  })
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
