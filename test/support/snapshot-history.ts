import type { CopySnapshotResult, CreateSnapshotsResult, Snapshot } from '@aws-sdk/client-ec2'
import { pick } from '../../src/core/random.ts'
import type { LayerData } from '../../src/hypervisor/sim-data.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import type { SnapshotTable } from '../../src/store/schema.ts'
import type { DrawnCall } from '../../src/simulate/interface-calls.ts'
import type { CallResult, SimulatedCloud } from '../../src/simulate/simulator.ts'

/** Blocks that guests write into, and how much at once. */
const BLOCKS = 4
const MOST_WRITES = 12
const WRITES_WITHIN_MS = 1500

/** More than this many are not made, so that chains get long and deletions have something to meet. */
const MOST_SNAPSHOTS = 12

/** What the caller knows of a snapshot. */
interface Known {
  /** The volume that it is of; undefined of a copy. */
  volumeId: string | undefined
  /** Those that one call made are of one instant. */
  siblings: readonly string[]
  /** The instant is after this many writes at least. */
  from: number
  /** And after no more than these; undefined while it had not come when the call was answered. */
  until: number | undefined
  /** What it holds, once that was seen. */
  data: string | undefined
  /** It may have been deleted: that call's end is unknown. */
  mayBeGone: boolean
}

/**
 * What guests have written, and which snapshots were made meanwhile: tells whether each snapshot is of an
 * instant after its call began and before that was answered, the same for all that one call made, and
 * whether it still is whatever was deleted, copied, shortened or killed since.
 */
export class SnapshotHistory {
  readonly #cloud: SimulatedCloud
  /** All writes that a guest saw done, in order: the n-th wrote the number n. */
  readonly #writes: { volumeId: string; block: number }[] = []
  readonly #known = new Map<string, Known>()
  readonly #deleted = new Set<string>()
  /** How many snapshots were found to be of an instant, and of how many that came only after the answer. */
  checked = 0
  late = 0

  constructor(cloud: SimulatedCloud) {
    this.#cloud = cloud
  }

  /** Has guests write during the next while, which calls may well be part of. */
  guestsWrite(): void {
    const { random, clock, host } = this.#cloud
    const count = 1 + random.int(MOST_WRITES)
    for (let index = 0; index < count; index++) {
      const [machine, disk, block] = [random.next(), random.next(), random.int(BLOCKS)]
      clock.after(random.int(WRITES_WITHIN_MS), () => {
        const running = [...host.world.machines.values()].filter((each) => each.process?.status === 'running')
        const chosen = running[Math.floor(machine * running.length)]
        const volumeIds = [...chosen?.process?.disks.all.keys() ?? []]
        const volumeId = volumeIds[Math.floor(disk * volumeIds.length)]
        if (!chosen || volumeId === undefined) return
        if (host.world.guestWrites(chosen.instanceId, volumeId, this.#writes.length + 1, block)) {
          this.#writes.push({ volumeId, block })
        }
      })
    }
  }

  /** A random call about snapshots; it may well be refused. */
  async draw(): Promise<DrawnCall | undefined> {
    const { random, store } = this.#cloud
    const { volumeIds, instanceIds, snapshotIds } = await store.read(async (db) => ({
      volumeIds: (await db.selectFrom('volumes').select('volume_id').orderBy('volume_id').execute()).map((row) => row.volume_id),
      instanceIds: (await db
        .selectFrom('instances').select('instance_id').where('state', '<>', 'terminated').orderBy('instance_id').execute())
        .map((row) => row.instance_id),
      snapshotIds: (await db
        .selectFrom('snapshots').select('snapshot_id').where('account_id', '=', DEFAULT_ACCOUNT).orderBy('snapshot_id').execute())
        .map((row) => row.snapshot_id),
    }))
    const calls: DrawnCall[] = []
    if (snapshotIds.length < MOST_SNAPSHOTS) {
      if (volumeIds.length > 0) calls.push({ action: 'CreateSnapshot', input: { VolumeId: pick(random, volumeIds) } })
      if (instanceIds.length > 0) {
        const InstanceSpecification = { InstanceId: pick(random, instanceIds), ExcludeBootVolume: random.int(4) === 0 }
        calls.push({ action: 'CreateSnapshots', input: { InstanceSpecification } })
      }
      if (snapshotIds.length > 0) {
        const encryption = random.int(2) === 0 ? { Encrypted: true } : {}
        const input = { SourceRegion: this.#cloud.settings.region, SourceSnapshotId: pick(random, snapshotIds), ...encryption }
        calls.push({ action: 'CopySnapshot', input })
      }
    }
    if (snapshotIds.length > 0) calls.push({ action: 'DeleteSnapshot', input: { SnapshotId: pick(random, snapshotIds) } })
    return calls.length === 0 ? undefined : pick(random, calls)
  }

  /** Makes a call of `draw` by way of `call`, and notes what came of it. */
  async make(drawn: DrawnCall, call: (action: string, input: object) => Promise<CallResult>): Promise<void> {
    const from = this.#writes.length
    const { SourceSnapshotId, SnapshotId } = drawn.input as { SourceSnapshotId?: string; SnapshotId?: string }
    const source = SourceSnapshotId === undefined ? undefined : await this.#contentOf(SourceSnapshotId)
    const result = await call(drawn.action, drawn.input)
    if (result.kind === 'refused') return
    if (drawn.action === 'DeleteSnapshot' && SnapshotId !== undefined) return this.#noteDeleted(SnapshotId, result)
    // Whether there is one, and of what, is seen in the end.
    if (result.kind === 'unknown') return
    if (drawn.action === 'CopySnapshot') {
      const { SnapshotId: id = '' } = result.output as CopySnapshotResult
      this.#known.set(id, { volumeId: undefined, siblings: [id], from, until: undefined, data: source, mayBeGone: false })
      return
    }
    const made = drawn.action === 'CreateSnapshot'
      ? [result.output as Snapshot]
      : (result.output as CreateSnapshotsResult).Snapshots ?? []
    const siblings = made.map((each) => each.SnapshotId ?? '')
    const until = (await this.#isFrozen(siblings)) ? this.#writes.length : undefined
    for (const { SnapshotId: id = '', VolumeId } of made) {
      this.#known.set(id, { volumeId: VolumeId, siblings, from, until, data: undefined, mayBeGone: false })
    }
  }

  #noteDeleted(snapshotId: string, result: CallResult): void {
    const known = this.#known.get(snapshotId)
    if (result.kind === 'unknown') {
      if (known) known.mayBeGone = true
      return
    }
    this.#known.delete(snapshotId)
    this.#deleted.add(snapshotId)
  }

  async #contentOf(snapshotId: string): Promise<string | undefined> {
    const row = await this.#cloud.store.read((db) =>
      db.selectFrom('snapshots').selectAll().where('snapshot_id', '=', snapshotId).executeTakeFirst())
    return row?.state === 'completed' ? this.#show(row.layer_id) : undefined
  }

  /** Whether nobody writes any more into what they are of. */
  async #isFrozen(snapshotIds: readonly string[]): Promise<boolean> {
    const rows = await this.#cloud.store.read((db) =>
      db.selectFrom('snapshots').innerJoin('volumes', 'volumes.layer_id', 'snapshots.layer_id')
        .select('snapshots.snapshot_id').where('snapshots.snapshot_id', 'in', [...snapshotIds]).execute())
    return rows.length === 0
  }

  #show(layerId: string | null): string {
    return textOf(this.#cloud.host.world.dataOf(layerId ?? ''))
  }

  /** For a cloud that has settled: every snapshot that was acknowledged is there, complete, and what it was; every volume too. */
  async checkSettled(): Promise<string[]> {
    const { snapshots, volumes } = await this.#cloud.store.read(async (db) => ({
      snapshots: await db.selectFrom('snapshots').selectAll().where('account_id', '=', DEFAULT_ACCOUNT).execute(),
      volumes: await db.selectFrom('volumes').selectAll().execute(),
    }))
    const rows = new Map(snapshots.map((row) => [row.snapshot_id, row]))
    const problems = [
      ...snapshots.filter((row) => row.state !== 'completed').map((row) => `${row.snapshot_id} is ${row.state}`),
      ...[...this.#deleted].filter((id) => rows.has(id)).map((id) => `${id} was deleted and is there`),
      ...volumes.filter((row) => this.#show(row.layer_id) !== this.#written(row.volume_id, this.#writes.length))
        .map((row) => `${row.volume_id} has lost what was written: it shows ${this.#show(row.layer_id)}`),
    ]
    if (problems.length > 0) return problems
    for (const [id, known] of this.#known) {
      const row = rows.get(id)
      if (row) problems.push(...this.#checkContent(id, known, row, rows))
      else if (known.mayBeGone) this.#known.delete(id)
      else problems.push(`${id} was acknowledged and is lost`)
    }
    // Of calls whose end was unknown: from here on they stay what they are.
    for (const row of snapshots) {
      if (this.#known.has(row.snapshot_id)) continue
      this.#known.set(row.snapshot_id, {
        volumeId: undefined, siblings: [row.snapshot_id], from: 0, until: undefined, data: this.#show(row.layer_id),
        mayBeGone: false,
      })
    }
    return problems
  }

  #checkContent(id: string, known: Known, row: SnapshotTable, rows: ReadonlyMap<string, SnapshotTable>): string[] {
    const shown = this.#show(row.layer_id)
    if (known.data !== undefined) return known.data === shown ? [] : [`${id} held ${known.data} and holds ${shown}`]
    known.data = shown
    if (known.volumeId === undefined) return []
    this.checked += 1
    if (known.until === undefined) this.late += 1
    const members = known.siblings.flatMap((each) => rows.get(each) ?? [])
    for (let after = known.from; after <= (known.until ?? this.#writes.length); after++) {
      const isThen = (member: SnapshotTable) =>
        member.volume_id === null || this.#show(member.layer_id) === this.#written(member.volume_id, after)
      if (members.every(isThen)) return []
    }
    return [`${id} is of no instant from write ${known.from} to ${known.until ?? 'the end'}: it holds ${shown}`]
  }

  /** What a volume showed after the first `count` writes. */
  #written(volumeId: string, count: number): string {
    const data: LayerData = new Map()
    for (let index = 0; index < count; index++) {
      const write = this.#writes[index]
      if (write?.volumeId === volumeId) data.set(write.block, index + 1)
    }
    return textOf(data)
  }
}

/** "0:17 3:4" */
function textOf(data: LayerData): string {
  return [...data].toSorted(([a], [b]) => a - b).map(([block, value]) => `${block}:${value}`).join(' ')
}
