import { pick, type Random } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import type { DrawnCall } from './interface-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What calls may name, as it is now; each list in the order of its ids. */
interface Nouns {
  instances: { id: string; zone: string }[]
  volumes: { id: string; sizeGib: number; zone: string; use: 'free' | 'root' | 'data' }[]
  snapshotIds: string[]
  /** Those that users made. */
  imageIds: string[]
}

/** Few, so that some are taken. */
const DEVICES = ['/dev/sdf', '/dev/sdg', '/dev/sdh', '/dev/sdi']
const ZONES = ['us-east-1a', 'us-east-1b', 'us-east-1c']

/** A random call about volumes, snapshots or images of instances; it may well be refused, as `drawInterfaceCall`'s. */
export async function drawVolumeCall(cloud: SimulatedCloud): Promise<DrawnCall> {
  return pick(cloud.random, callsWith(cloud.random, await loadNouns(cloud)))
}

function loadNouns({ store }: SimulatedCloud): Promise<Nouns> {
  return store.read(async (db) => {
    const instances = await db
      .selectFrom('instances').select(['instance_id as id', 'zone']).where('state', 'in', ['running', 'stopped', 'stopping'])
      .orderBy('instance_id').execute()
    const volumes = await db
      .selectFrom('volumes').selectAll().orderBy('volume_id').execute()
    const snapshots = await db
      .selectFrom('snapshots').select('snapshot_id').where('account_id', '=', DEFAULT_ACCOUNT).orderBy('snapshot_id').execute()
    const images = await db.selectFrom('images').select('image_id').where('is_public', '=', 0).orderBy('image_id').execute()
    return {
      instances,
      volumes: volumes.map((row) => ({
        id: row.volume_id, sizeGib: row.size_gib, zone: row.zone,
        use: row.instance_id === null ? 'free' : DEVICES.includes(row.device ?? '') ? 'data' : 'root',
      })),
      snapshotIds: snapshots.map((row) => row.snapshot_id),
      imageIds: images.map((row) => row.image_id),
    }
  })
}

/** One call of each kind for which there is something to name. */
function callsWith(random: Random, { instances, volumes, snapshotIds, imageIds }: Nouns): DrawnCall[] {
  const maybe = <T>(values: readonly T[]) => values.slice(random.int(values.length + 1)).slice(0, 1)
  const zone = instances.length > 0 ? pick(random, instances).zone : pick(random, ZONES)
  const calls: DrawnCall[] = [{
    action: 'CreateVolume',
    input: {
      AvailabilityZone: zone, Size: 1 + random.int(3), Encrypted: random.int(3) === 0 ? true : undefined,
      SnapshotId: maybe(snapshotIds)[0],
    },
  }]
  const free = volumes.filter((volume) => volume.use === 'free')
  const data = volumes.filter((volume) => volume.use === 'data')
  for (const volume of free) {
    const near = instances.filter((instance) => instance.zone === volume.zone || random.int(10) === 0)
    const input = { VolumeId: volume.id, InstanceId: near.length === 0 ? '' : pick(random, near).id, Device: pick(random, DEVICES) }
    if (near.length > 0) calls.push({ action: 'AttachVolume', input })
  }
  if (data.length > 0) {
    // A root now and then: that of a stopped instance can be detached, and then it does not start.
    const VolumeId = pick(random, random.int(5) === 0 ? volumes : data).id
    calls.push({ action: 'DetachVolume', input: { VolumeId, Force: random.int(4) === 0 } })
  }
  if (free.length > 0) calls.push({ action: 'DeleteVolume', input: { VolumeId: pick(random, free).id } })
  if (volumes.length > 0) {
    const volume = pick(random, volumes)
    calls.push(
      { action: 'ModifyVolume', input: { VolumeId: volume.id, Size: volume.sizeGib + random.int(3), VolumeType: pick(random, ['gp2', 'gp3']) } },
      { action: 'CreateSnapshot', input: { VolumeId: pick(random, volumes).id } },
    )
  }
  if (instances.length > 0) {
    const { id: InstanceId } = pick(random, instances)
    calls.push(
      { action: 'CreateSnapshots', input: { InstanceSpecification: { InstanceId } } },
      { action: 'CreateImage', input: { InstanceId, Name: `image-${random.int(1_000_000)}`, NoReboot: random.int(2) === 0 } },
    )
  }
  if (snapshotIds.length > 0) calls.push({ action: 'DeleteSnapshot', input: { SnapshotId: pick(random, snapshotIds) } })
  if (imageIds.length > 0) {
    calls.push({ action: 'DeregisterImage', input: { ImageId: pick(random, imageIds), DeleteAssociatedSnapshots: random.int(2) === 0 } })
  }
  return calls
}
