import type { InstanceStateChange, Reservation } from '@aws-sdk/client-ec2'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { instanceDoc } from '../../src/model/instance.ts'
import { SimulatedCloud, type CallResult } from '../../src/simulate/simulator.ts'
import {
  CODES, noteDone, noteDown, noteSeen, noteSettled, noteUnknown, outcome, reachable, RETENTION_MS, type Flags, type Instance,
  type State, type Verb,
} from './lifecycle-model.ts'

/** How many histories are drawn, as far as the time allows; more of them: HEARTH_LIFECYCLE_RUNS=1000. */
const RUNS = Number(process.env.HEARTH_LIFECYCLE_RUNS ?? 25)
const TIME_LIMIT_MS = process.env.HEARTH_LIFECYCLE_RUNS === undefined ? 15_000 : undefined
/** To play a failure again: what fast-check printed as `seed`. */
const SEED = process.env.HEARTH_LIFECYCLE_SEED

/** What the host of a simulated cloud has room for. */
const MOST_INSTANCES = 6
const UNKNOWN_ID = 'i-00000000000000000'
const ZONES = ['us-east-1a', 'us-east-1b']

interface Model {
  instances: Instance[]
}

/** Everything that the user of a cloud and its machines do, and what the model makes of it. */
class World {
  readonly cloud: SimulatedCloud
  readonly model: Model

  constructor(cloud: SimulatedCloud, model: Model) {
    this.cloud = cloud
    this.model = model
  }

  get #nowMs(): number {
    return this.cloud.clock.now()
  }

  async #rows() {
    const rows = await this.cloud.store.read((db) => db.selectFrom('instances').selectAll().execute())
    return new Map(rows.map((row) => [row.instance_id, { ...row, parsed: instanceDoc(row) }]))
  }

  /** Compares what there is with what there may be. */
  async look(): Promise<void> {
    const rows = await this.#rows()
    const problems = [...this.cloud.host.world.harm]
    for (const instance of this.model.instances) {
      const row = rows.get(instance.id)
      if (row) problems.push(...noteSeen(instance, row.state, this.#nowMs))
      else if (this.#nowMs < instance.aliveMs + RETENTION_MS) problems.push(`${instance.id} is forgotten too early`)
    }
    this.model.instances = this.model.instances.filter((each) => rows.has(each.id))
    expect(problems).toEqual([])
  }

  async launch(options: Pick<Instance, 'behavior' | 'isConfigured' | 'noStop' | 'noTerminate' | 'zone'>): Promise<void> {
    const { store } = this.cloud
    const { image_id: ImageId } = await store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
    const result = await this.cloud.call('RunInstances', {
      ImageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: options.zone },
      InstanceInitiatedShutdownBehavior: options.behavior,
      DisableApiStop: options.noStop, DisableApiTermination: options.noTerminate,
      HibernationOptions: { Configured: options.isConfigured },
      BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { Encrypted: options.isConfigured } }],
    })
    if (result.kind === 'refused') throw new Error(`a launch was refused with ${result.code}`)
    const known = new Set(this.model.instances.map((each) => each.id))
    const launched = result.kind === 'answered'
      ? ((result.output as Reservation).Instances ?? []).map((each) => ({ id: each.InstanceId ?? '', state: each.State?.Name }))
      // The answer is lost, and what it would have told is found out.
      : [...await this.#rows()].filter(([id]) => !known.has(id)).map(([id]) => ({ id, state: 'pending' }))
    for (const { id, state } of launched) {
      expect(state).toBe('pending')
      this.model.instances.push({
        ...options, id, type: 't3.micro', state: 'pending', ends: new Set(['running']), down: new Set(), isRebooting: false,
        counter: 0, hibernates: 'no', reason: { code: undefined, transition: '' }, aliveMs: this.#nowMs, terminatedMs: undefined,
      })
    }
  }

  async command(verb: Verb, chosen: Instance[], flags: Flags): Promise<void> {
    await this.look()
    const instances = chosen.filter((each) => this.model.instances.includes(each))
    if (instances.length === 0) return
    const atMs = this.#nowMs
    const result = await this.cloud.call(ACTIONS[verb].action, {
      InstanceIds: instances.map((each) => each.id),
      ...(flags.force && verb !== 'start' && verb !== 'reboot' ? { Force: true } : {}),
      ...(flags.skipOsShutdown && verb !== 'start' && verb !== 'reboot' ? { SkipOsShutdown: true } : {}),
      ...(flags.hibernate && verb === 'stop' ? { Hibernate: true } : {}),
    })
    const asked: Flags = { ...flags, hibernate: flags.hibernate === true && verb === 'stop' }
    if (result.kind === 'unknown') await this.#forgetAnswer(instances, verb, asked)
    else if (result.kind === 'refused') this.#checkRefused(instances, verb, { asked, code: result.code })
    else this.#checkDone(instances, verb, result, { flags: asked, atMs })
    if (verb === 'terminate' && result.kind === 'refused') await this.#noteSpared(instances, { flags: asked, atMs })
    await this.look()
  }

  #checkRefused(instances: Instance[], verb: Verb, { asked, code }: { asked: Flags; code: string }): void {
    const expected = instances.flatMap((each) => [...reachable(each)].map((state) => outcome(each, verb, state, asked)))
      .flatMap((each) => ('code' in each ? [each.code] : []))
    if (verb === 'stop' && asked.force && asked.hibernate) expected.push('InvalidParameterCombination')
    expect(expected).toContain(code)
  }

  #checkDone(
    instances: Instance[],
    verb: Verb,
    { output }: Extract<CallResult, { kind: 'answered' }>,
    call: { flags: Flags; atMs: number },
  ): void {
    expect(verb === 'stop' && call.flags.force && call.flags.hibernate).not.toBe(true)
    const { list } = ACTIONS[verb]
    const changes = list ? (output as Record<string, InstanceStateChange[]>)[list] ?? [] : []
    if (list) expect(changes.map((each) => each.InstanceId)).toEqual(instances.map((each) => each.id))
    for (const [index, instance] of instances.entries()) {
      const from = list ? changes[index]?.PreviousState?.Name as State : instance.state
      expect([...reachable(instance)]).toContain(from)
      const answer = outcome(instance, verb, from, call.flags)
      if ('code' in answer) throw new Error(`${instance.id}: ${verb} in ${from} should fail with ${answer.code}`)
      if (list) {
        expect(changes[index]).toEqual({
          InstanceId: instance.id, PreviousState: { Code: CODES[from], Name: from },
          CurrentState: { Code: CODES[answer.to], Name: answer.to },
        })
      }
      noteDone(instance, verb, from, answer.to, call)
    }
  }

  /** A protected instance spares those of its zone; the others are terminated although the call fails. */
  async #noteSpared(instances: Instance[], call: { flags: Flags; atMs: number }): Promise<void> {
    const guarded = new Set(instances
      .filter((each) => 'code' in outcome(each, 'terminate', each.state, call.flags)).map((each) => each.zone))
    const rows = await this.#rows()
    for (const instance of instances.filter((each) => !guarded.has(each.zone))) {
      const state = rows.get(instance.id)?.state
      expect(['shutting-down', 'terminated']).toContain(state)
      noteDone(instance, 'terminate', instance.state, instance.state === 'terminated' ? 'terminated' : 'shutting-down', call)
    }
  }

  /** It was done, or not: what is seen now tells as much as there is to know. */
  async #forgetAnswer(instances: Instance[], verb: Verb, flags: Flags): Promise<void> {
    const rows = await this.#rows()
    for (const instance of instances) {
      const befores = [...reachable(instance)]
      const afters = befores.map((state) => outcome(instance, verb, state, flags))
        .flatMap((each) => ('to' in each ? [each.to] : []))
      noteUnknown(instance, verb, flags)
      const state = rows.get(instance.id)?.state ?? 'terminated'
      const allowed = [...befores, ...afters.flatMap((after) => [...reachable(instance, after)])]
      expect(allowed).toContain(state)
      instance.state = state
    }
  }

  /** One bad id, or a dry run: nothing is done. */
  async futile(verb: Verb, chosen: Instance[], how: 'unknown id' | 'dry run'): Promise<void> {
    await this.look()
    const instances = chosen.filter((each) => this.model.instances.includes(each))
    const ids = instances.map((each) => each.id)
    const result = await this.cloud.call(ACTIONS[verb].action, how === 'dry run'
      ? { InstanceIds: ids, DryRun: true } : { InstanceIds: [...ids, UNKNOWN_ID] })
    if (result.kind === 'answered') throw new Error(`${verb} with ${how} was answered`)
    if (result.kind === 'refused') {
      const errors = instances.flatMap((each) => [...reachable(each)].map((state) => outcome(each, verb, state, {})))
        .flatMap((each) => ('code' in each ? [each.code] : []))
      expect(how === 'dry run' ? ['DryRunOperation', ...errors, ...(ids.length === 0 ? ['MissingParameter'] : [])]
        : ['InvalidInstanceID.NotFound']).toContain(result.code)
    }
    await this.look()
  }

  async protect(instance: Instance, change: Partial<Pick<Instance, 'noStop' | 'noTerminate'>>): Promise<void> {
    const [name, Value] = change.noStop === undefined
      ? ['DisableApiTermination', change.noTerminate] : ['DisableApiStop', change.noStop]
    const result = await this.#modify(instance, { [name]: { Value } }, (state) =>
      (state === 'shutting-down' || state === 'terminated' ? ['IncorrectInstanceState'] : ['done']))
    if (result === 'answered') Object.assign(instance, change)
    if (result !== 'unknown') return
    const options = (await this.#rows()).get(instance.id)?.parsed.options
    Object.assign(instance, { noStop: options?.disableApiStop, noTerminate: options?.disableApiTermination })
  }

  async changeType(instance: Instance, type: string): Promise<void> {
    const result = await this.#modify(instance, { InstanceType: { Value: type } }, (state) => {
      if (state !== 'stopped') return ['IncorrectInstanceState']
      if (instance.hibernates === 'no') return ['done']
      return instance.hibernates === 'yes' ? ['UnsupportedOperation'] : ['done', 'UnsupportedOperation']
    })
    if (result === 'answered') instance.type = type
    if (result === 'unknown') instance.type = (await this.#rows()).get(instance.id)?.instance_type ?? type
  }

  async #modify(instance: Instance, change: object, expected: (state: State) => string[]): Promise<CallResult['kind']> {
    await this.look()
    if (!this.model.instances.includes(instance)) return 'refused'
    const outcomes = [...reachable(instance)].flatMap(expected)
    const result = await this.cloud.call('ModifyInstanceAttribute', { InstanceId: instance.id, ...change })
    if (result.kind !== 'unknown') expect(outcomes).toContain(result.kind === 'refused' ? result.code : 'done')
    return result.kind
  }

  /** The guest keeps something in its memory. */
  compute(instance: Instance): void {
    const isUp = this.cloud.host.world.guestComputes(instance.id)
    if (isUp && instance.counter !== undefined) instance.counter += 1
  }

  /** It is hibernated and started again, after a time or when all has settled. */
  async nap(instance: Instance, ms: number | null): Promise<void> {
    await this.command('stop', [instance], { hibernate: true })
    await (ms === null ? this.settle() : this.cloud.clock.advance(ms))
    await this.command('start', [instance], {})
  }

  goDown(instance: Instance, cause: 'guest' | 'process'): void {
    const { world } = this.cloud.host
    const process = world.machines.get(instance.id)?.process
    if (!process || (cause === 'guest' && process.status !== 'running')) return
    noteDown(instance, cause)
    if (cause === 'guest') world.guestPowersOff(instance.id)
    else world.processDies(instance.id)
  }

  async settle(): Promise<void> {
    await this.look()
    await this.cloud.converge()
    const rows = await this.#rows()
    const problems = [...this.cloud.host.world.harm]
    for (const instance of this.model.instances) {
      const row = rows.get(instance.id)
      if (!row) {
        if (!instance.ends.has('terminated')) problems.push(`${instance.id} is lost`)
        continue
      }
      const { hibernates, reason } = instance
      problems.push(...noteSettled(instance, row.state, this.#nowMs))
      const since = instance.terminatedMs
      if (since !== undefined && this.#nowMs > since + RETENTION_MS + 60_000) problems.push(`${instance.id} is not forgotten`)
      if (row.instance_type !== instance.type) problems.push(`${instance.id} is a ${row.instance_type}, not a ${instance.type}`)
      const { stateReason, stateTransitionReason, memory } = row.parsed
      if (reason && (stateReason?.code !== reason.code || stateTransitionReason !== reason.transition)) {
        problems.push(
          `${instance.id} is ${row.state} for ${stateReason?.code} (${stateTransitionReason}), not ${reason.code} (${reason.transition})`,
        )
      }
      const isKept = row.state === 'stopped' && memory?.state === 'saved'
      if (row.state === 'stopped' && hibernates !== 'maybe' && isKept !== (hibernates === 'yes')) {
        problems.push(`${instance.id} ${isKept ? 'keeps' : 'has not kept'} its memory`)
      }
      if (row.state === 'stopped') instance.hibernates = isKept ? 'yes' : 'no'
      problems.push(...this.#checkCounter(instance, row.state))
    }
    this.model.instances = this.model.instances.filter((each) => rows.has(each.id))
    expect(problems).toEqual([])
  }

  /** A guest that goes on has what it had; from here on what it has is known again. */
  #checkCounter(instance: Instance, state: State): string[] {
    if (state !== 'running') return []
    const found = this.cloud.host.world.machines.get(instance.id)?.process?.memory.counter
    const wanted = instance.counter
    instance.counter = found
    return wanted === undefined || wanted === found ? [] : [`${instance.id} counts ${found}, and had counted ${wanted}`]
  }
}

const ACTIONS: Record<Verb, { action: string; list: string | undefined }> = {
  start: { action: 'StartInstances', list: 'StartingInstances' }, stop: { action: 'StopInstances', list: 'StoppingInstances' },
  reboot: { action: 'RebootInstances', list: undefined }, terminate: { action: 'TerminateInstances', list: 'TerminatingInstances' },
}

type Step = fc.AsyncCommand<Model, World>

/** A step that shows its name and what was drawn for it. */
function step(name: string, drawn: unknown, run: (world: World) => Promise<void> | void, check: (model: Model) => boolean = hasSome): Step {
  return {
    check: (model) => check(model), run: async (_model, world) => run(world), toString: () => `${name}(${JSON.stringify(drawn)})`,
  }
}

const hasSome = (model: Model) => model.instances.length > 0
const hasRoom = (model: Model) => model.instances.filter((each) => each.state !== 'terminated').length < MOST_INSTANCES

/** One or more of those that there are, the same numbers always meaning the same. */
function choose({ instances }: Model, numbers: number[]): Instance[] {
  const chosen = numbers.flatMap((number) => instances[number % instances.length] ?? [])
  return [...new Set(chosen)]
}

const few = fc.oneof({ weight: 3, arbitrary: fc.array(fc.nat(), { minLength: 1, maxLength: 1 }) },
  { weight: 1, arbitrary: fc.array(fc.nat(), { minLength: 2, maxLength: 3 }) })
const rarely = fc.integer({ min: 1, max: 6 }).map((n) => n === 1)
const verbs = fc.constantFrom<Verb>('start', 'start', 'stop', 'stop', 'reboot', 'terminate')
const flags = fc.record<Flags>({ force: rarely, skipOsShutdown: rarely, hibernate: fc.boolean() })

const steps = fc.commands<Model, World, false>([
  fc.record({
    behavior: fc.constantFrom<Instance['behavior']>('stop', 'terminate'), isConfigured: fc.constantFrom(true, true, false), noStop: rarely,
    noTerminate: rarely, zone: fc.constantFrom(...ZONES),
  }).map((options) => step('launch', options, (world) => world.launch(options), hasRoom)),
  ...Array.from({ length: 5 }, () => fc.record({ verb: verbs, few, flags }).map((drawn) =>
    step('command', drawn, (world) => world.command(drawn.verb, choose(world.model, drawn.few), drawn.flags)))),
  fc.record({ verb: verbs, few, how: fc.constantFrom('unknown id' as const, 'dry run' as const) }).map((drawn) =>
    step('futile', drawn, (world) => world.futile(drawn.verb, choose(world.model, drawn.few), drawn.how))),
  fc.record({ which: fc.nat(), name: fc.constantFrom('noStop', 'noTerminate'), value: rarely }).map((drawn) =>
    step('protect', drawn, (world) => ofOne(world, drawn.which, (each) => world.protect(each, { [drawn.name]: drawn.value })))),
  fc.record({ which: fc.nat(), type: fc.constantFrom('t3.micro', 't3.small') }).map((drawn) =>
    step('changeType', drawn, (world) => ofOne(world, drawn.which, (each) => world.changeType(each, drawn.type)))),
  fc.record({ which: fc.nat(), ms: fc.option(fc.integer({ min: 0, max: 3000 })) }).map((drawn) =>
    step('nap', drawn, (world) => ofOne(world, drawn.which, (each) => world.nap(each, drawn.ms)))),
  fc.nat().map((which) => step('compute', which, (world) => ofOne(world, which, (each) => world.compute(each)))),
  fc.record({ which: fc.nat(), cause: fc.constantFrom('guest' as const, 'process' as const) }).map((drawn) =>
    step('goDown', drawn, (world) => ofOne(world, drawn.which, (each) => world.goDown(each, drawn.cause)))),
  ...Array.from({ length: 2 }, () => fc.integer({ min: 1, max: 4000 }).map((ms) =>
    step('pass', ms, async (world) => {
      await world.cloud.clock.advance(ms)
      await world.look()
    }))),
  rarely.map((isHour) => step('settle', isHour, async (world) => {
    if (isHour) await world.cloud.clock.advance(RETENTION_MS + 120_000)
    await world.settle()
  })),
  fc.constant(step('killAgent', null, (world) => world.cloud.killAgent())),
], { maxCommands: 60, size: 'max' })

async function ofOne(world: World, which: number, run: (instance: Instance) => Promise<void> | void): Promise<void> {
  const [instance] = choose(world.model, [which])
  if (instance) await run(instance)
}

test('every history of calls, guests and crashes is one that EC2 could have', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 1_000_000 }), fc.boolean(), steps, async (seed, mayCrash, drawn) => {
      const cloud = await SimulatedCloud.create(seed)
      try {
        cloud.mayCrash = mayCrash
        const model: Model = { instances: [] }
        const world = new World(cloud, model)
        await fc.asyncModelRun(() => ({ model, real: world }), drawn)
        await world.settle()
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
