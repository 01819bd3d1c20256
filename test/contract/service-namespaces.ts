import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { promisify } from 'node:util'
import { METADATA_ADDRESS, TIME_ADDRESS } from '../../src/network/linux/names.ts'

const execute = promisify(execFile)

/** A VPC's namespace and a guest's, joined by a veth, addressed as the network driver does it. */
export interface ServiceNamespaces {
  vpcPath: string
  /** Runs a command inside the guest's namespace; answers its standard output. */
  guest(command: string, ...args: string[]): Promise<string>
  /** Starts a command inside the guest's namespace. */
  guestProcess(command: string, ...args: string[]): ChildProcess
  /** Local addresses and ports that somebody listens on inside the VPC's namespace. */
  listening(): string[]
  /** Inode numbers of those sockets. */
  inodes(): string[]
  remove(): void
}

/**
 * Makes the two namespaces. The VPC's answers to the gateway, the resolvers, the time server and
 * 169.254.169.254, and has a route and a permanent neighbour for each of the guest's addresses, of which
 * the guest itself still has none.
 */
export function makeServiceNamespaces(options: {
  mac: string
  addresses: string[]
  gateway: string
  resolvers: string[]
}): ServiceNamespaces {
  const vpc = `hearthsvc-${process.pid}-v`
  const guest = `hearthsvc-${process.pid}-g`
  const inVpc = (...args: string[]) => ip('-n', vpc, ...args)
  for (const name of [vpc, guest]) ip('netns', 'add', name)
  inVpc('link', 'set', 'lo', 'up')
  for (const address of [options.gateway, ...options.resolvers, TIME_ADDRESS, METADATA_ADDRESS]) {
    inVpc('address', 'add', `${address}/32`, 'dev', 'lo')
  }
  inVpc('link', 'add', 'port', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', guest)
  inVpc('link', 'set', 'port', 'up')
  execFileSync('ip', ['netns', 'exec', vpc, 'sh', '-c',
    'cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 1 >conf/port/proxy_arp; echo 0 >neigh/port/proxy_delay'])
  for (const address of options.addresses) {
    inVpc('route', 'add', `${address}/32`, 'dev', 'port')
    inVpc('neighbour', 'replace', address, 'lladdr', options.mac, 'dev', 'port', 'nud', 'permanent')
  }
  ip('-n', guest, 'link', 'set', 'eth0', 'address', options.mac, 'up')
  const vpcPath = `/run/netns/${vpc}`
  const inGuest = (command: string, args: string[]) => [`--net=/run/netns/${guest}`, command, ...args]
  return {
    vpcPath,
    guest: async (command, ...args) => (await execute('nsenter', inGuest(command, args), { timeout: 60_000 })).stdout,
    guestProcess: (command, ...args) => spawn('nsenter', inGuest(command, args), { stdio: 'ignore' }),
    listening: () =>
      socketsIn(vpcPath).map((line) => line.split(/\s+/)).map((fields) => `${fields[0]} ${fields[4]}`).toSorted(),
    inodes: () => socketsIn(vpcPath).flatMap((line) => /\bino:(\d+)/.exec(line)?.[1] ?? []).toSorted(),
    remove() {
      for (const name of [vpc, guest]) ip('netns', 'delete', name)
    },
  }
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' })
}

function socketsIn(netnsPath: string): string[] {
  const lines = execFileSync('nsenter', [`--net=${netnsPath}`, 'ss', '-Hlntue'], { encoding: 'utf8' })
  return lines.split('\n').filter(Boolean)
}
