import { sql } from 'kysely'
import { pick, type Random } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What calls about disks may name, as it is now; each list in the order of its ids. */
interface Present {
  instances: string[]
  volumes: string[]
  freeVolumes: string[]
  /** Beside the root. */
  attachedVolumes: string[]
  snapshots: string[]
  images: string[]
  binnedVolumes: string[]
  binnedSnapshots: string[]
  binnedImages: string[]
  rules: string[]
}

/**
 * A random call about volumes, snapshots, images and the recycle bin. Many are refused for a good reason
 * (something is attached, in use, or being made): what counts is that none fails inside, and what the
 * invariants find after them.
 */
export async function drawDiskCall({ store, random }: Pick<SimulatedCloud, 'store' | 'random'>): Promise<DrawnCall> {
  return pick(random, CALLS)(await store.read(look), random)
}

async function look(db: Db): Promise<Present> {
  const idsOf = async (table: string, column: string, condition = sql`1 = 1`) => {
    const { rows } = await sql<{ id: string }>`select ${sql.ref(column)} as id from ${sql.table(table)}
      where account_id = ${DEFAULT_ACCOUNT} and ${condition} order by 1`.execute(db)
    return rows.map((row) => row.id)
  }
  const [outside, inside] = [sql`binned_ms is null`, sql`binned_ms is not null`]
  return {
    instances: await idsOf('instances', 'instance_id', sql`state <> 'terminated'`),
    volumes: await idsOf('volumes', 'volume_id', outside),
    freeVolumes: await idsOf('volumes', 'volume_id', sql`binned_ms is null and instance_id is null`),
    attachedVolumes: await idsOf('volumes', 'volume_id', sql`instance_id is not null and device <> '/dev/xvda'`),
    snapshots: await idsOf('snapshots', 'snapshot_id', outside),
    images: await idsOf('images', 'image_id', outside),
    binnedVolumes: await idsOf('volumes', 'volume_id', inside),
    binnedSnapshots: await idsOf('snapshots', 'snapshot_id', inside),
    binnedImages: await idsOf('images', 'image_id', inside),
    rules: await idsOf('recycle_rules', 'rule_id'),
  }
}

/** One of the ids, or one that is nobody's where there are none. */
const some = (random: Random, ids: string[], prefix: string) => (ids.length === 0 ? `${prefix}-00000000000000000` : pick(random, ids))
const call = (action: string, input: object): DrawnCall => ({ action, input })
const zone = (random: Random) => `us-east-1${pick(random, ['a', 'b'])}`

const CALLS: ((present: Present, random: Random) => DrawnCall)[] = [
  (_p, random) => call('CreateVolume', { AvailabilityZone: zone(random), Size: 1 + random.int(3), VolumeType: 'gp3' }),
  (p, random) => call('CreateVolume', { AvailabilityZone: zone(random), SnapshotId: some(random, p.snapshots, 'snap') }),
  (p, random) => call('AttachVolume', {
    VolumeId: some(random, p.freeVolumes, 'vol'), InstanceId: some(random, p.instances, 'i'), Device: `/dev/sd${pick(random, ['f', 'g', 'h'])}`,
  }),
  (p, random) => call('DetachVolume', { VolumeId: some(random, p.attachedVolumes, 'vol'), Force: random.int(3) === 0 }),
  (p, random) => call('ModifyVolume', { VolumeId: some(random, p.volumes, 'vol'), Size: 2 + random.int(4) }),
  (p, random) => call('DeleteVolume', { VolumeId: some(random, p.freeVolumes, 'vol') }),
  (p, random) => call('CreateSnapshot', { VolumeId: some(random, p.volumes, 'vol') }),
  (p, random) => call('CreateSnapshots', { InstanceSpecification: { InstanceId: some(random, p.instances, 'i') } }),
  (p, random) => call('CopySnapshot', { SourceRegion: 'us-east-1', SourceSnapshotId: some(random, p.snapshots, 'snap') }),
  (p, random) => call('DeleteSnapshot', { SnapshotId: some(random, p.snapshots, 'snap') }),
  (p, random) => call('CreateImage', {
    InstanceId: some(random, p.instances, 'i'), Name: `baked-${random.int(1000)}`, NoReboot: random.int(3) > 0,
  }),
  (p, random) => call('RegisterImage', {
    Name: `made-${random.int(1000)}`, Architecture: 'x86_64', VirtualizationType: 'hvm', RootDeviceName: '/dev/xvda',
    BlockDeviceMappings: [{ DeviceName: '/dev/xvda', Ebs: { SnapshotId: some(random, p.snapshots, 'snap') } }],
  }),
  (p, random) => call('DeregisterImage', { ImageId: some(random, p.images, 'ami'), DeleteAssociatedSnapshots: random.int(2) === 0 }),
  (p, random) => call('RestoreVolumeFromRecycleBin', { VolumeId: some(random, p.binnedVolumes, 'vol') }),
  (p, random) => call('RestoreSnapshotFromRecycleBin', { SnapshotId: some(random, p.binnedSnapshots, 'snap') }),
  (p, random) => call('RestoreImageFromRecycleBin', { ImageId: some(random, p.binnedImages, 'ami') }),
  (_p, random) => ({
    service: 'rbin', action: 'CreateRule',
    input: {
      ResourceType: pick(random, ['EBS_VOLUME', 'EBS_SNAPSHOT', 'EC2_IMAGE']),
      RetentionPeriod: { RetentionPeriodValue: 1 + random.int(7), RetentionPeriodUnit: 'DAYS' },
    },
  }),
  (p, random) => ({ service: 'rbin', action: 'DeleteRule', input: { Identifier: p.rules.length === 0 ? 'aaaaaaaaaaa' : pick(random, p.rules) } }),
]

/** What is in the bin has been there for long enough: days, of which a simulation has none to lose. */
export async function expireBin({ store, clock }: SimulatedCloud): Promise<void> {
  await store.transaction('simulated.days', async (db) => {
    for (const table of ['volumes', 'snapshots', 'images'] as const) {
      await db.updateTable(table).set({ bin_exit_ms: clock.now() }).where('binned_ms', 'is not', null).execute()
    }
    const hosts = await db.selectFrom('hosts').select('host_id').execute()
    for (const host of hosts) await enqueue(db, { kind: 'recycle', id: 'bin', hostId: host.host_id }, clock.now())
  })
}

/** When all is settled: nothing is on its way, no data is without an owner, and nobody has data that is not whole. */
export async function checkDisks({ store, clock }: SimulatedCloud): Promise<string[]> {
  const rows = await store.read(async (db) => ({
    layers: await db.selectFrom('layers').selectAll().execute(),
    volumes: await db.selectFrom('volumes').selectAll().execute(),
    snapshots: await db.selectFrom('snapshots').selectAll().execute(),
    images: await db.selectFrom('images').selectAll().execute(),
  }))
  const layers = new Map(rows.layers.map((row) => [row.layer_id, row]))
  const used = new Set([
    ...rows.volumes.flatMap((row) => [row.layer_id, row.next_layer_id]), ...rows.snapshots.map((row) => row.layer_id),
    ...rows.layers.flatMap((row) => [row.parent_id, row.replaces_id]),
  ])
  const overdue = [...rows.volumes, ...rows.snapshots, ...rows.images]
    .filter((row) => row.bin_exit_ms !== null && row.bin_exit_ms < clock.now() - 60_000)
  return [
    ...rows.layers.filter((row) => !used.has(row.layer_id)).map((row) => `${row.layer_id} (${row.state}) is nobody's`),
    ...rows.layers.filter((row) => !['open', 'sealed'].includes(row.state)).map((row) => `${row.layer_id} is still ${row.state}`),
    ...rows.volumes.filter((row) => layers.get(row.layer_id)?.state !== 'open')
      .map((row) => `${row.volume_id} writes into ${row.layer_id}, which is ${layers.get(row.layer_id)?.state}`),
    ...rows.volumes.filter((row) => row.next_layer_id !== null).map((row) => `${row.volume_id} still waits for its next layer`),
    ...rows.volumes.filter((row) => row.state !== (row.instance_id === null ? 'available' : 'in-use'))
      .map((row) => `${row.volume_id} is ${row.state}, attached to ${row.instance_id}`),
    ...rows.snapshots.filter((row) => row.state !== 'completed').map((row) => `${row.snapshot_id} is still ${row.state}`),
    ...rows.snapshots.filter((row) => row.layer_id === null || layers.get(row.layer_id)?.state !== 'sealed')
      .map((row) => `${row.snapshot_id} is of ${row.layer_id}, which is not sealed`),
    ...rows.images.filter((row) => row.state !== 'available').map((row) => `${row.image_id} is ${row.state}`),
    ...overdue.map((row) => `${'volume_id' in row ? row.volume_id : 'snapshot_id' in row ? row.snapshot_id : ''} stays in the bin`),
  ]
}
