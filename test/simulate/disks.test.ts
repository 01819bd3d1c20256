import type { Reservation } from '@aws-sdk/client-ec2'
import { expect, test } from 'vitest'
import { pick } from '../../src/core/random.ts'
import { operations } from '../../src/ec2/index.ts'
import { drawDiskCall } from '../../src/simulate/disk-calls.ts'
import { DiskExpectations } from '../../src/simulate/disk-expectations.ts'
import { checkDisks, SealedLayers } from '../../src/simulate/disk-invariants.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { SimulatedCloud } from '../../src/simulate/simulator.ts'

const SEEDS = 15
const STEPS = 120
const SETTLE_EVERY_STEPS = 20

/**
 * Two instances whose guests write all the time, and volumes, snapshots and images that come of them and go,
 * while instances stop, start and reboot, guests take their time, and agent and api die anywhere.
 *
 * @returns how many snapshots were complete in the end.
 */
async function writeAndCopy(seed: number): Promise<number> {
  const cloud = await SimulatedCloud.create(seed)
  const { random, clock, host } = cloud
  const disks = new DiskExpectations(cloud)
  const sealed = new SealedLayers()
  host.world.hasGuestAgents = seed % 2 === 0
  try {
    const instances = [await launch(cloud), await launch(cloud)]
    await cloud.converge()
    await disks.observe()
    cloud.mayCrash = true
    for (let step = 1; step <= STEPS; step++) {
      const dice = random.next()
      const InstanceIds = [pick(random, instances)]
      if (dice < 0.4) {
        const drawn = await drawDiskCall(cloud)
        if (drawn) await cloud.call(drawn.action, drawn.input)
        await disks.observe()
      } else if (dice < 0.75) disks.guestWrites()
      else if (dice < 0.79) await cloud.call('StopInstances', { InstanceIds })
      else if (dice < 0.86) await cloud.call('StartInstances', { InstanceIds })
      else if (dice < 0.89) await cloud.call('RebootInstances', { InstanceIds })
      else if (dice < 0.91) host.world.processDies(InstanceIds[0] ?? '')
      else if (dice < 0.93) host.world.guestPowersOff(InstanceIds[0] ?? '')
      else if (dice < 0.95) cloud.killAgent()
      else await clock.advance(random.int(2500))
      const problems = [...(await checkAlways(cloud)), ...sealed.check(cloud)]
      if (step % SETTLE_EVERY_STEPS === 0) {
        await cloud.converge()
        problems.push(...(await checkSettled(cloud)), ...(await checkDisks(cloud)), ...(await disks.check()))
      }
      expect(problems, `seed ${seed}, step ${step}`).toEqual([])
    }
    const snapshots = await cloud.store.read((db) => db.selectFrom('snapshots').select('state').execute())
    return snapshots.filter((row) => row.state === 'completed').length
  } finally {
    await cloud.close()
  }
}

/** An instance that only its guest or a call ends. */
async function launch(cloud: SimulatedCloud): Promise<string> {
  const image = await cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
  const input = { ImageId: image.image_id, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1 }
  const result = await cloud.call('RunInstances', input)
  const [instance] = result.kind === 'answered' ? (result.output as Reservation).Instances ?? [] : []
  return instance?.InstanceId ?? ''
}

test('snapshots are of one moment, volumes keep what was written, whatever dies, and whenever', async () => {
  let completed = 0
  for (let seed = 1; seed <= SEEDS; seed++) completed += await writeAndCopy(seed)
  if ('CreateSnapshot' in operations) expect(completed).toBeGreaterThan(50)
})
