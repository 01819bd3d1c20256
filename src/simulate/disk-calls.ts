import { operations } from '../ec2/index.ts'
import { pick, type Random } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { Db } from '../store/store.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What calls may name, as it is now; each list in the order of its ids. */
interface Present {
  instances: string[]
  volumes: string[]
  /** Of those that no instance has, and that one has. */
  free: string[]
  attached: string[]
  snapshots: string[]
  images: string[]
}

/**
 * A random call about volumes, snapshots and images. Many are refused for a good reason; what counts is
 * that nothing that was written is lost, and what the invariants find after them.
 */
export async function drawDiskCall({ store, random }: Pick<SimulatedCloud, 'store' | 'random'>): Promise<DrawnCall | undefined> {
  const present = await store.read(look)
  const known = CALLS.filter(([action]) => action in operations)
    .flatMap(([action, weight, make]) => Array.from({ length: weight }, () => ({ action, make })))
  if (known.length === 0) return undefined
  const { action, make } = pick(random, known)
  const input = make(present, random)
  return input && { action, input }
}

/** What belongs to the caller, in a fixed order, so that a seed replays. */
async function look(db: Db): Promise<Present> {
  const volumes = await db
    .selectFrom('volumes').select(['volume_id', 'instance_id'])
    .where('account_id', '=', DEFAULT_ACCOUNT).where('state', 'in', ['available', 'in-use']).orderBy('volume_id').execute()
  const instances = await db
    .selectFrom('instances').select('instance_id').where('state', '<>', 'terminated').orderBy('instance_id').execute()
  const snapshots = await db
    .selectFrom('snapshots').select('snapshot_id').where('account_id', '=', DEFAULT_ACCOUNT).orderBy('snapshot_id').execute()
  const images = await db
    .selectFrom('images').select('image_id').where('account_id', '=', DEFAULT_ACCOUNT).orderBy('image_id').execute()
  return {
    instances: instances.map((row) => row.instance_id),
    volumes: volumes.map((row) => row.volume_id),
    free: volumes.filter((row) => row.instance_id === null).map((row) => row.volume_id),
    attached: volumes.filter((row) => row.instance_id !== null).map((row) => row.volume_id),
    snapshots: snapshots.map((row) => row.snapshot_id),
    images: images.map((row) => row.image_id),
  }
}

/** Undefined when there is nothing to name. */
type Maker = (present: Present, random: Random) => object | undefined

const AvailabilityZone = 'us-east-1a'

const CALLS: [action: string, weight: number, make: Maker][] = [
  ['CreateVolume', 1, (_p, random) => ({ AvailabilityZone, Size: 1 + random.int(4), ...(random.int(4) === 0 ? { Encrypted: true } : {}) })],
  ['CreateVolume', 1, (p, random) => one(random, p.snapshots, (SnapshotId) =>
    ({ AvailabilityZone, SnapshotId, ...(random.int(3) === 0 ? { Encrypted: true } : {}) }))],
  ['AttachVolume', 3, (p, random) => one(random, p.free, (VolumeId) => one(random, p.instances, (InstanceId) =>
    ({ VolumeId, InstanceId, Device: `/dev/sd${pick(random, ['f', 'g', 'h'])}` })))],
  ['DetachVolume', 2, (p, random) => one(random, p.attached, (VolumeId) => ({ VolumeId, Force: random.int(3) === 0 }))],
  ['DeleteVolume', 1, (p, random) => one(random, p.free, (VolumeId) => ({ VolumeId }))],
  ['ModifyVolume', 1, (p, random) => one(random, p.volumes, (VolumeId) =>
    ({ VolumeId, ...(random.int(2) === 0 ? { Size: 2 + random.int(8) } : { VolumeType: 'gp3', Iops: 3000 + random.int(1000) }) }))],
  ['CreateSnapshot', 4, (p, random) => one(random, p.volumes, (VolumeId) => ({ VolumeId }))],
  ['CreateSnapshots', 3, (p, random) => one(random, p.instances, (InstanceId) => ({ InstanceSpecification: { InstanceId } }))],
  ['DeleteSnapshot', 4, (p, random) => one(random, p.snapshots, (SnapshotId) => ({ SnapshotId }))],
  ['CreateImage', 2, (p, random) => one(random, p.instances, (InstanceId) =>
    ({ InstanceId, Name: `image ${random.int(1_000_000)}`, NoReboot: random.int(2) === 0 }))],
  ['DeregisterImage', 2, (p, random) => one(random, p.images, (ImageId) =>
    ({ ImageId, DeleteAssociatedSnapshots: random.int(2) === 0 }))],
  ['CopySnapshot', 1, (p, random) => one(random, p.snapshots, (SourceSnapshotId) =>
    ({ SourceSnapshotId, SourceRegion: 'us-east-1', ...(random.int(2) === 0 ? { Encrypted: true } : {}) }))],
]

function one(random: Random, ids: string[], make: (id: string) => object | undefined): object | undefined {
  return ids.length === 0 ? undefined : make(pick(random, ids))
}
