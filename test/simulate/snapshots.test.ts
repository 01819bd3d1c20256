import type { Reservation } from '@aws-sdk/client-ec2'
import { expect, test } from 'vitest'
import { pick } from '../../src/core/random.ts'
import { checkDisks } from '../../src/simulate/disk-invariants.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { SimulatedCloud } from '../../src/simulate/simulator.ts'
import { SnapshotHistory } from '../support/snapshot-history.ts'

const SEEDS = 6
const STEPS = 80
const SETTLE_EVERY_STEPS = 10

/**
 * Two instances with two volumes each, whose guests write without end, while snapshots are made, copied and deleted,
 * instances stop, start, reboot and die, and agent and api die anywhere.
 */
async function live(seed: number): Promise<SnapshotHistory> {
  const cloud = await SimulatedCloud.create(seed)
  const { random, clock, host } = cloud
  const history = new SnapshotHistory(cloud)
  try {
    const instances = [await launch(cloud), await launch(cloud)]
    await cloud.converge()
    cloud.mayCrash = true
    for (let step = 1; step <= STEPS; step++) {
      const dice = random.next()
      const InstanceIds = [pick(random, instances)]
      history.guestsWrite()
      if (dice < 0.6) {
        const drawn = await history.draw()
        if (drawn) await history.make(drawn, (action, input) => cloud.call(action, input))
      } else if (dice < 0.66) await cloud.call('StopInstances', { InstanceIds })
      else if (dice < 0.76) await cloud.call('StartInstances', { InstanceIds })
      else if (dice < 0.8) await cloud.call('RebootInstances', { InstanceIds })
      else if (dice < 0.82) host.world.processDies(InstanceIds[0] ?? '')
      else if (dice < 0.86) cloud.killAgent()
      else await clock.advance(random.int(8000))
      const problems = await checkAlways(cloud)
      if (step % SETTLE_EVERY_STEPS === 0) {
        await cloud.converge()
        problems.push(...(await checkSettled(cloud)), ...(await checkDisks(cloud)), ...(await history.checkSettled()))
      }
      if (problems.length > 0) throw new Error(`seed ${seed} broke at step ${step}: ${problems.join(', ')}`)
    }
    return history
  } finally {
    await cloud.close()
  }
}

async function launch(cloud: SimulatedCloud): Promise<string> {
  const [image] = await cloud.store.read((db) => db.selectFrom('images').select('image_id').execute())
  const result = await cloud.call('RunInstances', {
    ImageId: image?.image_id, InstanceType: 't3.small', MinCount: 1, MaxCount: 1,
    BlockDeviceMappings: [{ DeviceName: '/dev/sdf', Ebs: { VolumeSize: 1 } }],
  })
  return (result as { output: Reservation }).output.Instances?.[0]?.InstanceId ?? ''
}

test('snapshots are of one instant between call and answer, and stay so whatever dies or is deleted', async () => {
  let [checked, late] = [0, 0]
  for (let seed = 1; seed <= SEEDS; seed++) {
    const history = await live(seed)
    checked += history.checked
    late += history.late
  }
  expect(checked).toBeGreaterThan(SEEDS * 8)
  // Only an agent that died may be too late for the answer.
  expect(late).toBeLessThan(checked / 8)
})
