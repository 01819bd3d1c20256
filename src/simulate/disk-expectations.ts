import { pick } from '../core/random.ts'
import type { LayerData } from '../hypervisor/sim-data.ts'
import type { SnapshotTable } from '../store/schema.ts'
import type { SimulatedCloud } from './simulator.ts'

/** Blocks that guests write into; few, so that they write over what is there. */
const BLOCKS = 4

/** What a volume held from one write on. */
interface Version {
  /** How many writes there had been, of all guests. */
  since: number
  data: string
}

/** What may be in a snapshot: what its volume held at some moment from `since` on; with `until`, up to then. */
interface Expected {
  versions: Version[]
  since: number
  until: number
  /** Snapshots of one call are of one moment. */
  group: string[]
}

/**
 * What guests have written and were told is on disk, and so must be in their volumes, and in the snapshots of
 * them as of the moment of each.
 */
export class DiskExpectations {
  readonly #cloud: SimulatedCloud
  /** By volume, oldest first. */
  readonly #volumes = new Map<string, Version[]>()
  readonly #snapshots = new Map<string, Expected>()
  #writes = 0

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud
  }

  /** A running guest writes into one of its volumes. */
  guestWrites(): void {
    const { random, host: { world } } = this.#cloud
    const running = [...world.machines.values()].filter((machine) => machine.process?.status === 'running')
    if (running.length === 0) return
    const { instanceId, process } = pick(random, running)
    const volumeId = pick(random, [...process?.disks.all.keys() ?? []].toSorted())
    const known = this.#volumes.get(volumeId)
    const [block, value] = [random.int(BLOCKS), random.int(1_000_000)]
    // What was written by a volume that nobody has looked at yet is not known.
    if (!known || !world.guestWrites(instanceId, volumeId, value, block)) return
    this.#writes += 1
    const data = new Map(JSON.parse(known.at(-1)?.data ?? '[]') as [number, number][]).set(block, value)
    known.push({ since: this.#writes, data: textOf(data) })
  }

  /** After a call: what is new. No guest has written meanwhile. */
  async observe(): Promise<void> {
    const { world } = this.#cloud.host
    const { volumes, snapshots } = await this.#cloud.store.read(async (db) => ({
      volumes: await db.selectFrom('volumes').selectAll().orderBy('volume_id').execute(),
      snapshots: await db.selectFrom('snapshots').selectAll().orderBy('snapshot_id').execute(),
    }))
    for (const row of volumes) {
      // What it is made of is immutable, and checked by itself.
      if (!this.#volumes.has(row.volume_id) && world.layers.has(row.layer_id)) {
        this.#volumes.set(row.volume_id, [{ since: 0, data: textOf(world.dataOf(row.layer_id)) }])
      }
    }
    const fresh = snapshots.filter((row) => row.volume_id !== null && !this.#snapshots.has(row.snapshot_id))
    const group = fresh.map((row) => row.snapshot_id)
    for (const row of fresh) {
      const versions = this.#volumes.get(row.volume_id ?? '')
      if (!versions) continue
      // Nobody writes into what it is of any more: it is what was there when the call ended.
      const isFrozen = !volumes.some((volume) => volume.layer_id === row.layer_id)
      this.#snapshots.set(row.snapshot_id, { versions, since: this.#writes, until: isFrozen ? this.#writes : Infinity, group })
    }
  }

  /** Once all has settled. */
  async check(): Promise<string[]> {
    const { world } = this.#cloud.host
    await this.observe()
    const { volumes, snapshots } = await this.#cloud.store.read(async (db) => ({
      volumes: await db.selectFrom('volumes').select(['volume_id', 'layer_id']).execute(),
      snapshots: await db.selectFrom('snapshots').selectAll().execute(),
    }))
    const problems: string[] = []
    for (const { volume_id: id, layer_id: layerId } of volumes) {
      const expected = this.#volumes.get(id)?.at(-1)?.data
      const data = textOf(world.dataOf(layerId))
      if (expected !== undefined && data !== expected) problems.push(`${id} holds ${data}, and ${expected} was written`)
    }
    const completed = new Map(snapshots.filter((row) => row.state === 'completed').map((row) => [row.snapshot_id, row]))
    for (const [id, expected] of this.#snapshots) {
      const row = completed.get(id)
      if (row) problems.push(...this.#checkSnapshot(row, expected, completed))
      else this.#snapshots.delete(id)
    }
    this.#forget(new Set(volumes.map((row) => row.volume_id)))
    return problems
  }

  #checkSnapshot(row: SnapshotTable, expected: Expected, completed: Map<string, SnapshotTable>): string[] {
    const moments = this.#momentsOf(row, expected)
    if (moments.length === 0) {
      const data = textOf(this.#cloud.host.world.dataOf(row.layer_id ?? ''))
      const text = expected.versions.map((version) => `${version.since}: ${version.data}`).join(' ')
      return [`${row.snapshot_id} of ${row.volume_id} holds ${data}, not what was there from ${expected.since} to ${expected.until} of ${text}`]
    }
    // Whatever else was asked for in the same call was there at one of these moments, too.
    const common = expected.group.reduce((left, id) => {
      const [other, otherRow] = [this.#snapshots.get(id), completed.get(id)]
      return other && otherRow ? intersect(left, this.#momentsOf(otherRow, other)) : left
    }, moments)
    return common.length > 0 ? [] : [`${row.snapshot_id} is not of the moment of ${expected.group.join(', ')}`]
  }

  /** When its volume held what it shows, as counts of writes: from the first to before the second. */
  #momentsOf(row: SnapshotTable, { versions, since, until }: Expected): [number, number][] {
    const data = textOf(this.#cloud.host.world.dataOf(row.layer_id ?? ''))
    return versions.flatMap((version, index): [number, number][] => {
      const from = Math.max(since, version.since)
      const before = Math.min(until + 1, versions[index + 1]?.since ?? Infinity)
      return version.data === data && from < before ? [[from, before]] : []
    })
  }

  #forget(volumeIds: Set<string>): void {
    for (const id of this.#volumes.keys()) if (!volumeIds.has(id)) this.#volumes.delete(id)
  }
}

function intersect(left: [number, number][], right: [number, number][]): [number, number][] {
  return left.flatMap(([a, b]) => right.flatMap(([c, d]): [number, number][] => {
    const [from, before] = [Math.max(a, c), Math.min(b, d)]
    return from < before ? [[from, before]] : []
  }))
}

/** The same for the same data. */
function textOf(data: LayerData): string {
  return JSON.stringify([...data].toSorted(([a], [b]) => a - b))
}
