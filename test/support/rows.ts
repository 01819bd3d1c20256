import { parseCidr } from '../../src/core/cidr.ts'
import { newId } from '../../src/core/ids.ts'
import { seededRandom, type Random } from '../../src/core/random.ts'
import type { Context } from '../../src/ec2/context.ts'
import { DEFAULT_ACCOUNT, ensureAccount, PROVIDER_ACCOUNT } from '../../src/model/account.ts'
import type { ImageDoc } from '../../src/model/image.ts'
import { DEFAULT_INSTANCE_OPTIONS, type InstanceDoc } from '../../src/model/instance.ts'
import type { InterfaceDoc } from '../../src/model/interface.ts'
import type { VolumeDoc } from '../../src/model/volume.ts'
import type { SnapshotDoc } from '../../src/model/snapshot.ts'
import type {
  ImageTable, InstanceTable, InterfaceTable, LayerTable, SnapshotTable, SubnetTable, VolumeTable, ZoneTable,
} from '../../src/store/schema.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Db, Store } from '../../src/store/store.ts'
import type { Clock } from '../../src/core/clock.ts'

/** When everything in these tests happens: 2026-01-01T00:00:00Z. */
export const NOW_MS = Date.UTC(2026, 0, 1)
export const REGION = 'us-east-1'
export const ZONES = ['a', 'b', 'c'].map((letter) => REGION + letter)
/** The node; most tests take it for the host of whatever they insert, too. */
export const HOST_ID = 'host-1'
/** Its host in a zone. */
export const hostOf = (zone: string) => `${HOST_ID}-${zone}`
export const OTHER_ACCOUNT = '210987654321'

/** A clock that stands still; nothing in a handler may wait. */
export const fixedClock: Clock = {
  now: () => NOW_MS,
  after: () => {
    throw new Error('a handler may not wait')
  },
  soon: () => {
    throw new Error('a handler may not wait')
  },
  sleep: () => Promise.reject(new Error('a handler may not wait')),
}

/** A store in memory with one node and its hosts, the default account and another one, and what to call handlers with. */
export interface TestStore {
  store: Store
  random: Random
  /** Runs `body` in a transaction with a context of the account, the default one unless given. */
  run<T>(body: (context: Context) => Promise<T>, account?: string): Promise<T>
}

export async function openTestStore(seed = 1): Promise<TestStore> {
  const store = await openSqlite({ file: ':memory:', durability: 'normal' })
  const random = seededRandom(seed)
  await store.transaction('test', async (db) => {
    for (const accountId of [DEFAULT_ACCOUNT, OTHER_ACCOUNT, PROVIDER_ACCOUNT]) {
      await ensureAccount(db, { clock: fixedClock, random, zones: ZONES }, { accountId, name: accountId })
    }
    await insertHost(db)
  })
  return {
    store,
    random,
    run: (body, account = DEFAULT_ACCOUNT) => store.transaction('test', (db) => body(testContext(db, random, account))),
  }
}

/** A context as the dispatcher would make it. */
export function testContext(db: Db, random: Random, account = DEFAULT_ACCOUNT): Context {
  return {
    db, account, region: REGION, regions: [REGION], zones: ZONES, placement: 'spread', nowMs: NOW_MS, random, requestId: 'request-1', accessKeyId: 'AKIATEST',
    publicPool: parseCidr('198.18.0.0/24') ?? { base: 0, prefix: 24 },
  }
}

/** A node with a host in each zone. */
export async function insertHost(db: Db): Promise<void> {
  const common = {
    node_id: HOST_ID, zone_revision: 0, epoch: 1, region: REGION, vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: NOW_MS, doc: '{}',
  }
  const hosts = ZONES.map((zone) => ({ ...common, host_id: hostOf(zone), zone, vcpus: 64, memory_mib: 65536 }))
  await db
    .insertInto('hosts').values([{ ...common, host_id: HOST_ID, zone: null, vcpus: 0, memory_mib: 0 }, ...hosts]).execute()
}

/** Sets the state of a zone, as whoever fails or heals one does. */
export async function failZone(db: Db, zone: string, state: ZoneTable['state'] = 'unavailable'): Promise<void> {
  await db
    .insertInto('zones').values({ zone, state, revision: 1, power_cuts: 0, since_ms: NOW_MS, doc: '{}' })
    .onConflict((conflict) => conflict.column('zone').doUpdateSet({ state })).execute()
}

/** The account's default subnet of the zone, with its VPC and that VPC's default group. */
export async function defaultNetwork(
  { db, account }: Context,
  zone = `${REGION}a`,
): Promise<{ subnet: SubnetTable; groupId: string }> {
  const subnet = await db
    .selectFrom('subnets').selectAll().where('account_id', '=', account).where('zone', '=', zone)
    .executeTakeFirstOrThrow()
  const group = await db
    .selectFrom('security_groups').select('group_id').where('vpc_id', '=', subnet.vpc_id).where('name', '=', 'default')
    .executeTakeFirstOrThrow()
  return { subnet, groupId: group.group_id }
}

/** A public image of the provider, with its snapshot. */
export async function insertImage(
  context: Context,
  change: Partial<Omit<ImageTable, 'doc'>> = {},
  doc: Partial<ImageDoc> = {},
): Promise<ImageTable> {
  const { db, random } = context
  const account = change.account_id ?? PROVIDER_ACCOUNT
  const snapshotId = newId(random, 'snap')
  await insertSnapshot(context, { snapshot_id: snapshotId, account_id: account })
  const row: ImageTable = {
    image_id: newId(random, 'ami'), account_id: account, name: 'hearth-tiny-1', state: 'available', is_public: 1,
    architecture: 'x86_64', root_device_name: '/dev/vda', snapshot_id: snapshotId, created_ms: NOW_MS,
    doc: JSON.stringify({
      description: 'Tiny', recipe: 'tiny', sizeGib: 1, bootMode: 'legacy-bios', sshUser: 'root', imdsSupport: null,
      ...doc,
    } satisfies ImageDoc),
    binned_ms: null, bin_exit_ms: null,
    ...change,
  }
  await db.insertInto('images').values(row).execute()
  await db
    .insertInto('image_snapshots')
    .values({ image_id: row.image_id, device_name: row.root_device_name, snapshot_id: row.snapshot_id }).execute()
  return row
}

/** An instance that is in a subnet, as all are but terminated ones. */
export type PlacedInstance = InstanceTable & { vpc_id: string; subnet_id: string }

/** A running t3.micro in the account's default subnet; no interface or volume yet. */
export async function insertInstance(
  context: Context,
  change: Partial<Omit<PlacedInstance, 'doc'>> = {},
  doc: Partial<InstanceDoc> = {},
): Promise<PlacedInstance> {
  const { db, random, account } = context
  const { subnet } = await defaultNetwork(context, change.zone)
  const row: PlacedInstance = {
    instance_id: newId(random, 'i'), account_id: account, reservation_id: newId(random, 'r'), launch_index: 0,
    client_token: null, state: 'running', instance_type: 't3.micro', image_id: 'ami-00000000000000000', key_name: null,
    vpc_id: subnet.vpc_id, subnet_id: subnet.subnet_id, zone: subnet.zone, host_id: HOST_ID, node_id: HOST_ID, slot: null, vcpus: 2,
    memory_mib: 1024, holds_capacity: 1, reboot_requested: 0, reboot_completed: 0, state_ms: NOW_MS, launch_ms: NOW_MS,
    created_ms: NOW_MS, tenancy: 'default', placement_group_id: null, partition_number: null, dedicated_host_id: null, capacity_reservation_id: null,
    lifecycle: 'on-demand', spot_request_id: null, fleet_id: null,
    doc: JSON.stringify({ ...defaultInstanceDoc(), ...doc }),
    ...change,
  }
  await db.insertInto('instances').values(row).execute()
  return row
}

function defaultInstanceDoc(): InstanceDoc {
  return {
    uuid: 'ec2f0000-0000-4000-8000-000000000000', userData: null, shutdownBehavior: 'stop', architecture: 'x86_64',
    rootDeviceName: '/dev/vda', publicKey: null,
    metadataOptions: {
      httpTokens: 'optional', httpPutResponseHopLimit: 1, httpEndpoint: 'enabled', instanceMetadataTags: 'disabled',
    },
    stateReason: null, stateTransitionReason: '', platform: null, granted: null, force: false, hasRun: true, startFailures: 0,
    reboot: null, usageOperationUpdateMs: NOW_MS, contactMs: null, outOfSpaceSinceMs: null,
    options: DEFAULT_INSTANCE_OPTIONS,
  }
}

/** An interface of the instance (its primary one unless `device_index` says otherwise) in the default group. */
export async function insertInterface(
  context: Context,
  instance: PlacedInstance,
  change: Partial<Omit<InterfaceTable, 'doc'>> = {},
  doc: Partial<InterfaceDoc> = {},
): Promise<InterfaceTable> {
  const { db, random } = context
  const { groupId } = await defaultNetwork(context, instance.zone)
  const octet = () => random.int(254) + 1
  const row: InterfaceTable = {
    interface_id: newId(random, 'eni'), account_id: instance.account_id, vpc_id: instance.vpc_id,
    subnet_id: instance.subnet_id, zone: instance.zone, instance_id: instance.instance_id, host_id: HOST_ID, slot: null,
    device_index: 0, private_ip: `172.31.${octet()}.${octet()}`,
    mac: `0a:${random.bytes(5).toString('hex').replace(/(..)(?!$)/g, '$1:')}`, public_ip: null, status: 'in-use',
    wanted: 1, ready: 1, delete_on_termination: 1, created_ms: NOW_MS, revision: 1, synced_revision: 1,
    source_dest_check: 1, requester_id: null,
    doc: JSON.stringify({
      description: '', attachmentId: newId(random, 'eni-attach'), attachMs: NOW_MS, assignPublicIp: false, ...doc,
    } satisfies InterfaceDoc),
    ...change,
  }
  await db.insertInto('interfaces').values(row).execute()
  await db
    .insertInto('interface_groups').values({ interface_id: row.interface_id, group_id: groupId, position: 0 }).execute()
  return row
}

/** A sealed layer that stands alone, unless `change` says otherwise. */
export async function insertLayerRow(
  { db, random, account }: Context,
  change: Partial<LayerTable> = {},
): Promise<LayerTable> {
  const row: LayerTable = {
    layer_id: newId(random, 'lay'), account_id: account, host_id: HOST_ID, parent_id: null, replaces_id: null,
    state: 'sealed', size_gib: 1, depth: 0, created_ms: NOW_MS, doc: '{}', ...change,
  }
  await db.insertInto('layers').values(row).execute()
  return row
}

/** A completed snapshot of 1 GiB, with its layer. */
export async function insertSnapshot(
  context: Context,
  change: Partial<Omit<SnapshotTable, 'doc'>> = {},
  doc: SnapshotDoc = {},
): Promise<SnapshotTable> {
  const { db, random, account } = context
  const layerId = change.layer_id ?? (await insertLayerRow(context, {
    account_id: change.account_id ?? account, size_gib: change.size_gib ?? 1,
  })).layer_id
  const row: SnapshotTable = {
    snapshot_id: newId(random, 'snap'), account_id: account, size_gib: 1, state: 'completed', created_ms: NOW_MS,
    doc: JSON.stringify(doc), layer_id: layerId, volume_id: null, encrypted: 0, is_public: 0, binned_ms: null,
    bin_exit_ms: null, ...change,
  }
  await db.insertInto('snapshots').values(row).execute()
  return row
}

/** A volume; attached as the root when an instance is given, available otherwise. */
export async function insertVolume(
  context: Context,
  instance: InstanceTable | undefined,
  change: Partial<Omit<VolumeTable, 'doc'>> = {},
  doc: Partial<VolumeDoc> = {},
): Promise<VolumeTable> {
  const { db, random, account } = context
  const layerId = change.layer_id ?? (await insertLayerRow(context, { state: 'open', size_gib: change.size_gib ?? 8 })).layer_id
  const row: VolumeTable = {
    volume_id: newId(random, 'vol'), account_id: account, host_id: HOST_ID, zone: instance?.zone ?? `${REGION}a`,
    size_gib: 8, volume_type: 'gp3', snapshot_id: null, state: instance ? 'in-use' : 'available', ready: 1,
    instance_id: instance?.instance_id ?? null, device: instance ? '/dev/vda' : null,
    attach_state: instance ? 'attached' : null, attached_ms: instance ? NOW_MS : null,
    delete_on_termination: instance ? 1 : 0, created_ms: NOW_MS,
    layer_id: layerId, next_layer_id: null, freeze: null, encrypted: 0, revision: 1, synced_revision: 1,
    binned_ms: null, bin_exit_ms: null,
    doc: JSON.stringify({ iops: 3000, throughputMibps: 125, ...doc } satisfies VolumeDoc),
    ...change,
  }
  await db.insertInto('volumes').values(row).execute()
  return row
}
