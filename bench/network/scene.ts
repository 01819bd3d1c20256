import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Network } from '../../src/network/driver.ts'
import { createExec, type Exec } from '../../src/network/linux/exec.ts'
import { createLinuxNetwork } from '../../src/network/linux/index.ts'

/** A namespace that stands for the host, the driver over it, and guests that are namespaces too. */
export interface Scene {
  network: Network
  exec: Exec
  /** Puts a guest with an address behind a device of another namespace; without one, the two form a bare pair. */
  guest(name: string, link: { netns: string; dev: string; mac: string }, commands: string[]): Promise<string>
  /** Name of a VPC's namespace. */
  netnsOf(vpcSlot: number): string
  /** Runs this program's other half in a namespace; what it prints, once it ends. */
  run(netns: string, program: string, words: string[]): Promise<string>
  /** Starts it; resolves when it prints its first line. */
  start(netns: string, program: string, words: string[]): Promise<ChildProcess>
  close(): Promise<void>
}

export async function createScene(): Promise<Scene> {
  const homeId = randomBytes(2).toString('hex')
  const real = createExec({ clock: systemClock })
  const prefix = `bench-${homeId}`
  const made: string[] = []
  const children = new Set<ChildProcess>()
  const add = async (name: string) => {
    await real.host(['ip', 'netns', 'add', name])
    made.push(name)
    await real.inside(name, ['ip', 'link', 'set', 'dev', 'lo', 'up'])
  }
  const host = `${prefix}-host`
  await add(host)
  const exec = createExec({ clock: systemClock, hostNetns: host })
  const network = createLinuxNetwork({
    homeId, publicPool: '198.18.0.0/20', clock: systemClock, log: silentLogger, exec,
    services: { open: async () => {}, close: async () => {}, closeAll: async () => {} },
  })
  const spawnIn = (netns: string, program: string, words: string[]) => {
    const child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', process.execPath, program, ...words],
      { stdio: ['ignore', 'pipe', 'inherit'] })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }
  await network.ensureHost()
  return {
    network, exec,
    netnsOf: (slot) => network.netnsPathOf(slot)?.split('/').at(-1) ?? '',
    async guest(name, { netns, dev, mac }, commands) {
      const own = `${prefix}-${name}`
      await add(own)
      await real.inside(netns, ['ip', 'link', 'add', dev, 'type', 'veth', 'peer', 'name', 'eth0', 'address', mac, 'netns', own])
      await real.inside(own, ['ip', '-batch', '-'], `${commands.join('\n')}\n`)
      return own
    },
    run(netns, program, words) {
      const child = spawnIn(netns, program, words)
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
      return new Promise((resolve, reject) => child.once('close', (code) =>
        code === 0 ? resolve(output) : reject(new Error(`${words.join(' ')} ended with ${code}`))))
    },
    start(netns, program, words) {
      const child = spawnIn(netns, program, words)
      return new Promise((resolve, reject) => {
        child.stdout.once('data', () => resolve(child))
        child.once('exit', (code) => reject(new Error(`${words.join(' ')} ended with ${code}`)))
      })
    },
    async close() {
      for (const child of children) child.kill('SIGKILL')
      await network.removeAll()
      await network.close()
      for (const name of made.toReversed()) await real.host(['ip', 'netns', 'del', name])
    },
  }
}
