import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import Database from 'better-sqlite3'
import { ownKey } from '../../src/cli/first-instance.ts'
import { waitFor, systemClock } from '../../src/core/clock.ts'
import { packageRoot } from '../../src/core/package-root.ts'
import { ensureHome, homeIdOf, homePaths } from '../../src/home.ts'
import type { Settings } from '../../src/settings.ts'
import { LoadedAwsCli, pythonOfAws, type RunResult } from '../support/aws-cli.ts'
import { tinyImage } from '../support/tiny-image.ts'

/** Why real guests cannot be tried here; undefined where they can. */
export const whyNotReal =
  process.getuid?.() !== 0 ? 'needs root'
  : !existsSync('/usr/bin/qemu-system-x86_64') ? 'needs QEMU (npm run setup)'
  : !existsSync('/dev/net/tun') ? 'needs /dev/net/tun'
  : undefined

const python = pythonOfAws()

/** Longest that a guest takes to let SSH in; beside another cloud, on a machine with other work. */
const BOOT_MS = 180_000
/** How often an address is tried before it is asked whether it is another one. */
const LOOKS_PER_ADDRESS = 10
/** Prints the id that a kernel gives each of its boots. */
const BOOT_ID = 'cat /proc/sys/kernel/random/boot_id'

/** A zone promises a third of what the whole node did; tests put their guests into one. */
const ROOM = { HEARTH_OVERCOMMIT_VCPUS: '48', HEARTH_OVERCOMMIT_MEMORY: '12' }

/** What launches name, beside their type. */
interface LaunchBasics {
  imageId: string
  keyName: string
  subnetId: string
  zone: string
}

/**
 * A Hearth as a user runs it, `hearth up` with real guests, whose "machine" is a network namespace:
 * nothing it does can touch the network of the machine that runs the tests.
 */
export class RealCloud {
  readonly namespace: string
  readonly home: string
  readonly port = 8773
  stdout = ''
  stderr = ''
  #basics: LaunchBasics | undefined
  #awsCli: LoadedAwsCli | undefined
  #up: ChildProcess | undefined
  #upEnd: Promise<unknown> | undefined

  constructor(name: string) {
    this.home = mkdtempSync(path.join(os.tmpdir(), `hearth-e2e-${name}-`))
    this.namespace = `hearth-e2e-${name}-${process.pid}`
  }

  /** Makes the namespace and puts the built image where `hearth up` finds it. */
  async prepare(): Promise<void> {
    const { file } = await tinyImage()
    await ensureHome(this.home)
    // The cache may hold images of older recipes, too.
    for (const each of [file, file.replace(/qcow2$/, 'json')]) cpSync(each, path.join(this.home, 'images', path.basename(each)))
    execFileSync('ip', ['netns', 'add', this.namespace])
    execFileSync('ip', ['-n', this.namespace, 'link', 'set', 'lo', 'up'])
  }

  /**
   * A command inside the namespace. It has no input: a Bash whose input is a socket, as Node's pipes are, takes itself for a remote
   * shell and reads ~/.bashrc, whatever that does and however long it takes.
   */
  run(command: string, args: string[], options: { env?: Record<string, string>; timeoutMs?: number } = {}): Promise<RunResult> {
    return new Promise((resolve) => {
      const child = spawn('nsenter', [`--net=/run/netns/${this.namespace}`, command, ...args], {
        env: { ...process.env, HEARTH_HOME: this.home, AWS_PAGER: '', ...options.env }, timeout: options.timeoutMs ?? 120_000,
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const stdout: Buffer[] = []
      const stderr: Buffer[] = []
      child.stdout.on('data', (data: Buffer) => stdout.push(data))
      child.stderr.on('data', (data: Buffer) => stderr.push(data))
      child.on('error', (error) => resolve({ code: 1, stdout: '', stderr: error.message }))
      child.on('close', (code) => resolve({ code: code ?? 1, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() }))
    })
  }

  /** A command inside the namespace that goes on by itself: how many lines it has printed so far, and how to end it. */
  stream(command: string, args: string[]): { lines(): number; hasEnded(): boolean; end(): void } {
    const child = spawn('nsenter', [`--net=/run/netns/${this.namespace}`, command, ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
    let lines = 0
    child.stdout.on('data', (data: Buffer) => (lines += data.toString().split('\n').length - 1))
    return { lines: () => lines, hasEnded: () => child.exitCode !== null || child.signalCode !== null, end: () => void child.kill() }
  }

  hearth(...args: string[]): Promise<RunResult> {
    return this.run(process.execPath, [path.join(packageRoot(), 'bin/hearth'), ...args], { timeoutMs: 240_000 })
  }

  /** `hearth up` until it says ready. */
  up(...args: string[]): Promise<void> {
    return this.upWith({}, ...args)
  }

  /** The same, with more in its environment. */
  async upWith(environment: Record<string, string>, ...args: string[]): Promise<void> {
    this.stdout = ''
    this.stderr = ''
    const child = spawn(
      'nsenter',
      [`--net=/run/netns/${this.namespace}`, process.execPath, path.join(packageRoot(), 'bin/hearth'), 'up', ...args],
      { env: { ...process.env, HEARTH_HOME: this.home, ...ROOM, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    this.#up = child
    this.#upEnd = new Promise((resolve) => child.once('exit', resolve))
    child.stdout.on('data', (data: Buffer) => (this.stdout += data.toString()))
    child.stderr.on('data', (data: Buffer) => (this.stderr += data.toString()))
    await this.until('hearth up to be ready', 120_000, () => {
      if (child.exitCode !== null) throw new Error(`hearth up ended with ${child.exitCode}: ${this.stderr}`)
      return this.stdout.includes('ready ')
    })
  }

  /**
   * `hearth up` without a first instance, and what launches need: the home's own key pair, and a default
   * group that lets SSH in.
   */
  async upForLaunches(environment: Record<string, string> = {}): Promise<LaunchBasics> {
    await this.upWith(environment, '--no-first-instance')
    const key = ownKey(this.home)
    writeFileSync(key.file, await this.ec2('KeyMaterial', 'create-key-pair', '--key-name', key.name), { mode: 0o600 })
    const imageId = await this.until('the tiny image to be registered', 60_000, async () => {
      const found = await this.ec2('Images[0].ImageId', 'describe-images', '--filters', 'Name=name,Values=*tiny*')
      return found.startsWith('ami-') ? found : undefined
    })
    const [subnetId = '', zone = ''] = (await this.ec2('Subnets[0].[SubnetId,AvailabilityZone]', 'describe-subnets')).split(/\s+/)
    const group = await this.ec2('SecurityGroups[0].GroupId', 'describe-security-groups')
    await this.ec2('Return', 'authorize-security-group-ingress', '--group-id', group, '--protocol', 'tcp', '--port', '22', '--cidr', '0.0.0.0/0')
    this.#basics = { imageId, keyName: key.name, subnetId, zone }
    return this.#basics
  }

  /** Launches one t3.nano, of the tiny image into the default VPC unless `words` say something else; answers its id. */
  launch(...words: string[]): Promise<string> {
    const { imageId = '', keyName = '', subnetId = '' } = this.#basics ?? {}
    const defaults = { '--image-id': imageId, '--instance-type': 't3.nano', '--key-name': keyName, '--subnet-id': subnetId }
    const unnamed = Object.entries(defaults).filter(([option]) => !words.includes(option))
    return this.ec2('Instances[0].InstanceId', 'run-instances', ...unnamed.flat(), ...words)
  }

  /** Waits until every one of these instances is in the state; the waiters of the AWS CLI look every 15 seconds only. */
  async areInState(state: string, ...ids: string[]): Promise<void> {
    await this.until(`${ids.join(' and ')} to be ${state}`, 90_000, async () => {
      const states = await this.ec2('Reservations[].Instances[].State.Name', 'describe-instances', '--instance-ids', ...ids)
      return states.split(/\s+/).every((each) => each === state)
    })
  }

  /** Waits until it runs and lets SSH in. */
  async isUp(id: string): Promise<void> {
    await this.areInState('running', id)
    await this.sshAnswers(id)
  }

  /** Ends `hearth up` as Ctrl-C or a service manager does; machines run on. */
  async endUp(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#up?.kill(signal)
    await this.#upEnd
    return this.#up?.exitCode ?? null
  }

  until<T>(what: string, timeoutMs: number, check: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
    return waitFor(systemClock, what, timeoutMs, check, 100)
  }

  async status(): Promise<{ children: Record<string, number | null>; settings: Settings }> {
    const record = JSON.parse(readFileSync(path.join(this.home, 'run', 'up.json'), 'utf8')) as {
      children: Record<string, number | null>
      settings: Settings
    }
    return record
  }

  /** The zone that `launch` launches into; its process runs those guests. */
  get zone(): string {
    return this.#basics?.zone ?? ''
  }

  /** Names of the processes that do what the API decides: the node's agent, and that of each zone. */
  async agents(): Promise<string[]> {
    return Object.keys((await this.status()).children).filter((name) => name !== 'api')
  }

  /** Kills the process of that name, which must live; answers its pid. */
  async kill(name: string): Promise<number> {
    const pid = await this.pidOf(name)
    process.kill(pid, 'SIGKILL')
    return pid
  }

  /** Kills the node's agent and those of all zones. */
  async killAgents(): Promise<void> {
    for (const name of await this.agents()) await this.kill(name)
  }

  /** Waits until another process has taken the place of that one. */
  async isReplaced(name: string, pid: number): Promise<void> {
    await this.until(`another ${name}`, 30_000, async () => (await this.pidOf(name)) !== pid)
  }

  /** Pid of the living process of that name: "api", "agent" (the node's) or a zone. */
  pidOf(name: string): Promise<number> {
    return this.until(`${name} to live`, 30_000, async () => {
      const pid = (await this.status()).children[name]
      return pid !== null && pid !== undefined && isAlive(pid) ? pid : undefined
    })
  }

  answers(): Promise<true> {
    return this.until('the API to answer', 60_000, async () => ((await this.hearthGet()) ? true : undefined))
  }

  /**
   * Has the living process die at `point` when it next gets there; answers its pid. What was begun
   * before is waited for, so that it is the caller's next step that gets there.
   */
  async crashAt(name: string, point: string): Promise<number> {
    await this.answers()
    await this.until('the agents to have nothing to do', 120_000, () => this.dueWork() === 0)
    const order = path.join(this.home, 'run', `crash-${name}`)
    const pid = await this.pidOf(name)
    writeFileSync(order, point)
    process.kill(pid, 'SIGUSR2')
    await this.until('the crash order to be read', 15_000, () => !existsSync(order))
    return pid
  }

  /** How many things agents are to look at within the next seconds. */
  dueWork(): number {
    const database = new Database(homePaths(this.home).database, { readonly: true })
    try {
      return database.prepare('select count(*) from work where due_ms < ?').pluck().get(systemClock.now() + 10_000) as number
    } finally {
      database.close()
    }
  }

  credentials(): { accessKeyId: string; secretAccessKey: string } {
    return JSON.parse(readFileSync(path.join(this.home, 'credentials.json'), 'utf8')) as {
      accessKeyId: string
      secretAccessKey: string
    }
  }

  aws(...args: string[]): Promise<RunResult> {
    const { accessKeyId, secretAccessKey } = this.credentials()
    const env = {
      AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_DEFAULT_REGION: 'us-east-1', AWS_PAGER: '',
    }
    const words = ['--endpoint-url', `http://127.0.0.1:${this.port}`, '--output', 'json', ...args]
    if (python === undefined) return this.run('aws', words, { env })
    this.#awsCli ??= new LoadedAwsCli(['nsenter', `--net=/run/netns/${this.namespace}`], python)
    return this.#awsCli.run(words, env)
  }

  /** The AWS CLI's JSON answer; throws with its message when it failed. */
  async awsJson(...args: string[]): Promise<Record<string, never>> {
    const result = await this.aws(...args)
    if (result.code !== 0) throw new Error(`aws ${args.join(' ')}: ${result.stderr}`)
    return (result.stdout.trim() === '' ? {} : JSON.parse(result.stdout)) as Record<string, never>
  }

  /** A call of `aws ec2`; answers what `query` picks of it, as text, or throws with its message. */
  async ec2(query: string, ...words: string[]): Promise<string> {
    const result = await this.aws('ec2', ...words, '--output', 'text', '--query', query)
    if (result.code !== 0) throw new Error(`${words.join(' ')}: ${result.stderr}`)
    return result.stdout.trim()
  }

  /** A command in a guest, over SSH with the home's own key. */
  async ssh(id: string, command: string): Promise<string> {
    const result = await this.hearth('ssh', id, '--', command)
    if (result.code !== 0) throw new Error(`ssh ${id} ${command}: ${result.stderr}`)
    return result.stdout.trim()
  }

  /** What a guest's kernel calls its boot: another one after a reboot, the same after a hibernation. */
  bootId(id: string): Promise<string> {
    return this.ssh(id, BOOT_ID)
  }

  /** Waits until a guest answers that said to be in another boot before. Its uptime would not tell: it may be longer than before. */
  async isRebooted(id: string, fromBootId: string): Promise<void> {
    await this.until(`another boot of ${id}`, BOOT_MS, async () => {
      const result = await this.hearth('ssh', id, '--', BOOT_ID)
      return result.code === 0 && result.stdout.trim() !== fromBootId
    })
  }

  /** Seconds a guest has been up; only a reboot or a loss of memory sets it back. */
  async uptime(id: string): Promise<number> {
    return Number((await this.ssh(id, 'cat /proc/uptime')).split(' ')[0])
  }

  /** Waits until SSH at the public address of an instance, told by its id or its name, lets the home's own key in. */
  async sshAnswers(id: string): Promise<void> {
    await this.sshGreets(id)
    await this.until(`SSH of ${id}`, BOOT_MS, async () => (await this.hearth('ssh', id, '--', 'true')).code === 0)
  }

  /**
   * Waits for the first bytes at port 22: while a guest boots, a whole SSH client again and again would take its processor. `where` is
   * `--region NAME` for one of another region than the home region.
   */
  async sshGreets(id: string, timeoutMs = BOOT_MS, where: readonly string[] = []): Promise<void> {
    const filter = id.startsWith('i-') ? `Name=instance-id,Values=${id}` : `Name=tag:Name,Values=${id}`
    let address = ''
    let looks = 0
    await this.until(`a greeting of ${id}`, timeoutMs, async () => {
      // A call of the AWS CLI takes more of the processor than all the rest, and the address mostly stays what it is.
      if (looks++ % LOOKS_PER_ADDRESS === 0 || !/^\d/.test(address)) {
        address = await this.ec2('Reservations[0].Instances[0].PublicIpAddress', 'describe-instances', '--filters', filter, ...where)
      }
      const { stdout } = await this.run('timeout', ['2', 'bash', '-c', `exec 3<>/dev/tcp/${address}/22 && head -c 4 <&3`])
      return stdout === 'SSH-'
    }).catch(async (error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : String(error)} (${looks} looks)\n${await this.#signsOf(id, where)}`, { cause: error })
    })
  }

  /** What of a guest that does not answer may tell why, since nothing is left of it when the test has ended. */
  async #signsOf(id: string, where: readonly string[]): Promise<string> {
    const found = await this.hearth('status', '--json', ...where)
    const console = await this.aws('ec2', 'get-console-output', '--latest', '--instance-id', id, '--output', 'text', ...where)
    const path = await this.hearth('why-not', '127.0.0.1', `${id}:22`, ...where)
    return [found.stdout, console.stdout.slice(-3000) || console.stderr, path.stdout || path.stderr].join('\n')
  }

  /** Pids of this home's QEMU processes, or of one instance's. */
  machines(id = ''): number[] {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('qemu-system') &&
          readlinkSync(`/proc/${pid}/cwd`).startsWith(path.join(this.home, 'instances', id))
      } catch {
        return false
      }
    })
  }

  /** What of this home is left in the kernel. */
  leftovers(): string[] {
    const id = homeIdOf(this.home)
    const namespaces = execFileSync('ip', ['netns', 'list']).toString().split('\n').filter((line) => line.includes(`hearth-${id}`))
    const links = execFileSync('ip', ['-n', this.namespace, '-o', 'link']).toString().split('\n').filter((line) => line.includes(`h${id}`))
    const routes = execFileSync('ip', ['-n', this.namespace, 'route']).toString().split('\n').filter((line) => line.includes('198.1'))
    return [...namespaces, ...links, ...routes, ...this.machines().map((pid) => `qemu ${pid}`)]
  }

  /** Ends everything, whatever state the test left it in. */
  async close(): Promise<void> {
    try {
      this.#awsCli?.close()
      // Guests would take their time to shut down; that they do has tests of its own.
      for (const pid of this.machines()) process.kill(pid, 'SIGKILL')
      await this.hearth('down')
      if (this.#up && this.#up.exitCode === null && this.#up.signalCode === null) await this.endUp()
    } finally {
      execFileSync('ip', ['netns', 'del', this.namespace])
      rmSync(this.home, { recursive: true, force: true })
    }
  }

  async hearthGet(): Promise<boolean> {
    const result = await this.run('bash', ['-c', `exec 3<>/dev/tcp/127.0.0.1/${this.port} && printf 'GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -c 5 <&3`], { timeoutMs: 5000 })
    return result.stdout.startsWith('HTTP/')
  }
}

export function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] !== 'Z'
  } catch {
    return false
  }
}
