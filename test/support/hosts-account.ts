import type { Instance, RunInstancesRequest } from '@aws-sdk/client-ec2'
import { seededRandom } from '../../src/core/random.ts'
import { runInstances } from '../../src/ec2/run-instances.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { moveInstance, type InstanceState } from '../../src/model/instance.ts'
import type { InstanceTable } from '../../src/store/schema.ts'
import { openMemoryAccount, type MemoryAccount } from './memory-account.ts'
import { HOST_ID, insertImage, NOW_MS, REGION, testContext } from './rows.ts'

/** An account whose region has one host in each of three zones, `hostOf(zone)`, of 16 vCPUs and 64 GiB. */
export interface HostsAccount extends MemoryAccount {
  accountId: string
  launch(input: Partial<RunInstancesRequest>): Promise<Instance[]>
  /** "Code: message" of a launch that fails. */
  launchFailure(input: Partial<RunInstancesRequest>): Promise<string>
  /** What its machines' agent would do. */
  setState(instanceId: string | undefined, state: InstanceState): Promise<void>
  rows(): Promise<InstanceTable[]>
}

export async function openHostsAccount(seed = 1): Promise<HostsAccount> {
  const account = await openMemoryAccount(seed)
  const imageId = await account.query(async (db) => {
    await db.updateTable('hosts').set({ vcpus: 16, memory_mib: 65_536 }).where('zone', 'is not', null).execute()
    return (await insertImage(testContext(db, seededRandom(seed + 1)))).image_id
  })
  const request = (input: Partial<RunInstancesRequest>): RunInstancesRequest =>
    ({ ImageId: imageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, ...input })
  return {
    ...account, accountId: DEFAULT_ACCOUNT,
    launch: async (input) => (await account.call(runInstances, request(input))).Instances ?? [],
    launchFailure: (input) => account.failure(runInstances, request(input)),
    setState: (instanceId = '', state) => account.query(async (db) => {
      const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirstOrThrow()
      await moveInstance(db, row, state, NOW_MS)
    }),
    rows: () => account.query((db) => db.selectFrom('instances').selectAll().orderBy('created_ms').orderBy('instance_id').execute()),
  }
}

/** One more host in a zone. */
export async function addHost(
  account: MemoryAccount,
  hostId: string,
  letter: string,
  size: { vcpus: number; memory_mib: number } = { vcpus: 16, memory_mib: 65_536 },
): Promise<void> {
  await account.query((db) => db.insertInto('hosts').values({
    host_id: hostId, node_id: HOST_ID, zone: REGION + letter, zone_revision: 0, epoch: 1, region: REGION, ...size, vcpus_used: 0,
    memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
  }).execute())
}
