import type { SpotPricing } from '../model/spot-market.ts'
import { type Bid, Book } from '../spot/book.ts'
import { unitsOf, WHOLE_PPM } from '../spot/clearing.ts'
import { decideZone, type ZoneDecision, type ZonePrice, zonePriceOf } from '../spot/zone-market.ts'

export interface Size {
  vcpus: number
  memoryMib: number
}

export interface MarketZoneOptions {
  hosts: readonly Size[]
  pricing: SpotPricing
  noticeMs: number
  /** What spot leaves free, units. */
  bufferUnits: number
  sizeOf: (instanceType: string) => Size
  /** What a type costs without own demand, parts per million. */
  backgroundPpm: (instanceType: string, atMs: number) => number
  nowMs: number
}

/** An instance on one of the hosts. */
interface Placed {
  id: string
  size: Size
  host: number
}

interface SpotInstance extends Placed {
  bid: Bid
  /** When its notice is over. */
  endsMs: number | undefined
}

/** What became of a tick. */
export interface ZoneTickResult {
  decision: ZoneDecision
  launched: Bid[]
  /** Ended, since their notice was over. */
  ended: Bid[]
  supplyUnits: number
}

/** A zone of the market without a cloud around it: hosts that are filled first fit, instances that only take room. */
export class MarketZone {
  readonly book = new Book()
  readonly spot = new Map<string, SpotInstance>()
  readonly #options: MarketZoneOptions
  readonly #whole: Size
  readonly #free: Size[]
  readonly #onDemand = new Map<string, Placed>()
  /** On demand that has no room yet. */
  readonly #pending = new Map<string, Size>()
  price: ZonePrice

  constructor(options: MarketZoneOptions) {
    this.#options = options
    this.#free = options.hosts.map((host) => ({ ...host }))
    this.#whole = options.hosts.reduce((sum, host) => ({ vcpus: sum.vcpus + host.vcpus, memoryMib: sum.memoryMib + host.memoryMib }), { vcpus: 0, memoryMib: 0 })
    this.price = zonePriceOf(0, options.nowMs)
  }

  units(instanceType: string): number {
    return unitsOf(this.#options.sizeOf(instanceType), this.#whole)
  }

  /** What on demand, also where it waits for room, and the buffer leave. */
  get supplyUnits(): number {
    const sizes = [...[...this.#onDemand.values()].map((each) => each.size), ...this.#pending.values()]
    return Math.max(0, WHOLE_PPM - this.#options.bufferUnits - sizes.reduce((sum, size) => sum + unitsOf(size, this.#whole), 0))
  }

  /** Instances on demand, those that wait for room included. */
  get onDemandCount(): number {
    return this.#onDemand.size + this.#pending.size
  }

  /** What is free of each host; never less than nothing. */
  get free(): readonly Size[] {
    return this.#free
  }

  /** Units of spot instances: of all, and of those that have had no notice. */
  get held(): { heldUnits: number; keptUnits: number } {
    const [all, kept] = [[...this.spot.values()], [...this.spot.values()].filter((each) => each.endsMs === undefined)]
    const sum = (list: SpotInstance[]) => list.reduce((units, each) => units + each.bid.units, 0)
    return { heldUnits: sum(all), keptUnits: sum(kept) }
  }

  pricePpm(instanceType: string, atMs: number, clearingPpm = this.price.clearingPpm): number {
    return Math.min(WHOLE_PPM, Math.max(this.#options.backgroundPpm(instanceType, atMs), clearingPpm))
  }

  request(id: string, instanceType: string, bidPpm: number, arrivedMs: number): void {
    this.book.put({ id, instanceType, bidPpm, units: this.units(instanceType), isIncumbent: false, arrivedMs })
  }

  /** Its user is done with it, or does not want it any more. */
  end(id: string): void {
    this.book.remove(id)
    const instance = this.spot.get(id)
    if (!instance) return
    this.spot.delete(id)
    this.#giveBack(instance)
  }

  startOnDemand(id: string, size: Size): void {
    this.#pending.set(id, size)
  }

  stopOnDemand(id: string): void {
    this.#pending.delete(id)
    const placed = this.#onDemand.get(id)
    if (!placed) return
    this.#onDemand.delete(id)
    this.#giveBack(placed)
  }

  /** Ends what is over, starts what waits on demand, and does what the market decides. */
  tick(nowMs: number): ZoneTickResult {
    const ended = [...this.spot.values()].filter((each) => each.endsMs !== undefined && each.endsMs <= nowMs)
    for (const { id } of ended) this.end(id)
    for (const [id, size] of this.#pending) {
      const placed = this.#place(id, size)
      if (!placed) continue
      this.#pending.delete(id)
      this.#onDemand.set(id, placed)
    }
    const { supplyUnits } = this
    const decision = decideZone({
      book: this.book, pricing: this.#options.pricing, nowMs, supplyUnits, ...this.held, price: this.price,
      pricePpm: (type, clearingPpm) => this.pricePpm(type, nowMs, clearingPpm),
    })
    this.price = decision.price
    for (const { bid } of decision.notices) {
      const instance = this.spot.get(bid.id)
      if (instance) instance.endsMs = nowMs + this.#options.noticeMs
      this.book.remove(bid.id)
    }
    return { decision, launched: this.#launch(decision), ended: ended.map((each) => each.bid), supplyUnits }
  }

  #launch({ launches }: ZoneDecision): Bid[] {
    const launched: Bid[] = []
    for (let bid = launches.next(); bid; bid = launches.next()) {
      const placed = this.#place(bid.id, this.#options.sizeOf(bid.instanceType))
      if (!placed) {
        launches.noHost(bid)
        continue
      }
      launches.took(bid)
      const incumbent = { ...bid, isIncumbent: true }
      this.book.put(incumbent)
      this.spot.set(bid.id, { ...placed, bid: incumbent, endsMs: undefined })
      launched.push(incumbent)
    }
    return launched
  }

  #place(id: string, size: Size): Placed | undefined {
    const host = this.#free.findIndex((free) => free.vcpus >= size.vcpus && free.memoryMib >= size.memoryMib)
    const free = this.#free[host]
    if (!free) return undefined
    free.vcpus -= size.vcpus
    free.memoryMib -= size.memoryMib
    return { id, size, host }
  }

  #giveBack({ host, size }: Placed): void {
    const free = this.#free[host]
    if (!free) return
    free.vcpus += size.vcpus
    free.memoryMib += size.memoryMib
  }
}
