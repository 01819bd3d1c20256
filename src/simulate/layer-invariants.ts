import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { chainOf, MOST_LAYERS } from '../model/layer.ts'
import type { LayerTable, SnapshotTable, VolumeTable } from '../store/schema.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What must hold of layers once everything has settled: each is there for somebody, in its last state, and as its file is. */
export async function checkLayers(cloud: SimulatedCloud): Promise<string[]> {
  const rows = await cloud.store.read(async (db) => {
    const volumes = await db.selectFrom('volumes').selectAll().execute()
    return {
      volumes,
      layers: await db.selectFrom('layers').selectAll().execute(),
      snapshots: await db.selectFrom('snapshots').selectAll().execute(),
      chains: new Map(await Promise.all(volumes.map(async (volume) =>
        [volume.volume_id, (await chainOf(db, volume.layer_id)).map((layer) => layer.layer_id)] as const))),
    }
  })
  const { world } = cloud.host
  const disks = [...world.machines.values()].flatMap((machine) => [...machine.process?.disks.all.values() ?? []])
  return [
    ...rows.volumes.filter((row) => row.next_layer_id !== null).map((row) => `${row.volume_id} still waits for its moment`),
    ...rows.layers.flatMap((row) => layerProblems(row, rows)),
    ...rows.layers.filter((row) => row.state === 'sealed' && world.layers.get(row.layer_id)?.isSealed !== true)
      .map((row) => `${row.layer_id} is not immutable`),
    ...disks.filter(({ spec }) => spec.layers.map((layer) => layer.layerId).join() !== rows.chains.get(spec.volumeId)?.join())
      .map(({ spec }) => `${spec.volumeId} is open on ${spec.layers.map((layer) => layer.layerId).join()}, not on its layers`),
  ]
}

interface Rows {
  volumes: VolumeTable[]
  snapshots: SnapshotTable[]
  layers: LayerTable[]
}

function layerProblems(row: LayerTable, { volumes, snapshots, layers }: Rows): string[] {
  const { layer_id: id } = row
  const parent = layers.find((layer) => layer.layer_id === row.parent_id)
  const isVolumes = volumes.some((volume) => volume.layer_id === id)
  const isSnapshots = snapshots.some((snapshot) => snapshot.layer_id === id)
  const isUnder = layers.some((layer) => layer.parent_id === id)
  const isOwn = snapshots.some((snapshot) => snapshot.layer_id === id && snapshot.account_id === DEFAULT_ACCOUNT)
  return [
    ...(isVolumes || isSnapshots || isUnder ? [] : [`${id} is nobody's`]),
    ...(row.state === (isVolumes ? 'open' : 'sealed') ? [] : [`${id} is still ${row.state}`]),
    ...(row.depth === (parent ? parent.depth + 1 : 0) ? [] : [`${id} counts ${row.depth} layers under it`]),
    ...(row.replaces_id === null ? [] : [`${id} has not taken the place of ${row.replaces_id}`]),
    ...(isOwn && row.depth + 1 > MOST_LAYERS ? [`${id} stands on ${row.depth} layers and is not copied`] : []),
  ]
}
