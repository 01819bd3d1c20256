import { createHash } from 'node:crypto'
import type { Reservation } from '@aws-sdk/client-ec2'
import { pick } from '../core/random.ts'
import type { Store } from '../store/store.ts'
import { checkReservations, drawCapacityCall } from './capacity-calls.ts'
import { drawDiskCall } from './disk-calls.ts'
import { DiskExpectations } from './disk-expectations.ts'
import { checkDisks, SealedLayers } from './disk-invariants.ts'
import { checkEvents, planSomething } from './event-calls.ts'
import { HostEvents } from './host-events.ts'
import { checkImports, drawImportCall } from './import-calls.ts'
import { drawInterfaceCall, drawTwoInterfaces, type DrawnCall } from './interface-calls.ts'
import { checkAlways, checkSettled } from './invariants.ts'
import { drawHibernatable } from './memory-calls.ts'
import { MemoryExpectations } from './memory-expectations.ts'
import { checkNetwork } from './network-invariants.ts'
import { checkBin, drawRecycleCall, expireBin, undoSomething } from './recycle-calls.ts'
import { checkGroups, drawPlacement, drawPlacementCall } from './placement-calls.ts'
import { SimulatedCloud, type CallResult } from './simulator.ts'
import { checkRoom, checkSpot, drawSpotCall } from './spot-calls.ts'
import { drawNetworkCall } from './network-calls.ts'
import { checkZones, ZoneCalls } from './zone-calls.ts'

export interface SimulationReport {
  seed: number
  steps: number
  calls: number
  crashes: number
  launched: number
  /** Guests that went on with the memory that they had when they were hibernated. */
  resumed: number
  /** Digest of everything that happened; equal for equal seeds. */
  trace: string
}

/** Thrown with the seed and the step, so that the failure can be replayed. */
class SimulationError extends Error {
  constructor(seed: number, step: number, problems: string[]) {
    super(`seed ${seed} broke at step ${step}:\n  ${problems.join('\n  ')}\nreplay: npm run simulate -- --seed ${seed} --steps ${step}`)
    this.name = 'SimulationError'
  }
}

/** What the caller of the api knows, and so may rely on. */
interface Expectation {
  /** Where each acknowledged instance must end up; undefined while a call's end is unknown. */
  state: Map<string, 'running' | 'stopped' | 'terminated' | undefined>
  /** Launches by client token, to be repeated and to mean the same. */
  tokens: Map<string, { input: object; instanceIds: string[] | undefined }>
  tags: Map<string, string>
  /** Launched so that they can be hibernated. */
  hibernatable: Set<string>
  /** Guests that went down by themselves since all was settled: a start may have met them as running. */
  disturbed: Set<string>
}

/** Why a launch that was done once, and is forgotten, may not be done again: there is no room, or no subnet any more. */
const LAUNCHES_NO_MORE = [
  'InsufficientInstanceCapacity', 'IdempotentInstanceTerminated', 'InvalidSubnetID.NotFound', 'InsufficientFreeAddressesInSubnet',
  'MissingInput', 'InvalidPlacementGroup.Unknown', 'InvalidPlacementGroup.InUse', 'InvalidAMIID.NotFound', 'InvalidAMIID.Unavailable',
]
const SETTLE_EVERY_STEPS = 50
const TYPES = ['t3.micro', 't3.small', 'm5.large', 'c5.xlarge']

/**
 * Drives a simulated cloud with random calls, guest events and crashes, and checks that nothing
 * acknowledged is lost, nothing leaks and everything converges. `store` is an empty one to do it on,
 * SQLite in memory unless given; on a database with several connections their answers come in an
 * order that no seed decides, so a history may not replay there.
 *
 * @throws SimulationError that names the seed.
 */
export async function simulate(seed: number, steps: number, store?: Store): Promise<SimulationReport> {
  const cloud = await SimulatedCloud.create(seed, store)
  const run = new Run(cloud)
  let step = 0
  try {
    cloud.mayCrash = true
    for (step = 1; step <= steps; step++) {
      await run.step()
      const problems = [
        ...(await checkAlways(cloud)), ...(await checkGroups(cloud)), ...(await checkZones(cloud)), ...(await checkRoom(cloud)), ...run.sealed.check(cloud),
      ]
      if (step % SETTLE_EVERY_STEPS === 0 || step === steps) {
        await run.zones.healAll()
        await cloud.converge()
        problems.push(...(await checkSettled(cloud)), ...(await checkNetwork(cloud)), ...(await checkDisks(cloud)))
        problems.push(...(await checkImports(cloud)), ...(await checkBin(cloud)), ...(await checkEvents(cloud)), ...(await checkReservations(cloud)), ...(await checkSpot(cloud)))
        problems.push(...(await run.checkExpectations()), ...(await run.disks.check()), ...(await run.memory.check()))
      }
      if (problems.length > 0) throw new SimulationError(seed, step, problems)
    }
    return { seed, steps, calls: run.calls, crashes: cloud.crashes, launched: run.expected.state.size, resumed: cloud.host.world.resumed, trace: run.trace() }
  } catch (error) {
    if (error instanceof SimulationError) throw error
    throw new SimulationError(seed, step, [error instanceof Error ? (error.stack ?? error.message) : String(error)])
  } finally {
    await cloud.close()
  }
}

class Run {
  readonly expected: Expectation = { state: new Map(), tokens: new Map(), tags: new Map(), hibernatable: new Set(), disturbed: new Set() }
  calls = 0
  readonly sealed = new SealedLayers()
  readonly disks: DiskExpectations
  readonly hostEvents: HostEvents
  readonly memory: MemoryExpectations
  readonly zones: ZoneCalls
  readonly #cloud: SimulatedCloud
  readonly #digest = createHash('sha256')

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud
    this.disks = new DiskExpectations(cloud)
    this.memory = new MemoryExpectations(cloud)
    this.hostEvents = new HostEvents(cloud, this.memory)
    this.zones = new ZoneCalls(cloud, this.memory)
  }

  trace(): string {
    return this.#digest.digest('hex')
  }

  async step(): Promise<void> {
    const { random, clock } = this.#cloud
    const dice = random.next()
    if (dice < 0.15) await this.#launch()
    else if (dice < 0.2) await this.#launchAgain()
    else if (dice < 0.25) await this.#command('StopInstances', 'stopped')
    else if (dice < 0.28) await this.#hibernate()
    else if (dice < 0.37) await this.#command('StartInstances', 'running')
    else if (dice < 0.46) await this.#command('TerminateInstances', 'terminated')
    else if (dice < 0.5) await this.#command('RebootInstances', 'running')
    else if (dice < 0.53) await this.#tag()
    else if (dice < 0.55) await this.#look()
    else if (dice < 0.6) await this.#network()
    else if (dice < 0.65) await this.#callAbout(await drawInterfaceCall(this.#cloud))
    else if (dice < 0.77) await this.#callAboutDisks()
    else if (dice < 0.84) this.disks.guestWrites()
    else if (dice < 0.89) await this.#callAbout(await drawSpotCall(this.#cloud))
    else if (dice < 0.91) this.#guestEvent()
    else if (dice < 0.915) await this.#plan()
    else if (dice < 0.93) this.#cloud.killAgent()
    else if (dice < 0.934) this.hostEvents.draw()
    else if (dice < 0.936) await clock.advance(61 * 60 * 1000)
    else if (dice < 0.938) await this.#trouble()
    else if (dice < 0.94) await expireBin(this.#cloud)
    else if (dice < 0.955) await this.#callAbout(await drawRecycleCall(this.#cloud))
    else if (dice < 0.975) await this.#callAbout(await drawImportCall(this.#cloud))
    else if (dice < 0.98) await this.#undo()
    else if (dice < 0.985) await this.#callAbout(await drawCapacityCall(this.#cloud))
    else if (dice < 0.99) await this.#callAbout(await drawPlacementCall(this.#cloud))
    else if (dice < 0.994) await this.zones.draw()
    else await clock.advance(random.int(4000))
  }

  async #call(action: string, input: object, service?: DrawnCall['service']): Promise<CallResult> {
    this.calls += 1
    const result = await this.#cloud.call(action, input, service)
    this.#digest.update(JSON.stringify([this.#cloud.clock.now(), action, input, result]))
    return result
  }

  async #launch(): Promise<void> {
    const { random } = this.#cloud
    const images = await this.#cloud.store.read((db) => db.selectFrom('images').select(['image_id', 'root_device_name']).execute())
    const image = pick(random, images)
    const hibernatable = random.int(2) === 0 ? drawHibernatable(image) : {}
    const token = random.int(2) === 0 ? `token-${random.int(1_000_000)}` : undefined
    const input = {
      ImageId: image.image_id, InstanceType: pick(random, TYPES), MinCount: 1, MaxCount: 1 + random.int(3),
      InstanceInitiatedShutdownBehavior: pick(random, ['stop', 'terminate']),
      ...(token === undefined ? {} : { ClientToken: token }), ...hibernatable,
      ...(random.int(4) === 0 ? { NetworkInterfaces: await drawTwoInterfaces(this.#cloud) } : {}),
      ...(random.int(3) === 0 ? await drawPlacement(this.#cloud) : {}),
      TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: `n${random.int(5)}` }] }],
    }
    const result = await this.#call('RunInstances', input)
    const ids = result.kind === 'answered' ? launchedIds(result.output) : undefined
    for (const id of ids ?? []) this.expected.state.set(id, 'running')
    if ('HibernationOptions' in input) for (const id of ids ?? []) this.expected.hibernatable.add(id)
    if (token !== undefined && result.kind !== 'refused') this.expected.tokens.set(token, { input, instanceIds: ids })
  }

  /** The same token and parameters again: the same instances, or the launch whose end was unknown. */
  async #launchAgain(): Promise<void> {
    if (this.expected.tokens.size === 0) return
    const [token, launch] = pick(this.#cloud.random, [...this.expected.tokens])
    const result = await this.#call('RunInstances', launch.input)
    if (result.kind === 'unknown') return
    if (result.kind === 'refused') {
      if (LAUNCHES_NO_MORE.includes(result.code) && (launch.instanceIds ?? []).every((id) => this.#mayBeGone(id))) return
      throw new Error(`repeating ${token} was refused with ${result.code}, though ${JSON.stringify(launch.instanceIds)} live`)
    }
    const ids = launchedIds(result.output)
    // Instances terminated long ago are forgotten; when all are, the token is, too.
    const live = launch.instanceIds?.filter((id) => ids.includes(id) || !this.#mayBeGone(id))
    const isSame = live === undefined || JSON.stringify(ids) === JSON.stringify(live)
    if (!isSame && !launch.instanceIds?.every((id) => this.#mayBeGone(id))) {
      throw new Error(`repeating ${token} launched ${ids.join()} instead of answering ${launch.instanceIds?.join()}`)
    }
    if (launch.instanceIds === undefined || !isSame) {
      for (const id of ids) if (!this.expected.state.has(id)) this.expected.state.set(id, 'running')
    }
    this.expected.tokens.set(token, { ...launch, instanceIds: ids })
  }

  #mayBeGone(id: string): boolean {
    const state = this.expected.state.get(id)
    return state === 'terminated' || state === undefined
  }

  async #command(action: string, to: 'running' | 'stopped' | 'terminated'): Promise<void> {
    const { random } = this.#cloud
    const ids = [...this.expected.state.keys()]
    if (ids.length === 0) return
    const chosen = [...new Set([pick(random, ids), pick(random, ids)])].slice(0, 1 + random.int(2))
    const force = action === 'StopInstances' && random.int(4) === 0 ? { Force: true } : {}
    await this.#commandThese(action, { InstanceIds: chosen, ...force }, to)
  }

  async #commandThese(
    action: string,
    input: { InstanceIds: string[]; Force?: boolean; Hibernate?: boolean },
    to: 'running' | 'stopped' | 'terminated',
  ): Promise<void> {
    const chosen = input.InstanceIds
    const result = await this.#call(action, input)
    await this.memory.called(action, input, result)
    if (result.kind === 'refused') return
    for (const id of chosen) {
      const mayStayStopped = this.#cloud.host.world.loadingFails && this.expected.hibernatable.has(id)
      const isUnsure = result.kind === 'unknown' ||
        (action === 'StartInstances' && (this.expected.disturbed.has(id) || mayStayStopped))
      if (isUnsure) this.expected.state.set(id, this.expected.state.get(id) === 'terminated' ? 'terminated' : undefined)
      else if (action !== 'RebootInstances' && this.expected.state.get(id) !== 'terminated') this.expected.state.set(id, to)
    }
  }

  /** Often followed by a start, or by something else, while the memory is being saved. */
  async #hibernate(): Promise<void> {
    const { random, clock } = this.#cloud
    const present = [...this.expected.hibernatable].filter((id) => this.expected.state.get(id) !== 'terminated')
    const running = present.filter((id) => this.expected.state.get(id) === 'running')
    const able = running.length > 0 && random.int(5) > 0 ? running : present
    if (able.length === 0) return
    const InstanceIds = [pick(random, able)]
    await this.#commandThese('StopInstances', { InstanceIds, Hibernate: true }, 'stopped')
    if (random.int(3) > 0) await clock.advance(random.int(1500))
    const next = random.int(8)
    if (next === 0) await this.#commandThese('StopInstances', { InstanceIds, Force: true }, 'stopped')
    else if (next === 1) await this.#commandThese('TerminateInstances', { InstanceIds }, 'terminated')
    else if (next < 6) await this.#commandThese('StartInstances', { InstanceIds }, 'running')
    if (next < 6 && random.int(2) === 0) await clock.advance(random.int(1500))
  }

  /** For some time no memory can be saved, or none be loaded; whoever is started then may stay stopped. */
  async #trouble(): Promise<void> {
    const { random, host: { world } } = this.#cloud
    this.memory.forgetAll()
    if (random.int(2) === 0) world.hibernationFails = !world.hibernationFails
    else world.loadingFails = !world.loadingFails
    // They may be about to be loaded.
    for (const id of this.expected.hibernatable) {
      if (this.expected.state.get(id) === 'running') this.expected.state.set(id, undefined)
    }
  }

  async #callAbout(drawn: DrawnCall | undefined): Promise<void> {
    if (!drawn) return
    // It may reboot the instance.
    if (drawn.action === 'CreateImage' && 'InstanceId' in drawn.input) this.memory.forget(String(drawn.input.InstanceId))
    await this.#call(drawn.action, drawn.input, drawn.service)
  }

  async #undo(): Promise<void> {
    const restored = await undoSomething(this.#cloud)
    if (restored === undefined) return
    this.expected.state.set(restored.id, 'stopped')
    // That launch has one more again, or somebody else has launched with the token since it was forgotten.
    if (restored.token !== null) this.expected.tokens.delete(restored.token)
  }

  async #callAboutDisks(): Promise<void> {
    await this.#callAbout(await drawDiskCall(this.#cloud))
    await this.disks.observe()
  }

  async #tag(): Promise<void> {
    const ids = [...this.expected.state.keys()]
    if (ids.length === 0) return
    const id = pick(this.#cloud.random, ids)
    const value = String(this.#cloud.random.int(1000))
    const result = await this.#call('CreateTags', { Resources: [id], Tags: [{ Key: 'k', Value: value }] })
    if (result.kind === 'answered') this.expected.tags.set(id, value)
    if (result.kind === 'unknown') this.expected.tags.delete(id)
  }

  async #look(): Promise<void> {
    const action = pick(this.#cloud.random, ['DescribeInstances', 'DescribeVolumes', 'DescribeNetworkInterfaces', 'DescribeTags', 'DescribeAddresses'])
    const result = await this.#call(action, {})
    if (result.kind === 'refused') throw new Error(`${action} was refused with ${result.code}`)
    // Numbers out of range, ids of nothing: refused, and without effect (checked by the invariants).
    const refused = await this.#call('TerminateInstances', { InstanceIds: [...this.expected.state.keys()].slice(0, 1).concat('i-00000000000000000') })
    if (refused.kind === 'answered') throw new Error('an unknown id was accepted')
  }

  /** Something about networks; whether it is refused or done, what is in force must follow. */
  async #network(): Promise<void> {
    const { action, input } = await drawNetworkCall(this.#cloud)
    await this.#call(action, input)
  }

  /** A guest that shuts itself down, or a process that is killed: the caller's wishes are overtaken. */
  #guestEvent(): void {
    const { random, host } = this.#cloud
    const running = [...host.world.machines.values()].filter(({ process }) => process && process.status !== 'shutdown')
    if (running.length === 0) return
    const { instanceId } = pick(random, running)
    this.#overtaken(instanceId)
    if (random.int(2) === 0) host.world.guestPowersOff(instanceId)
    else host.world.processDies(instanceId)
  }

  /** A scheduled event stops an instance, or reboots it, or does nothing to it. */
  async #plan(): Promise<void> {
    const planned = await planSomething(this.#cloud)
    if (planned?.stops) this.#overtaken(planned.instanceId)
    else if (planned) this.memory.forget(planned.instanceId)
  }

  #overtaken(instanceId: string): void {
    this.memory.forget(instanceId)
    if (this.expected.state.get(instanceId) !== 'terminated') this.expected.state.set(instanceId, undefined)
    this.expected.disturbed.add(instanceId)
  }

  /** Everything acknowledged has come about and nothing of it is lost. */
  async checkExpectations(): Promise<string[]> {
    const { rows, tags } = await this.#cloud.store.read(async (db) => ({
      rows: await db.selectFrom('instances').select(['instance_id', 'state', 'lifecycle', 'fleet_id']).execute(),
      tags: await db.selectFrom('tags').selectAll().where('key', '=', 'k').execute(),
    }))
    const states = new Map(rows.map((row) => [row.instance_id, row.state]))
    const problems: string[] = []
    // What becomes of these is the market's to decide, or their fleet's.
    for (const row of rows) if (row.lifecycle === 'spot' || row.fleet_id !== null) this.expected.state.delete(row.instance_id)
    for (const [id, expected] of this.expected.state) {
      const state = states.get(id)
      if (state === undefined && expected !== 'terminated' && expected !== undefined) problems.push(`${id} was acknowledged and is lost`)
      else if (state !== undefined && expected !== undefined && state !== expected) problems.push(`${id} is ${state}, should be ${expected}`)
      // From here on what it is is known again.
      if (expected === undefined && (state === 'running' || state === 'stopped' || state === 'terminated')) {
        this.expected.state.set(id, state)
      }
      if (state === undefined) this.expected.state.set(id, 'terminated')
    }
    this.expected.disturbed.clear()
    for (const [id, value] of this.expected.tags) {
      if (!states.has(id)) this.expected.tags.delete(id)
      else if (tags.find((tag) => tag.resource_id === id)?.value !== value) problems.push(`${id} lost its tag`)
    }
    return problems
  }
}

function launchedIds(output: object): string[] {
  return ((output as Reservation).Instances ?? []).map((instance) => instance.InstanceId ?? '')
}
