import type { Reservation } from '@aws-sdk/client-ec2'
import { expect, test } from 'vitest'
import { pick } from '../../src/core/random.ts'
import { giveUpMemory } from '../../src/model/memory.ts'
import { DiskExpectations } from '../../src/simulate/disk-expectations.ts'
import { checkDisks } from '../../src/simulate/disk-invariants.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { drawHibernatable } from '../../src/simulate/memory-calls.ts'
import { MemoryExpectations } from '../../src/simulate/memory-expectations.ts'
import { SimulatedCloud } from '../../src/simulate/simulator.ts'

const SEEDS = 10
const STEPS = 100
const SETTLE_EVERY_STEPS = 10

/** Some instances that are hibernated and started without end, while their guests write, and agent, api and host die anywhere. */
class Life {
  readonly #cloud: SimulatedCloud
  readonly #memory: MemoryExpectations
  readonly #disks: DiskExpectations
  readonly #instances: string[]

  constructor(cloud: SimulatedCloud, instances: string[]) {
    this.#cloud = cloud
    this.#instances = instances
    this.#memory = new MemoryExpectations(cloud)
    this.#disks = new DiskExpectations(cloud)
  }

  async step(): Promise<void> {
    const { random, clock } = this.#cloud
    const InstanceIds = [pick(random, this.#instances)]
    this.#disks.guestWrites()
    const dice = random.next()
    if (dice < 0.3) await this.#call('StopInstances', { InstanceIds, Hibernate: true })
    else if (dice < 0.55) await this.#call('StartInstances', { InstanceIds })
    else if (dice < 0.56) await this.#call('StopInstances', { InstanceIds })
    else if (dice < 0.57) await this.#boot(InstanceIds[0] ?? '')
    else if (dice < 0.6) await this.#giveUp(InstanceIds)
    else if (dice < 0.63) await this.#call('RebootInstances', { InstanceIds })
    else if (dice < 0.7) await this.#snapshots(InstanceIds[0] ?? '')
    else if (dice < 0.76) this.#cloud.killAgent()
    else if (dice < 0.78) this.#powerCut()
    else await clock.advance(random.int(2500))
  }

  async settle(): Promise<string[]> {
    await this.#cloud.converge()
    return [
      ...(await checkSettled(this.#cloud)), ...(await checkDisks(this.#cloud)), ...(await this.#memory.check()), ...(await this.#disks.check()),
    ]
  }

  async #call(action: string, input: { InstanceIds: string[]; Hibernate?: boolean; Force?: boolean }): Promise<void> {
    await this.#memory.called(action, input, await this.#cloud.call(action, input))
  }

  /** The memory may be half saved then, or whole, and nobody have written that down. */
  async #giveUp(InstanceIds: string[]): Promise<void> {
    const { random, clock } = this.#cloud
    await this.#call('StopInstances', { InstanceIds, Hibernate: true })
    await clock.advance(random.int(2500))
    await this.#call('StopInstances', { InstanceIds, Force: true })
  }

  /** As `hearth start --cold`, which may end before the start. */
  async #boot(InstanceId: string): Promise<void> {
    const { store, random, clock } = this.#cloud
    this.#memory.forget(InstanceId)
    await store.transaction('simulated.cold', (db) => giveUpMemory({ db, nowMs: clock.now() }, InstanceId))
    if (random.int(2) === 0) await this.#call('StartInstances', { InstanceIds: [InstanceId] })
  }

  async #snapshots(InstanceId: string): Promise<void> {
    await this.#cloud.call('CreateSnapshots', { InstanceSpecification: { InstanceId } })
    await this.#disks.observe()
  }

  /** Every process on the host ends; what is on its disks stays. */
  #powerCut(): void {
    const { world } = this.#cloud.host
    this.#memory.forgetAll()
    for (const id of world.machines.keys()) world.processDies(id)
    this.#cloud.killAgent()
  }
}

async function live(seed: number): Promise<number> {
  const cloud = await SimulatedCloud.create(seed)
  try {
    const life = new Life(cloud, [await launch(cloud), await launch(cloud), await launch(cloud)])
    await life.settle()
    cloud.mayCrash = true
    for (let step = 1; step <= STEPS; step++) {
      await life.step()
      const problems = await checkAlways(cloud)
      if (step % SETTLE_EVERY_STEPS === 0) problems.push(...(await life.settle()))
      if (problems.length > 0) throw new Error(`seed ${seed} broke at step ${step}: ${problems.join(', ')}`)
    }
    return cloud.host.world.resumed
  } finally {
    await cloud.close()
  }
}

async function launch(cloud: SimulatedCloud): Promise<string> {
  const [image] = await cloud.store.read((db) => db.selectFrom('images').select(['image_id', 'root_device_name']).execute())
  if (!image) throw new Error('no image')
  const { BlockDeviceMappings, ...hibernation } = drawHibernatable(image)
  const result = await cloud.call('RunInstances', {
    ImageId: image.image_id, InstanceType: 't3.small', MinCount: 1, MaxCount: 1, ...hibernation,
    BlockDeviceMappings: [...BlockDeviceMappings, { DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1 } }],
  })
  return (result as { output: Reservation }).output.Instances?.[0]?.InstanceId ?? ''
}

test('a hibernated guest goes on with all that it had in its memory, or boots: never with older memory than its disks', async () => {
  let resumed = 0
  for (let seed = 1; seed <= SEEDS; seed++) resumed += await live(seed)
  expect(resumed).toBeGreaterThan(SEEDS * 3)
})
