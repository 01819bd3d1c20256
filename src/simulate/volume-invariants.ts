import type { SimWorld } from '../hypervisor/sim-world.ts'
import type { InstanceTable, LayerTable, SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { SimulatedCloud } from './simulator.ts'

interface Rows {
  instances: InstanceTable[]
  volumes: VolumeTable[]
  layers: LayerTable[]
  snapshots: SnapshotTable[]
  images: { image_id: string; state: string }[]
  modifications: { volume_id: string; state: string }[]
}

/** What must hold of volumes, snapshots and layers once everything has settled. */
export async function checkVolumes(cloud: SimulatedCloud): Promise<string[]> {
  const rows = await cloud.store.read(async (db): Promise<Rows> => ({
    instances: await db.selectFrom('instances').selectAll().execute(),
    volumes: await db.selectFrom('volumes').selectAll().execute(),
    layers: await db.selectFrom('layers').selectAll().execute(),
    snapshots: await db.selectFrom('snapshots').selectAll().execute(),
    images: await db.selectFrom('images').select(['image_id', 'state']).execute(),
    modifications: await db.selectFrom('volume_modifications').select(['volume_id', 'state']).execute(),
  }))
  return [
    ...rows.volumes.flatMap(volumeProblems),
    ...machineProblems(cloud.host.world, rows),
    ...layerProblems(rows),
    ...rows.snapshots.filter((row) => row.state === 'pending').map((row) => `${row.snapshot_id} is still pending`),
    ...rows.images.filter((row) => row.state === 'pending').map((row) => `${row.image_id} is still pending`),
    ...rows.modifications.filter((row) => row.state !== 'completed').map((row) => `the modification of ${row.volume_id} is still ${row.state}`),
  ]
}

function volumeProblems(row: VolumeTable): string[] {
  const problems: string[] = []
  const isAttached = row.instance_id !== null
  if (row.state !== (isAttached ? 'in-use' : 'available')) problems.push(`${row.volume_id} is ${row.state}, of ${row.instance_id}`)
  if (row.attach_state !== (isAttached ? 'attached' : null)) problems.push(`${row.volume_id} is still ${row.attach_state}`)
  if (!isAttached && row.device !== null) problems.push(`${row.volume_id} is nobody's and ${row.device}`)
  if (row.next_layer_id !== null || row.freeze !== null) problems.push(`${row.volume_id} is still to go on in ${row.next_layer_id}`)
  return problems
}

/** Running machines have the disks that their rows say, in that size, and write into the layers that the rows say. */
function machineProblems(world: SimWorld, { instances, volumes }: Rows): string[] {
  return instances.filter((row) => row.state === 'running').flatMap((row) => {
    const disks = [...world.machines.get(row.instance_id)?.process?.disks.all.values() ?? []]
      // One that was cut off waits for its guest.
      .filter((disk) => !disk.isLeaving)
      .map(({ spec }) => `${spec.volumeId} ${spec.sizeGib} GiB in ${spec.layers[0]?.layerId}`)
    const wanted = volumes.filter((volume) => volume.instance_id === row.instance_id)
      .map((volume) => `${volume.volume_id} ${volume.size_gib} GiB in ${volume.layer_id}`)
    return [
      ...disks.filter((each) => !wanted.includes(each)).map((each) => `${row.instance_id} has ${each}`),
      ...wanted.filter((each) => !disks.includes(each)).map((each) => `${row.instance_id} has not ${each}`),
    ]
  })
}

/** Every layer is in a state that stays, and somebody's: a volume's, a snapshot's or under another one. */
function layerProblems({ layers, volumes, snapshots }: Rows): string[] {
  const used = new Set([
    ...volumes.map((row) => row.layer_id), ...snapshots.map((row) => row.layer_id), ...layers.map((row) => row.parent_id),
  ])
  const written = new Set(volumes.map((row) => row.layer_id))
  return layers.flatMap((row) => {
    if (!used.has(row.layer_id)) return [`${row.layer_id} is ${row.state} and nobody's`]
    const wanted = written.has(row.layer_id) ? 'open' : 'sealed'
    return row.state === wanted ? [] : [`${row.layer_id} is ${row.state}, should be ${wanted}`]
  })
}
