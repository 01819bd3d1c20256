import { sizeInMachine } from '../reconcile/attached-volumes.ts'
import { withLayers } from '../reconcile/load-instance.ts'
import { layerDoc } from '../model/layer.ts'
import type { LayerTable, VolumeTable } from '../store/schema.ts'
import type { SimulatedCloud } from './simulator.ts'

/** What immutable layers held when they were first seen; nothing may change it. */
export class SealedLayers {
  readonly #seen = new Map<string, string>()

  /** At any moment. */
  check({ host: { world } }: SimulatedCloud): string[] {
    const problems: string[] = []
    for (const [id, layer] of world.layers) {
      if (!layer.isSealed) continue
      const data = JSON.stringify([...layer.data])
      const before = this.#seen.get(id)
      if (before === undefined) this.#seen.set(id, data)
      else if (before !== data) problems.push(`${id} is immutable and has changed`)
    }
    for (const id of this.#seen.keys()) if (!world.layers.has(id)) this.#seen.delete(id)
    return problems
  }
}

/** Once everything has settled: disks on the host are what the rows say, and nothing is on its way. */
export async function checkDisks(cloud: SimulatedCloud): Promise<string[]> {
  const { world } = cloud.host
  const { layers, volumes, snapshots, images, modifications, running } = await cloud.store.read(async (db) => ({
    layers: await db.selectFrom('layers').selectAll().execute(),
    volumes: await withLayers(db, await db.selectFrom('volumes').selectAll().execute()),
    snapshots: await db.selectFrom('snapshots').select(['snapshot_id', 'state', 'layer_id']).execute(),
    images: await db.selectFrom('images').select(['image_id', 'state']).execute(),
    modifications: await db.selectFrom('volume_modifications').select(['volume_id', 'state']).execute(),
    running: (await db.selectFrom('instances').select('instance_id').where('state', '=', 'running').execute()).map((row) => row.instance_id),
  }))
  const inMachines = new Map([...world.machines.values()].flatMap(({ instanceId, process }) =>
    [...process?.disks.all.values() ?? []].map(({ spec }) => [spec.volumeId, { instanceId, spec }] as const)))
  return [
    ...layers.flatMap((row) => layerProblems(row, world.layers.get(row.layer_id)?.isSealed)),
    ...snapshots.filter((row) => row.state === 'pending').map((row) => `${row.snapshot_id} is still pending`),
    ...snapshots.filter((row) => row.state === 'error').map((row) => `${row.snapshot_id} is in error`),
    ...images.filter((row) => row.state === 'pending').map((row) => `${row.image_id} is still pending`),
    ...modifications.filter((row) => row.state !== 'completed').map((row) => `the modification of ${row.volume_id} is ${row.state}`),
    ...volumes.flatMap(({ row }) => volumeProblems(row)),
    ...volumes.flatMap((volume) => {
      const { row, head } = volume
      const isRunning = running.includes(row.instance_id ?? '')
      const found = inMachines.get(row.volume_id)
      if (!isRunning) return found ? [`${found.instanceId} has ${row.volume_id}, and should not`] : []
      if (found?.instanceId !== row.instance_id) return [`${row.instance_id} has not ${row.volume_id}`]
      return [
        ...(found.spec.layers[0]?.layerId === row.layer_id ? [] : [`${row.volume_id} writes into another layer`]),
        ...(found.spec.sizeGib === sizeInMachine(volume) && head.size_gib === row.size_gib ? [] : [`${row.volume_id} has not its size`]),
      ]
    }),
    ...[...inMachines].filter(([id]) => !volumes.some(({ row }) => row.volume_id === id))
      .map(([id, { instanceId }]) => `${instanceId} has ${id}, which is gone`),
    ...writtenByTwo(volumes.map(({ row }) => row)),
  ]
}

function layerProblems(row: LayerTable, isSealed: boolean | undefined): string[] {
  const id = row.layer_id
  return [
    ...(['making', 'filling', 'sealing', 'deleting', 'failed'].includes(row.state) ? [`${id} is still ${row.state}`] : []),
    ...((row.state === 'sealed') === isSealed ? [] : [`${id} is ${row.state}, and its file is not`]),
    ...(row.replaces_id === null ? [] : [`${id} is still to take the place of ${row.replaces_id}`]),
    ...(layerDoc(row).frozenFor === undefined ? [] : [`${id} is still being switched`]),
  ]
}

function volumeProblems(row: VolumeTable): string[] {
  const id = row.volume_id
  return [
    ...(row.next_layer_id === null ? [] : [`${id} waits for its next layer`]),
    ...(row.attach_state === null || row.attach_state === 'attached' ? [] : [`${id} is still ${row.attach_state}`]),
    ...(row.state === 'available' || row.state === 'in-use' ? [] : [`${id} is ${row.state}`]),
    ...(row.revision === row.synced_revision ? [] : [`${id} is not as it should be in force`]),
  ]
}

function writtenByTwo(volumes: VolumeTable[]): string[] {
  const ids = volumes.flatMap((row) => [row.layer_id, ...(row.next_layer_id === null ? [] : [row.next_layer_id])])
  return ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `${id} is written into by two volumes`)
}
