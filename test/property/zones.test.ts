import type { InstanceStateChange, Reservation } from '@aws-sdk/client-ec2'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { moveZone, ZONE_MOVES, zoneStates, zoneStatus, type ZoneState } from '../../src/model/zone.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { SimulatedCloud } from '../../src/simulate/simulator.ts'
import { checkZones } from '../../src/simulate/zone-calls.ts'
import type { InstanceTable } from '../../src/store/schema.ts'

/** How many histories are drawn, as far as the time allows; more of them: HEARTH_ZONES_RUNS=500. */
const RUNS = Number(process.env.HEARTH_ZONES_RUNS ?? 15)
const TIME_LIMIT_MS = process.env.HEARTH_ZONES_RUNS === undefined ? 12_000 : undefined
/** To play a failure again: what fast-check printed as `seed`. */
const SEED = process.env.HEARTH_ZONES_SEED

const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c']

type End = 'running' | 'stopped' | 'terminated'

interface Instance {
  id: string
  zone: string
  isRecovered: boolean
  /** What its caller was promised that it becomes; more than one where nobody can know. */
  ends: Set<End>
  /** Its machine may have been lost since all was well, and it does not want another one. */
  mayBeLost: boolean
}

/** What callers and a clumsy electrician do in three zones. */
class World {
  readonly cloud: SimulatedCloud
  readonly instances: Instance[] = []

  constructor(cloud: SimulatedCloud) {
    this.cloud = cloud
  }

  async #rows(): Promise<Map<string, InstanceTable>> {
    const rows = await this.cloud.store.read((db) => db.selectFrom('instances').selectAll().execute())
    return new Map(rows.map((row) => [row.instance_id, row]))
  }

  #stateOf(zone: string): Promise<ZoneState> {
    return this.cloud.store.read(async (db) => (await zoneStatus(db, zone)).state)
  }

  async launch(zone: string, options: { isRecovered: boolean; canHibernate: boolean }): Promise<void> {
    const { image_id: ImageId } = await this.cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
    const result = await this.cloud.call('RunInstances', {
      ImageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: zone },
      MaintenanceOptions: { AutoRecovery: options.isRecovered ? 'default' : 'disabled' },
      ...(options.canHibernate ? {
        HibernationOptions: { Configured: true }, BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { Encrypted: true } }],
      } : {}),
    })
    if (result.kind === 'refused') return expect(result.code).toBe('InsufficientInstanceCapacity')
    const known = new Set(this.instances.map(({ id }) => id))
    const ids = result.kind === 'answered'
      ? ((result.output as Reservation).Instances ?? []).map((each) => each.InstanceId ?? '')
      : [...(await this.#rows()).keys()].filter((id) => !known.has(id))
    for (const id of ids) this.instances.push({ id, zone, isRecovered: options.isRecovered, ends: new Set(['running']), mayBeLost: false })
    if (ids.length > 0) expect(await this.#stateOf(zone)).toBe('available')
  }

  async command(action: 'StartInstances' | 'StopInstances' | 'RebootInstances' | 'TerminateInstances', number: number, input: object = {}): Promise<void> {
    const instance = this.instances[number % this.instances.length]
    if (!instance) return
    const result = await this.cloud.call(action, { InstanceIds: [instance.id], ...input })
    const isAvailable = await this.#stateOf(instance.zone) === 'available'
    if (result.kind === 'refused') {
      expect(['IncorrectInstanceState', 'InsufficientInstanceCapacity', 'UnsupportedHibernationConfiguration', 'UnsupportedOperation',
        'InvalidInstanceID.NotFound']).toContain(result.code)
      return
    }
    const row = (await this.#rows()).get(instance.id)
    if (result.kind === 'answered' && action === 'StartInstances' && !isAvailable) {
      const [change] = (result.output as { StartingInstances: InstanceStateChange[] }).StartingInstances
      expect(change?.PreviousState?.Name).not.toBe('stopped')
    }
    // What was done, whoever was told of it, is in the row.
    instance.ends = new Set([endOf(row)])
    if (instance.mayBeLost) this.#lose(instance)
  }

  /** Something befalls a zone; for a while afterwards nothing befalls the machines of others. */
  async move(zone: string, to: ZoneState, ms: number): Promise<void> {
    if (!ZONE_MOVES[await this.#stateOf(zone)].includes(to)) return
    const zones = await this.cloud.store.read(zoneStates)
    const rows = await this.#rows()
    const unaware = this.instances.filter((each) =>
      each.zone !== zone && (zones.get(each.zone)?.state ?? 'available') === 'available' && this.#isUp(rows.get(each.id)))
    const before = unaware.map(({ id }) => [id, this.#processOf(id)?.pid])
    if (to === 'unavailable') for (const each of this.instances) if (each.zone === zone) this.#lose(each)
    await this.cloud.store.transaction('zone', (db) => moveZone({ db, nowMs: this.cloud.clock.now() }, zone, to))
    await this.cloud.clock.advance(ms)
    expect(unaware.map(({ id }) => [id, this.#processOf(id)?.pid])).toEqual(before)
    expect(unaware.filter(({ id }) => this.#processOf(id)?.frozenMs !== undefined)).toEqual([])
    await this.look()
  }

  #processOf(id: string) {
    return this.cloud.host.world.machines.get(id)?.process
  }

  /** Runs, is in its present run of the host, and is not being rebooted. */
  #isUp(row: InstanceTable | undefined): boolean {
    return row?.state === 'running' && row.reboot_requested === row.reboot_completed && this.#processOf(row.instance_id)?.status === 'running' && this.#isSettled
  }

  #isSettled = true

  /** One that does not want to be recovered is stopped by a loss of power, if it ran by then. */
  #lose(instance: Instance): void {
    if (instance.isRecovered || !instance.ends.has('running')) return
    instance.mayBeLost = true
    instance.ends.add('stopped')
  }

  restartHost(): void {
    for (const each of this.instances) this.#lose(each)
    // Machines that are lost with the computer are started again some time later.
    this.#isSettled = false
    this.cloud.restartHost()
  }

  async look(): Promise<void> {
    expect([...await checkAlways(this.cloud), ...await checkZones(this.cloud)]).toEqual([])
  }

  /** Everything is healed: it comes to what was promised, and what runs is well. */
  async healAll(): Promise<void> {
    for (const zone of ZONES) {
      await this.cloud.store.transaction('zone', (db) => moveZone({ db, nowMs: this.cloud.clock.now() }, zone, 'available'))
    }
    await this.cloud.converge()
    await this.look()
    expect(await checkSettled(this.cloud)).toEqual([])
    const rows = await this.#rows()
    for (const each of this.instances) {
      const row = rows.get(each.id)
      if (!row && each.ends.has('terminated')) continue
      expect([...each.ends], `${each.id} in ${each.zone}, with ${row?.doc}`).toContain(row?.state)
      each.ends = new Set([endOf(row)])
      each.mayBeLost = false
      if (row?.state === 'running') expect(this.#processOf(each.id)).toMatchObject({ status: 'running' })
    }
    this.#isSettled = true
  }
}

function endOf(row: InstanceTable | undefined): End {
  switch (row?.state) {
    case 'pending':
    case 'running':
      return 'running'
    case 'stopping':
    case 'stopped':
      return 'stopped'
    default:
      return 'terminated'
  }
}

const zone = fc.constantFrom(...ZONES)
const ms = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 8000 }))
type Step = (world: World) => Promise<void> | void
const named = (name: string, run: Step) => Object.assign(run, { toString: () => name, [fc.toStringMethod]: () => name })

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ zone, isRecovered: fc.constantFrom(true, true, false), canHibernate: fc.boolean() }).map(
    ({ zone: where, ...options }) => named(`launch ${where} ${JSON.stringify(options)}`, (world) => world.launch(where, options))) },
  { weight: 3, arbitrary: fc.record({ which: fc.nat(50), hibernate: fc.boolean() }).map(({ which, hibernate }) =>
    named(`stop ${which}${hibernate ? ' (hibernate)' : ''}`, (world) => world.command('StopInstances', which, hibernate ? { Hibernate: true } : {}))) },
  { weight: 3, arbitrary: fc.nat(50).map((which) => named(`start ${which}`, (world) => world.command('StartInstances', which))) },
  { weight: 2, arbitrary: fc.nat(50).map((which) => named(`reboot ${which}`, (world) => world.command('RebootInstances', which))) },
  { weight: 1, arbitrary: fc.nat(50).map((which) => named(`terminate ${which}`, (world) => world.command('TerminateInstances', which))) },
  { weight: 5, arbitrary: fc.record({ zone, to: fc.constantFrom<ZoneState>('available', 'impaired', 'unavailable'), ms }).map((drawn) =>
    named(`${drawn.zone} becomes ${drawn.to}, ${drawn.ms} ms`, (world) => world.move(drawn.zone, drawn.to, drawn.ms))) },
  { weight: 3, arbitrary: ms.map((passed) => named(`${passed} ms`, async (world) => {
    await world.cloud.clock.advance(passed)
    await world.look()
  })) },
  { weight: 1, arbitrary: fc.constant(named('an agent is killed', (world) => world.cloud.killAgent())) },
  { weight: 1, arbitrary: fc.constant(named('all is healed', (world) => world.healAll())) },
)
const rareRestart = fc.oneof({ weight: 30, arbitrary: step }, { weight: 1, arbitrary: fc.constant(named('the computer is restarted', (world) => world.restartHost())) })

test('whatever befalls a zone, others do not notice, and once it is healed all is as it was promised', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 1_000_000 }), fc.boolean(), fc.array(rareRestart, { minLength: 10, maxLength: 50, size: 'max' }),
      async (seed, mayCrash, steps) => {
        const cloud = await SimulatedCloud.create(seed)
        try {
          cloud.mayCrash = mayCrash
          const world = new World(cloud)
          for (const run of steps) await run(world)
          await world.healAll()
        } finally {
          await cloud.close()
        }
      }),
    {
      numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }),
      ...(TIME_LIMIT_MS === undefined ? {} : { interruptAfterTimeLimit: TIME_LIMIT_MS, markInterruptAsFailure: false }),
    },
  )
}, TIME_LIMIT_MS === undefined ? 3_600_000 : 30_000)
