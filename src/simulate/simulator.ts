import { ApiError, CrashError, messageOf } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { parseCidr } from '../core/cidr.ts'
import { withCrashPoints, type CrashPoints } from '../core/crash-points.ts'
import { pick, seededRandom, type Random } from '../core/random.ts'
import { VirtualClock } from '../core/virtual-clock.ts'
import { createDispatch } from '../dispatch.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from '../model/account.ts'
import type { ApiCall, Dispatch } from '../protocol/server.ts'
import { zonesOf } from '../model/zone.ts'
import { retireHosts } from '../model/zone-hosts.ts'
import { Regions } from '../regions.ts'
import { readSettings, type Settings } from '../settings.ts'
import { sharesOf, type HostShare } from '../registration.ts'
import { createSimAgent, createSimHost, SIM_NODE_ID, type SimAgent, type SimDelays, type SimHost } from '../sim-host.ts'
import { withCommitCrashPoints } from '../store/crash-points.ts'
import type { ServiceName } from '../protocol/model.ts'
import { openSqlite } from '../store/sqlite.ts'
import type { Store } from '../store/store.ts'
import { createSimImports } from './import-calls.ts'
import { countCalls } from './count-calls.ts'

/** Zones small enough that launches sometimes find no room, of hosts that are full before their zone is. */
const CAPACITY = { cpus: 2, memoryMib: 8192, guestLimits: { vcpus: 2, memoryMib: 2048 } }
const HOSTS_PER_ZONE = 2

const DELAYS: SimDelays = {
  guest: { bootMs: [100, 3000], shutdownMs: [0, 5000], unplugMs: [0, 2000], streamMs: [0, 5000] },
  hypervisor: { startMs: [0, 900], stopMs: [0, 80], saveMs: [0, 2500], loadMs: [0, 400] },
  volumes: { createMs: [0, 200], deleteMs: [0, 80], importMs: [0, 100] },
  network: { syncMs: [0, 120] },
}

/** Small enough that it is used up now and then. */
const PUBLIC_POOL = parseCidr('198.18.0.0/24') ?? { base: 0, prefix: 0 }

/** How likely a process dies at one of its crash points, while crashes are on. */
const CRASH_PROBABILITY = 0.01

/** An agent that died comes back after at most this long. */
const RESTART_WITHIN_MS = 3000

/** Rarer than EC2 checks, since hours pass that nothing else happens in; a machine that hangs is replaced in time all the same. */
const CHECK_INTERVAL_MS = 4 * 60 * 1000

/** Virtual time in which everything asked for must have come about. */
const CONVERGE_WITHIN_MS = 30 * 60 * 1000

/** A process that may die at any of its crash points, and does nothing after. */
class MortalProcess implements CrashPoints {
  isAlive = true
  readonly #random: Random
  readonly #mayCrash: () => boolean

  constructor(random: Random, mayCrash: () => boolean) {
    this.#random = random
    this.#mayCrash = mayCrash
  }

  hit(point: string): void {
    if (this.isAlive && this.#mayCrash() && this.#random.next() < CRASH_PROBABILITY) this.isAlive = false
    if (!this.isAlive) throw new CrashError(point)
  }
}

/** How a call ended: acknowledged, refused with an error of EC2, or unknown because the api died. */
export type CallResult =
  | { kind: 'answered'; output: object }
  | { kind: 'refused'; code: string }
  | { kind: 'unknown' }

/** An agent as it runs now, which dies apart from the others. */
interface RunningAgent extends SimAgent {
  process: MortalProcess
  isStarted: boolean
}

/** One cloud on virtual time: api, agents and hosts in this process, every choice drawn from one seed. */
export class SimulatedCloud {
  readonly random: Random
  readonly clock: VirtualClock
  readonly settings: Settings
  readonly store: Store
  readonly host: SimHost
  /** Deaths so far, for the report. */
  crashes = 0
  mayCrash = false
  #shares: HostShare[]
  /** By the id of its host; none for one that is dead. */
  readonly #agents = new Map<string, RunningAgent>()
  readonly #settled: () => Promise<void>
  readonly #checkIntervalMs: number

  private constructor(seed: number, opened: Store, checkIntervalMs: number) {
    this.#checkIntervalMs = checkIntervalMs
    const { store, settled } = countCalls(opened)
    this.#settled = settled
    this.random = seededRandom(seed)
    this.clock = new VirtualClock(this.random, undefined, settled)
    this.settings = readSettings({ engine: 'sim', home: '/simulated', overcommitVcpus: 4, overcommitMemory: 2, hostsPerZone: HOSTS_PER_ZONE }, {})
    const { node, hosts } = sharesOf(SIM_NODE_ID, this.settings)
    this.#shares = [node, ...hosts]
    this.store = store
    this.host = createSimHost(this, DELAYS)
  }

  /** Over an empty store: SQLite in memory unless another is given, which is closed with the cloud. */
  static async create(seed: number, store?: Store, { checkIntervalMs = CHECK_INTERVAL_MS } = {}): Promise<SimulatedCloud> {
    const cloud = new SimulatedCloud(seed, store ?? (await openSqlite({ file: ':memory:', durability: 'normal' })), checkIntervalMs)
    const ambient = { clock: cloud.clock, random: cloud.random, zones: zonesOf(cloud.settings) }
    await cloud.store.transaction('setup', (db) => ensureAccount(db, ambient, { accountId: DEFAULT_ACCOUNT, name: 'default' }))
    for (const share of cloud.#shares) cloud.#startAgent(share)
    await cloud.converge()
    return cloud
  }

  #startAgent(share: HostShare): void {
    const process = new MortalProcess(this.random, () => this.mayCrash)
    const fail = (error: unknown) => {
      if (!(error instanceof CrashError)) throw error
      this.#kill(running)
    }
    const made = createSimAgent({
      settings: this.settings, store: withCommitCrashPoints(this.store, process), clock: this.clock, random: this.random,
      log: silentLogger, host: this.host, share, delays: DELAYS, capacity: CAPACITY,
      imports: createSimImports(this.random), publicPool: PUBLIC_POOL, checkIntervalMs: this.#checkIntervalMs,
      wrap: (name, driver) => withCrashPoints(name, driver, process),
      onFatal: fail,
    })
    const running: RunningAgent = { ...made, process, isStarted: false }
    this.#agents.set(share.hostId, running)
    running.agent.start().then(() => void (running.isStarted = true)).catch(fail)
  }

  #kill(running: RunningAgent): void {
    const share = this.#shares.find((each) => this.#agents.get(each.hostId) === running)
    if (!share) return
    this.#agents.delete(share.hostId)
    this.crashes += 1
    end(running)
    this.clock.after(this.random.int(RESTART_WITHIN_MS), () => {
      if (this.#shares.includes(share)) this.#startAgent(share)
    })
  }

  /** `hearth up --hosts-per-zone`: all agents end, and those of so many hosts begin; machines run on meanwhile. */
  async divide(hostsPerZone: number): Promise<void> {
    const before = [...this.#agents.values()]
    const { node, hosts } = sharesOf(SIM_NODE_ID, { ...this.settings, hostsPerZone })
    this.#shares = [node, ...hosts]
    this.#agents.clear()
    for (const running of before) end(running)
    await this.store.transaction('divide', (db) => retireHosts(db, SIM_NODE_ID, hosts.map(({ hostId }) => hostId)))
    for (const share of this.#shares) this.#startAgent(share)
  }

  /** kill -9 of one of the agents, now; it is started again a while later. */
  killAgent(): void {
    const running = this.#agents.get(pick(this.random, this.#shares).hostId)
    if (running) this.#kill(running)
  }

  /** A power cut: everything that runs on the computer ends, the agents too, which are started again with it. */
  restartHost(): void {
    for (const running of this.#agents.values()) this.#kill(running)
    this.host.restart()
  }

  /** One call to an api that may die before or after its commit, and is back for the next call. */
  async call(action: string, input: object, service: ServiceName = 'ec2'): Promise<CallResult> {
    const own = new MortalProcess(this.random, () => this.mayCrash)
    const { clock, random } = this
    const home = {
      store: withCommitCrashPoints(this.store, own), region: this.settings.region, zones: zonesOf(this.settings),
      publicPool: PUBLIC_POOL,
    }
    const dispatch: Dispatch = createDispatch({
      regions: new Regions(home, [], { clock, random }), clock, random, placement: this.settings.placement,
    })
    const call: ApiCall = {
      service, action, input, account: DEFAULT_ACCOUNT, accessKeyId: null, region: null, requestId: 'simulated',
    }
    const end: { result?: CallResult; failure?: unknown } = {}
    const pending = dispatch(call).then(
      (output) => {
        end.result = { kind: 'answered', output }
      },
      (error: unknown) => {
        if (error instanceof ApiError) end.result = { kind: 'refused', code: error.code }
        else if (error instanceof CrashError) end.result = { kind: 'unknown' }
        else end.failure = error
      },
    )
    await this.#settled()
    while (!end.result && end.failure === undefined && this.clock.step()) await this.#settled()
    await pending
    const { result, failure } = end
    if (failure !== undefined) throw new Error(`${action} failed inside: ${messageOf(failure)}`, { cause: failure })
    if (result?.kind === 'unknown') this.crashes += 1
    return result ?? { kind: 'unknown' }
  }

  /** Runs until everything asked for has come about, without further crashes. */
  async converge(): Promise<void> {
    const mayCrash = this.mayCrash
    this.mayCrash = false
    const deadlineMs = this.clock.now() + CONVERGE_WITHIN_MS
    while (!(await this.isSettled())) {
      if (this.clock.now() > deadlineMs) throw new Error(`nothing settles: ${JSON.stringify([await this.#openWork(), await this.#unsettled()])}`)
      await this.clock.advance(500)
    }
    this.mayCrash = mayCrash
  }

  /** All agents live, and no work is due within the next seconds. */
  async isSettled(): Promise<boolean> {
    if (!this.#shares.every(({ hostId }) => this.#agents.get(hostId)?.isStarted)) return false
    // It takes the status checks some minutes to be sure of that.
    if ([...this.host.world.machines.values()].some(({ process }) => process?.hangs === 'process')) return false
    return (await this.#unsettled()).length === 0 && (await this.#openWork()).length === 0
  }

  /** Instances that are on their way to another state. */
  #unsettled() {
    return this.store.read((db) => db
      .selectFrom('instances').select(['instance_id', 'state', 'host_id', 'lifecycle', 'doc']).where('state', 'in', ['pending', 'stopping', 'shutting-down']).execute())
  }

  async #openWork() {
    const rows = await this.store.read((db) => db.selectFrom('work').selectAll().execute())
    // The market looks again and again while somebody waits.
    return rows.filter((row) => row.due_ms <= this.clock.now() + (row.kind === 'market' ? 0 : 10_000))
  }

  async close(): Promise<void> {
    for (const running of this.#agents.values()) end(running)
    await this.store.close()
  }
}

function end({ process, agent, closeDrivers }: RunningAgent): void {
  process.isAlive = false
  agent.abandon()
  closeDrivers()
}
