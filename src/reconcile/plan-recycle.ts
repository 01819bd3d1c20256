/** Something in the recycle bin, and what it refers to. */
export interface BinnedItem {
  kind: 'image' | 'snapshot' | 'volume'
  id: string
  binnedMs: number
  exitMs: number
  /** Layers that it refers to itself; those under them follow. */
  layerIds: string[]
  /** Of a snapshot: the images in the bin that it is under. They cannot be without it, so it goes with the last of them. */
  imageIds: string[]
}

/** The bin, and all layers of the host with what outside the bin refers to them. */
export interface RecycleWorld {
  nowMs: number
  budgetBytes: number
  items: readonly BinnedItem[]
  /** The layer under each layer. */
  parentOf: ReadonlyMap<string, string | null>
  bytesOf: ReadonlyMap<string, number>
  /** Layers that something outside the bin refers to. */
  inUse: Iterable<string>
}

/** What is to leave the bin for good. */
export interface RecyclePlan {
  /** In an order in which they can go: images before the snapshots under them. */
  expired: BinnedItem[]
  /** Beyond the budget. */
  evicted: BinnedItem[]
  /** Bytes on disk that only the bin holds, when those are gone. */
  heldBytes: number
  /** When the next of the others is to go; undefined when there is none. */
  nextExitMs: number | undefined
}

/** From this part of its budget on there is a warning. */
const NEARLY_FULL = 0.8

/** Whether what the bin holds is near its budget, so that soon the oldest will go. */
export function isNearlyFull(heldBytes: number, budgetBytes: number): boolean {
  return heldBytes > 0 && heldBytes >= budgetBytes * NEARLY_FULL
}

/**
 * Decides what leaves the bin: what has expired, and then, while what only the bin holds takes more than
 * its budget, the oldest that holds any of it. Whose data is in use elsewhere frees nothing and stays.
 */
export function planRecycle(world: RecycleWorld): RecyclePlan {
  const { nowMs, budgetBytes, items } = world
  const byId = new Map(items.map((item) => [item.id, item]))
  const exitMsOf = (item: BinnedItem) => Math.max(item.exitMs, ...item.imageIds.map((id) => byId.get(id)?.exitMs ?? 0))
  const [expired, kept] = [items.filter((item) => exitMsOf(item) <= nowMs), items.filter((item) => exitMsOf(item) > nowMs)]
  const held = new HeldLayers(world, kept)
  const evicted = new Map<string, BinnedItem>()
  for (const item of kept.toSorted(byAge)) {
    if (held.bytes <= budgetBytes) break
    if (!held.isHeldBy(item)) continue
    for (const imageId of item.imageIds) {
      const image = byId.get(imageId)
      if (image && !expired.includes(image)) evicted.set(imageId, image)
    }
    evicted.set(item.id, item)
    held.letGo(item)
  }
  const exits = kept.filter((item) => !evicted.has(item.id)).map(exitMsOf)
  return {
    expired: expired.toSorted(imagesFirst), evicted: [...evicted.values()].toSorted(imagesFirst), heldBytes: held.bytes,
    nextExitMs: exits.length === 0 ? undefined : Math.min(...exits),
  }
}

function byAge(a: BinnedItem, b: BinnedItem): number {
  return a.binnedMs - b.binnedMs || (a.id < b.id ? -1 : 1)
}

function imagesFirst(a: BinnedItem, b: BinnedItem): number {
  return Number(b.kind === 'image') - Number(a.kind === 'image') || byAge(a, b)
}

/** The layers that only the bin refers to, by how many of its items do. */
class HeldLayers {
  readonly #layersOf = new Map<string, string[]>()
  readonly #users = new Map<string, number>()
  readonly #bytesOf: RecycleWorld['bytesOf']
  bytes = 0

  constructor({ parentOf, bytesOf, inUse }: RecycleWorld, items: readonly BinnedItem[]) {
    this.#bytesOf = bytesOf
    const outside = closure(inUse, parentOf, new Set())
    for (const item of items) {
      const layers = [...closure(item.layerIds, parentOf, outside)]
      this.#layersOf.set(item.id, layers)
      for (const layer of layers) this.#use(layer)
    }
  }

  #use(layer: string): void {
    const users = this.#users.get(layer) ?? 0
    this.#users.set(layer, users + 1)
    if (users === 0) this.bytes += this.#bytesOf.get(layer) ?? 0
  }

  /** Whether the item refers to any bytes that nothing outside the bin does. */
  isHeldBy(item: BinnedItem): boolean {
    return (this.#layersOf.get(item.id) ?? []).some((layer) => (this.#bytesOf.get(layer) ?? 0) > 0)
  }

  letGo(item: BinnedItem): void {
    for (const layer of this.#layersOf.get(item.id) ?? []) {
      const users = (this.#users.get(layer) ?? 1) - 1
      this.#users.set(layer, users)
      if (users === 0) this.bytes -= this.#bytesOf.get(layer) ?? 0
    }
  }
}

/** The layers and all that are under them, but for `except`, of which what is under them is part too. */
function closure(layers: Iterable<string>, parentOf: RecycleWorld['parentOf'], except: ReadonlySet<string>): Set<string> {
  const found = new Set<string>()
  for (const first of layers) {
    for (let layer: string | null = first; layer !== null && !found.has(layer) && !except.has(layer);) {
      found.add(layer)
      layer = parentOf.get(layer) ?? null
    }
  }
  return found
}
