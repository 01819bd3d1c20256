import type { CreateNetworkInterfaceResult, Reservation } from '@aws-sdk/client-ec2'
import { describe, expect, test } from 'vitest'
import { pick } from '../../src/core/random.ts'
import { checkAlways, checkSettled } from '../../src/simulate/invariants.ts'
import { SimulatedCloud } from '../../src/simulate/simulator.ts'

const STEPS = 60
const SETTLE_EVERY_STEPS = 10

interface Seen {
  plugged: number
  detached: number
}

/**
 * Two instances and three interfaces that go between them, while the instances come and go, guests
 * take their time, and agent and api die anywhere. What was said to be attached is in its machine in the
 * end, and nothing else is.
 */
async function exchange(seed: number): Promise<Seen> {
  const cloud = await SimulatedCloud.create(seed)
  const { random, clock, host } = cloud
  const seen = { plugged: 0, detached: 0 }
  try {
    const instances = await Promise.all([launch(cloud), launch(cloud)])
    const interfaces = [await create(cloud), await create(cloud), await create(cloud)]
    await cloud.converge()
    cloud.mayCrash = true
    for (let step = 1; step <= STEPS; step++) {
      const dice = random.next()
      const InstanceId = pick(random, instances)
      if (dice < 0.35) {
        await cloud.call('AttachNetworkInterface', {
          InstanceId, NetworkInterfaceId: pick(random, interfaces), DeviceIndex: 1 + random.int(2),
        })
      } else if (dice < 0.55) {
        const attachments = await attachmentsIn(cloud)
        if (attachments.length > 0) {
          const result = await cloud.call('DetachNetworkInterface', { AttachmentId: pick(random, attachments), Force: random.int(3) === 0 })
          if (result.kind === 'answered') seen.detached += 1
        }
      } else if (dice < 0.6) await cloud.call('StopInstances', { InstanceIds: [InstanceId] })
      else if (dice < 0.68) await cloud.call('StartInstances', { InstanceIds: [InstanceId] })
      else if (dice < 0.72) await cloud.call('RebootInstances', { InstanceIds: [InstanceId] })
      else if (dice < 0.74) host.world.processDies(InstanceId)
      else if (dice < 0.78) cloud.killAgent()
      else await clock.advance(random.int(3000))
      const problems = await checkAlways(cloud)
      if (step % SETTLE_EVERY_STEPS === 0) {
        await cloud.converge()
        problems.push(...(await checkSettled(cloud)))
        const nics = [...host.world.machines.values()].flatMap(({ process }) => [...process?.nics.values() ?? []])
        seen.plugged += nics.filter(({ spec }) => spec.deviceIndex > 0).length
      }
      if (problems.length > 0) throw new Error(`seed ${seed} broke at step ${step}: ${problems.join(', ')}`)
    }
    return seen
  } finally {
    await cloud.close()
  }
}

async function launch(cloud: SimulatedCloud): Promise<string> {
  const [image] = await cloud.store.read((db) => db.selectFrom('images').select('image_id').execute())
  const result = await cloud.call('RunInstances', {
    ImageId: image?.image_id, InstanceType: 't3.small', MinCount: 1, MaxCount: 1, Placement: { AvailabilityZone: 'us-east-1a' },
  })
  return (result as { output: Reservation }).output.Instances?.[0]?.InstanceId ?? ''
}

/** In the zone, and the subnet, that instances are launched into. */
async function create(cloud: SimulatedCloud): Promise<string> {
  const [primary] = await cloud.store.read((db) => db.selectFrom('interfaces').select('subnet_id').execute())
  const result = await cloud.call('CreateNetworkInterface', { SubnetId: primary?.subnet_id })
  return (result as { output: CreateNetworkInterfaceResult }).output.NetworkInterface?.NetworkInterfaceId ?? ''
}

async function attachmentsIn(cloud: SimulatedCloud): Promise<string[]> {
  const rows = await cloud.store.read((db) =>
    db.selectFrom('interfaces').select('doc').where('instance_id', 'is not', null).where('device_index', '>', 0)
      .orderBy('interface_id').execute())
  return rows.map((row) => (JSON.parse(row.doc) as { attachmentId: string }).attachmentId)
}

describe('interfaces of simulated machines', () => {
  test('come and go under random calls and crashes, and end up where they were said to be', async () => {
    const all = { plugged: 0, detached: 0 }
    for (let seed = 1; seed <= 40; seed++) {
      const seen = await exchange(seed)
      all.plugged += seen.plugged
      all.detached += seen.detached
    }
    expect(all.plugged).toBeGreaterThan(100)
    expect(all.detached).toBeGreaterThan(100)
  })
})
