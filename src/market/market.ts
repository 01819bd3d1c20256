import { memoryMibOf, vcpusOf } from '../catalogue/instance-types.ts'
import type { InstanceDoc } from '../model/instance.ts'
import { spotRequestDoc } from '../model/spot-request.ts'
import type { ZoneSupply } from '../ec2/spot-supply.ts'
import { Book } from '../spot/book.ts'
import { unitsOf } from '../spot/clearing.ts'
import { inBatches } from '../store/batch.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { wantsBack } from './fleet-members.ts'

/** What of an instance decides how its request takes part in the market. */
export type MarketInstance = Pick<InstanceTable, 'instance_id' | 'zone' | 'state' | 'holds_capacity' | 'doc'>

/** How a request takes part in the market. */
export interface Participant {
  id: string
  accountId: string
  instanceType: string
  size: { vcpus: number; memoryMib: number }
  bidPpm: number
  maxPriceMicroUsd: number
  arrivedMs: number
  /** An instance that runs; one that is to be launched; or one that was interrupted and is to come back. */
  part: 'incumbent' | 'waiting' | 'returning'
  /** Where its bid stands: one zone for an incumbent and one that returns. */
  zones: readonly string[]
  instanceId: string | null
  /** It waits, and nobody has said yet why. */
  isUnexplained: boolean
  /** Its instance knows that it is likely to be interrupted. */
  isAdvised: boolean
}

/** Nothing that the market can do brings these forward; a request whose constraint may be fulfilled by now is evaluated anew. */
const NOT_WAITING: readonly string[] = ['not-scheduled-yet', 'constraint-not-fulfillable']

/** What a request says before the market has looked at it. Each other status tells of a launch that was tried, which knows better. */
export const UNEXPLAINED: readonly string[] = ['pending-evaluation']

/** For how long a launch is put off that failed as none should, times its failures, or so many at most. */
const PUT_OFF_MS = 60_000
const MOST_PUT_OFF = 10

/** Interrupted, and not stopped by its user. */
const RETURNING: readonly string[] = ['instance-stopped-by-price', 'instance-stopped-no-capacity']

/**
 * All bids of a region by zone, as a cache of the rows of requests: filled at the start, kept up by who changes a request. Whoever
 * acts on it looks at the rows again in the transaction in which he acts.
 */
export class Market {
  readonly #zones: readonly string[]
  readonly #participants = new Map<string, Participant>()
  readonly #books = new Map<string, Book>()
  /** What the units of a zone's bids are parts of. */
  readonly #totals = new Map<string, { vcpus: number; memoryMib: number }>()

  /** Those of before a tick keep to their places until it is over. */
  #held: Map<string, Participant | undefined> | undefined
  /** Ids of requests that wait, and nobody has said yet why. */
  readonly unexplained = new Set<string>()
  /** Launches that failed as none should, by request: how often so far, and until when it is not tried again. */
  readonly #failures = new Map<string, { count: number; untilMs: number }>()

  constructor(zones: readonly string[]) {
    this.#zones = zones
    for (const zone of zones) this.#books.set(zone, new Book())
  }

  get size(): number {
    return this.#participants.size
  }

  get(requestId: string): Participant | undefined {
    return this.#participants.get(requestId)
  }

  /** The bids of a zone, those that wait for several in each of them. */
  book(zone: string): Book {
    const book = this.#books.get(zone) ?? new Book()
    this.#books.set(zone, book)
    return book
  }

  participants(): Iterable<Participant> {
    return this.#participants.values()
  }

  /** Reads every request that has to do with the market. */
  async fill(db: Db): Promise<void> {
    const living = await db.selectFrom('spot_requests').select('request_id').where('state', 'in', ['open', 'active', 'disabled']).execute()
    const running = await db
      .selectFrom('spot_requests').select('request_id').where('status_code', '=', 'request-canceled-and-instance-running').execute()
    for (const id of this.#participants.keys()) this.#remove(id)
    await this.refresh(db, ...[...living, ...running].map((row) => row.request_id))
  }

  /**
   * Reads requests anew, after any change of them or of their instances.
   *
   * @returns whether that is anything to the market.
   */
  async refresh(db: Db, ...requestIds: string[]): Promise<boolean> {
    const rows = await inBatches(requestIds, (batch) => db.selectFrom('spot_requests').selectAll().where('request_id', 'in', batch).execute())
    const instanceIds = rows.flatMap((row) => row.instance_id ?? [])
    const instances = new Map((await inBatches(instanceIds, (batch) =>
      db.selectFrom('instances').select(['instance_id', 'zone', 'state', 'holds_capacity', 'doc']).where('instance_id', 'in', batch).execute()))
      .map((row) => [row.instance_id, row]))
    const rowOf = new Map(rows.map((row) => [row.request_id, row]))
    let hasChanged = false
    for (const id of requestIds) {
      const row = rowOf.get(id)
      const found = row && participantOf(row, instances.get(row.instance_id ?? ''), this.#zones)
      const isWanted = found?.part !== 'returning' || row?.fleet_id == null || (await wantsBack(db, row.fleet_id))
      const participant = isWanted ? found : undefined
      hasChanged ||= JSON.stringify(this.#held?.get(id) ?? this.#participants.get(id)) !== JSON.stringify(participant)
      if (this.#held) this.#held.set(id, participant)
      else this.#set(id, participant)
    }
    return hasChanged
  }

  /** Takes note of a launch that failed as none should: it is put off, each time for longer. @returns how often it has failed now. */
  putOff(requestId: string, nowMs: number): number {
    const count = (this.#failures.get(requestId)?.count ?? 0) + 1
    this.#failures.set(requestId, { count, untilMs: nowMs + Math.min(count, MOST_PUT_OFF) * PUT_OFF_MS })
    return count
  }

  isPutOff(requestId: string, nowMs: number): boolean {
    return nowMs < (this.#failures.get(requestId)?.untilMs ?? 0)
  }

  /** While `body` runs the books stay as they are; what is read anew meanwhile is put into them after that. */
  async hold<T>(body: () => Promise<T>): Promise<T> {
    const held = new Map<string, Participant | undefined>()
    this.#held = held
    try {
      return await body()
    } finally {
      this.#held = undefined
      for (const [id, participant] of held) this.#set(id, participant)
    }
  }

  /** Measures bids against what the zones promise now, where that has changed. */
  measure(supplies: ReadonlyMap<string, ZoneSupply>): void {
    for (const { zone, vcpus, memoryMib } of supplies.values()) {
      const known = this.#totals.get(zone)
      if (known?.vcpus === vcpus && known.memoryMib === memoryMib) continue
      this.#totals.set(zone, { vcpus, memoryMib })
      this.#books.set(zone, new Book())
      for (const participant of this.#participants.values()) if (participant.zones.includes(zone)) this.#put(participant, zone)
    }
  }

  #set(id: string, participant: Participant | undefined): void {
    this.#remove(id)
    if (!participant || participant.part === 'incumbent') this.#failures.delete(id)
    if (!participant) return
    this.#participants.set(participant.id, participant)
    if (participant.isUnexplained) this.unexplained.add(id)
    for (const zone of participant.zones) this.#put(participant, zone)
  }

  #put({ id, instanceType, bidPpm, size, part, arrivedMs }: Participant, zone: string): void {
    const total = this.#totals.get(zone)
    if (!total || total.vcpus <= 0 || total.memoryMib <= 0) return
    this.book(zone).put({ id, instanceType, bidPpm, units: unitsOf(size, total), isIncumbent: part === 'incumbent', arrivedMs })
  }

  #remove(id: string): void {
    for (const zone of this.#participants.get(id)?.zones ?? []) this.book(zone).remove(id)
    this.#participants.delete(id)
    this.unexplained.delete(id)
  }
}

/** How a request takes part; undefined where it does not: closed, not begun, or its instance is told to go or on its way. */
function participantOf(row: SpotRequestTable, instance: MarketInstance | undefined, zones: readonly string[]): Participant | undefined {
  const vcpus = vcpusOf(row.instance_type)
  const memoryMib = memoryMibOf(row.instance_type)
  if (vcpus === undefined || memoryMib === undefined) return undefined
  const common = {
    id: row.request_id, accountId: row.account_id, instanceType: row.instance_type, size: { vcpus, memoryMib },
    bidPpm: row.bid_ppm, maxPriceMicroUsd: row.max_price_micro_usd, arrivedMs: row.created_ms, instanceId: row.instance_id,
    isUnexplained: row.state === 'open' && UNEXPLAINED.includes(row.status_code), isAdvised: false,
  }
  if (row.state === 'open') {
    if (NOT_WAITING.includes(row.status_code)) return undefined
    const asked = row.zone === null ? spotRequestDoc(row).zones ?? zones : [row.zone]
    return { ...common, part: 'waiting', zones: asked.filter((zone) => zones.includes(zone)) }
  }
  if (!instance) return undefined
  if (row.state === 'disabled') {
    const comesBack = instance.state === 'stopped' && RETURNING.includes(row.status_code)
    return comesBack ? { ...common, part: 'returning', zones: [instance.zone] } : undefined
  }
  const { spot } = JSON.parse(instance.doc) as Pick<InstanceDoc, 'spot'>
  const isUp = (instance.state === 'pending' || instance.state === 'running') && instance.holds_capacity === 1
  return isUp && !spot?.interruption ? { ...common, part: 'incumbent', zones: [instance.zone], isAdvised: typeof spot?.rebalanceMs === 'number' } : undefined
}
