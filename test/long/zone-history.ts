import { readFileSync } from 'node:fs'
import { expect } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { pick, type Random } from '../../src/core/random.ts'
import type { ZoneView } from '../../src/cli/zones.ts'
import { isAlive, type RealCloud } from '../e2e/real-cloud.ts'

export type State = ZoneView['state']

/** The caller cannot know whether its call came about. */
const UNKNOWN_END = /Could not connect|Connection was closed|Connect timeout|Read timeout|Connection reset|InternalError|ServiceUnavailable/
/** What calls into a zone that has failed are told. */
const ZONE_HAS_FAILED = /\((InsufficientInstanceCapacity|Unavailable)\)/
/** An agent was quicker, or slower: a thing is not in the state that it was seen in, or an image not there yet. Or a snapshot is asked for again too soon. */
const LATE = /\((IncorrectInstanceState|IncorrectState|UnsupportedOperation|InvalidParameterValue|SnapshotCreationPerVolumeRateExceeded|InvalidAMIID\.Unavailable)\)/

const MOVES: Record<State, readonly State[]> = {
  available: ['impaired', 'unavailable'], impaired: ['unavailable', 'available', 'available'], unavailable: ['available'],
}
const VERBS: Record<State, string> = { available: 'heal', impaired: 'impair', unavailable: 'fail' }

/** A guest that nobody but its zone does anything to. */
export interface Resident {
  id: string
  zone: string
  volume: string
  /** Undefined while it has lost its power. */
  pid: number | undefined
}

/** What has happened, with the seconds since it began: to be printed when something was found. */
export class Diary {
  readonly lines: string[] = []
  readonly #begunMs = systemClock.now()

  note(line: string): void {
    this.lines.push(`${((systemClock.now() - this.#begunMs) / 1000).toFixed(1)} ${line}`)
  }
}

/** Three zones, as they were told to be, and calls to the API about them. */
export class ZoneHistory {
  readonly cloud: RealCloud
  readonly diary = new Diary()
  readonly residents: Resident[] = []
  readonly #states: Map<string, State>
  /** Counts begins and ends of changes: odd while one is under way. */
  readonly #changes: Map<string, number>

  constructor(cloud: RealCloud, zones: readonly string[]) {
    this.cloud = cloud
    this.#states = new Map(zones.map((zone) => [zone, 'available']))
    this.#changes = new Map(zones.map((zone) => [zone, 0]))
  }

  stateOf(zone: string): State {
    return this.#states.get(zone) ?? 'available'
  }

  /** What a zone is for the whole time of `body`; undefined where it was changed meanwhile. Of no zone that is named some one is available. */
  async stateDuring<T>(zone: string, body: () => Promise<T>): Promise<{ state: State | undefined; result: T }> {
    const [state, before] = [this.stateOf(zone), this.#changes.get(zone) ?? 0]
    const result = await body()
    return { state: before % 2 === 0 && (this.#changes.get(zone) ?? 0) === before ? state : undefined, result }
  }

  /** What a call that changes nothing answers, asked again while the API is away. */
  ask(query: string, ...words: string[]): Promise<string> {
    return this.cloud.until(words.join(' '), 120_000, async () => {
      const { code, stdout, stderr } = await this.cloud.aws('ec2', ...words, '--output', 'text', '--query', query)
      if (code === 0) return { text: stdout.trim() }
      if (UNKNOWN_END.test(stderr)) return undefined
      throw new Error(`${words.join(' ')}: ${stderr}`)
    }).then(({ text }) => text)
  }

  /**
   * A call about something in `zone`, repeated until its end is known.
   *
   * @param done what a repeated call is told when the one before it came about.
   * @returns the answer, or 'refused': because the zone has failed, or by an agent that was quicker.
   */
  async call(zone: string, { done, refusedInFailed }: { done?: RegExp; refusedInFailed: boolean }, query: string, ...words: string[]): Promise<{ text: string } | 'refused'> {
    const { state, result } = await this.stateDuring(zone, () => this.cloud.until(words.join(' '), 120_000, async () => {
      const { code, stdout, stderr } = await this.cloud.aws('ec2', ...words, '--output', 'text', '--query', query)
      if (code === 0) return { text: stdout.trim() }
      if (done?.test(stderr)) return { text: '' }
      if (ZONE_HAS_FAILED.test(stderr)) return { failed: stderr }
      if (UNKNOWN_END.test(stderr)) return undefined
      if (LATE.test(stderr)) return 'refused'
      throw new Error(`${words.join(' ')}: ${stderr}`)
    }))
    const what = words.join(' ')
    const isRefused = result === 'refused' || 'failed' in result
    this.diary.note(`${isRefused ? 'refused' : 'done'}: ${what} (${zone} ${state ?? 'changing'})`)
    if (result !== 'refused' && 'failed' in result) {
      expect(state, `${what} was refused: ${result.failed}`).not.toBe('available')
      return 'refused'
    }
    if (result === 'refused') return 'refused'
    if (refusedInFailed) expect(['available', undefined], `${what} was not refused`).toContain(state)
    return result
  }

  /** Has a zone fail, become impaired or heal, whatever is legal, and looks at what is to be seen of that. */
  async befall(random: Random, zone: string): Promise<void> {
    const to = pick(random, MOVES[this.stateOf(zone)])
    const how = pick(random, ['waits', 'waits', 'does not wait', 'twice at once'])
    await this.look()
    await this.#change(zone, to, how)
    await this.look()
  }

  async heal(zone: string): Promise<void> {
    if (this.stateOf(zone) !== 'available') await this.#change(zone, 'available', 'waits')
  }

  async #change(zone: string, to: State, how: string): Promise<void> {
    this.diary.note(`${zone} becomes ${to}, ${how}`)
    const words = ['zone', VERBS[to], zone, ...(how === 'does not wait' ? ['--no-wait'] : [])]
    const from = this.stateOf(zone)
    this.#count(zone)
    const ends = await Promise.all(Array.from({ length: how === 'twice at once' ? 2 : 1 }, () => this.cloud.hearth(...words)))
    this.#states.set(zone, to)
    this.#count(zone)
    for (const { code, stdout, stderr } of ends) {
      this.diary.note(`hearth ${words.join(' ')}: ${code} ${(stdout + stderr).trim().replaceAll('\n', ' / ')}`)
      expect(code, `${words.join(' ')}: ${stderr}`).toBe(0)
    }
    if (how === 'does not wait') await this.cloud.until(`${zone} to be ${to} in force`, 120_000, async () => (await this.#view(zone)).isInForce)
    await this.#meet(zone, { from, to })
  }

  #count(zone: string): void {
    this.#changes.set(zone, (this.#changes.get(zone) ?? 0) + 1)
  }

  async #view(zone: string): Promise<ZoneView> {
    const { zones } = JSON.parse((await this.cloud.hearth('zone', 'list', '--json')).stdout) as { zones: ZoneView[] }
    const found = zones.find((each) => each.zone === zone)
    if (!found) throw new Error(`no ${zone} in hearth zone list`)
    return found
  }

  /** The residents' processes: gone, or others, only where the power was cut. */
  async #meet(zone: string, { from, to }: { from: State; to: State }): Promise<void> {
    for (const resident of this.residents.filter((each) => each.zone === zone)) {
      if (to === 'unavailable') resident.pid = undefined
      if (to !== 'available' || from !== 'unavailable') continue
      await this.cloud.until(`${resident.id} to be started again`, 120_000, async () => (await this.#view(zone)).instances.running.includes(resident.id))
      resident.pid = this.cloud.machines(resident.id)[0]
      expect(resident.pid).toBeDefined()
    }
  }

  /** What holds at every moment between two changes, whatever callers do and whoever is killed. */
  async look(): Promise<void> {
    const zones = [...this.#states.keys()]
    expect(this.residents.map(({ id }) => this.cloud.machines(id))).toEqual(this.residents.map(({ pid }) => (pid === undefined ? [] : [pid])))
    const inside = await this.ask('Reservations[].Instances[].[InstanceId,Placement.AvailabilityZone]', 'describe-instances')
    for (const [id = '', zone = ''] of inside.split('\n').map((line) => line.split('\t'))) {
      const modes = this.cloud.machines(id).map(processModeOf)
      if (this.stateOf(zone) === 'unavailable') expect([id, zone, modes]).toEqual([id, zone, []])
      if (this.stateOf(zone) === 'impaired') expect([id, zone, modes.filter((mode) => mode !== 'T')]).toEqual([id, zone, []])
    }
    expect((await this.ask('AvailabilityZones[].State', 'describe-availability-zones')).split('\t')).toEqual(zones.map((zone) => this.stateOf(zone)))
    for (const resident of this.residents) await this.#lookAt(resident)
  }

  async #lookAt({ id, zone, volume }: Resident): Promise<void> {
    const query = 'InstanceStatuses[0].[InstanceState.Name,SystemStatus.Status,InstanceStatus.Status,AttachedEbsStatus.Status]'
    const statuses = (await this.ask(query, 'describe-instance-status', '--instance-ids', id)).split('\t')
    const volumes = await this.ask('VolumeStatuses[0].VolumeStatus.Status', 'describe-volume-status', '--volume-ids', volume)
    if (this.stateOf(zone) !== 'available') {
      expect([id, zone, ...statuses, volumes]).toEqual([id, zone, 'running', 'impaired', 'impaired', 'impaired', 'impaired'])
    } else {
      expect([id, zone, statuses[0], volumes]).toEqual([id, zone, 'running', 'ok'])
      expect([id, statuses.includes('impaired')]).toEqual([id, false])
    }
  }

  /** Kills one of these processes, some time within `withinMs`. */
  async killOne(random: Random, names: readonly string[], withinMs: number): Promise<void> {
    const name = pick(random, names)
    await systemClock.sleep(random.int(withinMs))
    const pid = await this.cloud.pidOf(name)
    if (!isAlive(pid)) return
    this.diary.note(`${name} is killed`)
    process.kill(pid, 'SIGKILL')
    await this.cloud.isReplaced(name, pid)
  }
}

/** "T" of a process that stands still, as `ps` shows it; '' of one that has ended meanwhile. */
function processModeOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] ?? ''
  } catch {
    return 'T'
  }
}
