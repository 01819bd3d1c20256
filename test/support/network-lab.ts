import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { createExec, type Exec } from '../../src/network/linux/exec.ts'
import type { PortSpec } from '../../src/network/driver.ts'

/**
 * A host, an outside world and guests, each a network namespace of its own, so that a test sends
 * real packets and touches nothing of the machine it runs on. A guest's veth stands where the tap
 * of its machine would be: the driver takes a device of that name as it finds it.
 */
export interface Lab {
  homeId: string
  /** Commands with the lab's host in place of the real one. */
  exec: Exec
  host: Guest
  outside: Guest
  /** Puts a guest behind a port, before the port is first synced; its address is set by hand. */
  guest(vpcNetns: string, tap: string, port: Pick<PortSpec, 'mac' | 'privateIp'>, gateway: string): Promise<Guest>
  close(): Promise<void>
}

export interface Guest {
  netns: string
  /** Runs a command in the guest; resolves with its exit code and standard output. */
  run(command: string[], input?: string): Promise<{ code: number; stdout: string }>
  pings(address: string, source?: string): Promise<boolean>
  /** Starts an echo server on a TCP port whose first line is the client's address. */
  serve(port: number): Promise<void>
  /** The address under which a server saw this guest; undefined when it did not get through. */
  connects(address: string, port: number): Promise<string | undefined>
  /** Starts a server on a UDP port that answers with this guest's namespace. */
  serveUdp(port: number): Promise<void>
  /** The namespace of the server that answered a datagram from a port of this guest's; undefined without an answer. */
  asks(address: string, port: number, sourcePort: number): Promise<string | undefined>
  /** Starts a program of Node's; resolves with the first that it prints. */
  program(script: string, args: string[]): Promise<string>
  /** Keeps a connection open. */
  open(address: string, port: number): Promise<Connection>
}

export interface Connection {
  /** Whether a line comes back in time. */
  echoes(line: string): Promise<boolean>
}

const OUTSIDE = '203.0.113.99'
/** The lab's host, as the outside sees it. */
export const HOST_ADDRESS = '203.0.113.1'
export const OUTSIDE_ADDRESS = OUTSIDE

const ECHO = `import('node:net').then(({default: net}) => net.createServer((socket) => {
  socket.on('error', () => {}); socket.write(socket.remoteAddress + '\\n'); socket.pipe(socket)
}).listen(Number(process.argv[1]), '0.0.0.0', () => console.log('ready')))`

const NAME = `import('node:dgram').then(({default: dgram}) => {
  const socket = dgram.createSocket('udp4')
  socket.on('message', (_, from) => socket.send(process.argv[2], from.port, from.address))
  socket.bind(Number(process.argv[1]), '0.0.0.0', () => console.log('ready'))
})`

const ASK = `import('node:dgram').then(({default: dgram}) => {
  const [, address, port, sourcePort] = process.argv
  const socket = dgram.createSocket('udp4')
  socket.on('message', (answer) => process.stdout.write(answer, () => process.exit()))
  socket.on('error', () => process.exit(1))
  socket.bind(Number(sourcePort), () => socket.send('who', Number(port), address, () => {}))
  setTimeout(() => process.exit(1), 1000)
})`

/** What this machine lacks for a lab; undefined when nothing. */
export function lackingForLab(): string | undefined {
  if (process.getuid?.() !== 0) return 'root'
  for (const tool of ['ip -V', 'nft --version', 'nsenter --version', 'busybox true']) {
    const [command = '', ...args] = tool.split(' ')
    try {
      execFileSync(command, args, { stdio: 'ignore' })
    } catch {
      return command
    }
  }
  return undefined
}

export async function createLab(): Promise<Lab> {
  const homeId = randomBytes(2).toString('hex')
  const host = `lab-${homeId}-host`
  const world = `lab-${homeId}-world`
  const made: string[] = []
  const processes: ChildProcess[] = []
  const real = createExec({ clock: systemClock })
  const exec: Exec = { host: (command, input) => real.inside(host, command, input), inside: real.inside }

  async function namespace(name: string): Promise<void> {
    await real.host(['ip', 'netns', 'add', name])
    made.push(name)
    await real.inside(name, ['ip', 'link', 'set', 'dev', 'lo', 'up'])
    // A new namespace begins as the machine is, which may forward.
    await real.inside(name, ['sysctl', '-qw', 'net.ipv4.ip_forward=0'])
  }

  await namespace(host)
  await namespace(world)
  await real.inside(host, ['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world])
  await real.inside(host, ['ip', '-batch', '-'],
    `addr add ${HOST_ADDRESS}/24 dev eth0\nlink set dev eth0 up\nroute add default via ${OUTSIDE}\n`)
  await real.inside(world, ['ip', '-batch', '-'], `addr add ${OUTSIDE}/24 dev eth0\nlink set dev eth0 up\n`)

  return {
    homeId, exec,
    host: createGuest(host, processes),
    outside: createGuest(world, processes),
    async guest(vpcNetns, tap, port, gateway) {
      const netns = `lab-${homeId}-${tap.split('.')[1]}-${randomBytes(2).toString('hex')}`
      await namespace(netns)
      await real.inside(vpcNetns, [
        'ip', 'link', 'add', tap, 'type', 'veth', 'peer', 'name', 'eth0', 'address', port.mac, 'netns', netns,
      ])
      await real.inside(netns, ['ip', '-batch', '-'],
        `addr add ${port.privateIp}/20 dev eth0\nlink set dev eth0 up\nroute add default via ${gateway}\n`)
      return createGuest(netns, processes)
    },
    async close() {
      for (const child of processes) child.kill('SIGKILL')
      for (const name of made.toReversed()) await real.host(['ip', 'netns', 'del', name])
    },
  }
}

function createGuest(netns: string, processes: ChildProcess[]): Guest {
  const within = (command: string[]) => [`--net=/run/netns/${netns}`, '--', ...command]

  function start(command: string[]): ChildProcess {
    const child = spawn('nsenter', within(command), { stdio: ['pipe', 'pipe', 'ignore'] })
    child.stdin?.on('error', () => {})
    processes.push(child)
    return child
  }

  const run: Guest['run'] = (command, input = '') =>
    new Promise((resolve) => {
      const child = execFile('nsenter', within(command), { timeout: 20_000 }, (error, stdout) =>
        resolve({ code: error ? Number(error.code ?? 1) : 0, stdout }))
      child.stdin?.on('error', () => {})
      child.stdin?.end(input)
    })

  return {
    netns, run,
    async pings(address, source) {
      const from = source === undefined ? [] : ['-I', source]
      return (await run(['busybox', 'ping', '-c', '1', '-W', '1', ...from, address])).code === 0
    },
    async serve(port) {
      await firstLine(start([process.execPath, '-e', ECHO, String(port)]))
    },
    async serveUdp(port) {
      await firstLine(start([process.execPath, '-e', NAME, String(port), netns]))
    },
    async asks(address, port, sourcePort) {
      const { stdout } = await run([process.execPath, '-e', ASK, address, String(port), String(sourcePort)])
      return stdout === '' ? undefined : stdout
    },
    async connects(address, port) {
      const { stdout } = await run(['busybox', 'timeout', '2', 'busybox', 'nc', '-w', '1', address, String(port)])
      return stdout === '' ? undefined : stdout.split('\n')[0]
    },
    program: (script, args) => firstLine(start([process.execPath, '-e', script, ...args])),
    async open(address, port) {
      const child = start(['busybox', 'nc', address, String(port)])
      let received = ''
      child.stdout?.on('data', (chunk: Buffer) => (received += chunk.toString()))
      await waitFor(systemClock, `a connection to ${address}:${port}`, 5000, () => received !== '')
      return {
        async echoes(line) {
          child.stdin?.write(`${line}\n`)
          const echoed = waitFor(systemClock, 'an echo', 2000, () => received.includes(`${line}\n`))
          return echoed.then(() => true, () => false)
        },
      }
    },
  }
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('the server ended early')))
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString()))
  })
}
