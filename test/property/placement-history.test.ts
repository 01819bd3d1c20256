import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ApiError } from '../../src/core/errors.ts'
import type { Context } from '../../src/ec2/context.ts'
import { startInstances } from '../../src/ec2/instance-lifecycle.ts'
import { createPlacementGroup } from '../../src/ec2/placement-groups.ts'
import { runInstances } from '../../src/ec2/run-instances.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import type { InstanceTable } from '../../src/store/schema.ts'
import { addHost, openHostsAccount, type HostsAccount } from '../support/hosts-account.ts'
import { OTHER_ACCOUNT, REGION } from '../support/rows.ts'

// Random histories of two accounts' launches, stops, starts and terminations, through the handlers: after every step each
// host has promised what its instances were promised and no more, and no group, partition or tenancy is broken.

const GROUPS = ['cluster', 'spread', 'partition'] as const

type Step =
  | { kind: 'launch'; isOther: boolean; type: string; count: number; zone: string | undefined; group: typeof GROUPS[number] | undefined; partition: number | undefined; tenancy: 'default' | 'dedicated' }
  | { kind: 'stop' | 'start' | 'terminate'; which: number }

const steps: fc.Arbitrary<Step[]> = fc.array(fc.oneof(
  { weight: 3, arbitrary: fc.record({
    kind: fc.constant('launch' as const), isOther: fc.boolean(), type: fc.constantFrom('m5.large', 'm5.2xlarge', 'm5.4xlarge'),
    count: fc.integer({ min: 1, max: 3 }), zone: fc.constantFrom(undefined, 'a', 'b', 'c'), group: fc.constantFrom(undefined, ...GROUPS),
    partition: fc.constantFrom(undefined, undefined, 1, 2), tenancy: fc.constantFrom('default', 'default', 'dedicated'),
  }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stop' as const), which: fc.nat(40) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('start' as const), which: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('terminate' as const), which: fc.nat(40) }) },
), { minLength: 15, maxLength: 40, size: 'max' })

async function take(account: HostsAccount, step: Step): Promise<void> {
  if (step.kind === 'launch') {
    const { isOther, type, count, zone, group, partition, tenancy } = step
    const { image_id: ImageId } = await account.query((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
    await account.callAs(isOther ? OTHER_ACCOUNT : DEFAULT_ACCOUNT, runInstances, {
      ImageId, InstanceType: type as 'm5.large', MinCount: 1, MaxCount: count, Placement: {
        AvailabilityZone: zone && REGION + zone, GroupName: group, Tenancy: tenancy, ...(group === 'partition' ? { PartitionNumber: partition } : {}),
      },
    })
    return
  }
  const rows = await account.rows()
  const row = rows[step.which % Math.max(rows.length, 1)]
  if (!row) return
  if (step.kind === 'start') {
    if (row.state === 'stopped') await account.callAs(row.account_id, startInstances, { InstanceIds: [row.instance_id] })
  } else if (step.kind === 'stop') {
    if (row.state === 'pending') await account.setState(row.instance_id, 'stopped')
  } else if (row.state === 'pending' || row.state === 'stopped') {
    await account.setState(row.instance_id, 'shutting-down')
    await account.setState(row.instance_id, 'terminated')
  }
}

/** What must never be, in words. */
async function broken(account: HostsAccount): Promise<string[]> {
  const holders = (await account.rows()).filter((each) => each.holds_capacity === 1)
  const hosts = await account.query((db) => db.selectFrom('hosts').selectAll().where('zone', 'is not', null).execute())
  const groups = await account.query((db) => db.selectFrom('placement_groups').selectAll().execute())
  const wrong: string[] = []
  for (const host of hosts) {
    const here = holders.filter((each) => each.host_id === host.host_id)
    const sum = (of: (row: InstanceTable) => number) => here.reduce((total, each) => total + of(each), 0)
    if (sum((each) => each.vcpus) !== host.vcpus_used || sum((each) => each.memory_mib) !== host.memory_mib_used) wrong.push(`${host.host_id} is counted wrongly`)
    if (host.vcpus_used > host.vcpus || host.memory_mib_used > host.memory_mib) wrong.push(`${host.host_id} has promised too much`)
    if (here.some((each) => each.zone !== host.zone)) wrong.push(`${host.host_id} has instances of another zone`)
    if (here.some((each) => each.tenancy === 'dedicated' && here.some((other) => other.account_id !== each.account_id))) {
      wrong.push(`${host.host_id} has a dedicated instance beside another account's`)
    }
  }
  for (const group of groups) {
    const members = holders.filter((each) => each.placement_group_id === group.group_id)
    const hostsOf = new Set(members.map((each) => each.host_id))
    if (group.strategy === 'cluster' && new Set(members.map((each) => each.zone)).size > 1) wrong.push('a cluster is in two zones')
    if (group.strategy === 'spread' && hostsOf.size < members.length) wrong.push('two of a spread group are on one host')
    if (group.strategy !== 'partition') continue
    const pairs = new Set(members.map((each) => `${each.host_id} ${each.partition_number}`))
    if (pairs.size > hostsOf.size) wrong.push('two partitions share a host')
    if (members.some((each) => each.partition_number === null)) wrong.push('a member is in no partition')
  }
  return wrong
}

const newGroups = async (account: HostsAccount) => {
  for (const accountId of [DEFAULT_ACCOUNT, OTHER_ACCOUNT]) {
    for (const Strategy of GROUPS) {
      await account.callAs<object, unknown>(accountId, (context: Context) => createPlacementGroup(context, { GroupName: Strategy, Strategy }), {})
    }
  }
}

describe('any history of launches, stops, starts and terminations', () => {
  test('keeps capacity, groups and tenancy', async () => {
    let placed = 0
    let refused = 0
    await fc.assert(fc.asyncProperty(steps, async (history) => {
      const account = await openHostsAccount()
      try {
        await addHost(account, 'a2', 'a')
        await addHost(account, 'b2', 'b', { vcpus: 8, memory_mib: 32_768 })
        await newGroups(account)
        for (const step of history) {
          try {
            await take(account, step)
            placed++
          } catch (error) {
            if (!(error instanceof ApiError)) throw error
            expect(error.code).toBeOneOf(['InsufficientInstanceCapacity', 'InvalidPlacementGroup.InUse', 'InvalidParameterCombination'])
            refused++
          }
          expect(await broken(account)).toEqual([])
        }
      } finally {
        await account.store.close()
      }
    }), { numRuns: 25, seed: 7 })
    // Histories that never meet a limit would show nothing.
    expect(Math.min(placed, refused)).toBeGreaterThan(50)
  }, 60_000)
})
