import { createHash } from 'node:crypto'

/** One thing of a desired state: `key` says what it is, `text` all of how it should look. */
export interface Item {
  key: string
  text: string
}

/** What became of a key since changes were last taken. */
export interface ItemChange<T> {
  before: T | undefined
  after: T | undefined
}

const FINGERPRINT_BITS = 128

/**
 * A desired state made of items from many sources: two ports of one kind need the same chain, which is
 * there once and goes with the last of them. It knows its fingerprint and what has changed without
 * looking at everything.
 */
export class Bag<T extends Item> {
  readonly #items = new Map<string, { item: T; count: number }>()
  readonly #before = new Map<string, T | undefined>()
  #fingerprint = 0n

  /** @throws Error when another source says otherwise of the same key. */
  add(item: T): void {
    const known = this.#items.get(item.key)
    if (known && known.item.text !== item.text) {
      throw new Error(`bad network spec: both "${known.item.text}" and "${item.text}"`)
    }
    if (known) known.count++
    else {
      this.#note(item.key, undefined)
      this.#items.set(item.key, { item, count: 1 })
    }
  }

  remove(item: T): void {
    const known = this.#items.get(item.key)
    if (!known) return
    known.count--
    if (known.count > 0) return
    this.#note(item.key, known.item)
    this.#items.delete(item.key)
  }

  values(): T[] {
    return [...this.#items.values()].map((each) => each.item)
  }

  /** Keys that are not as they were when this was last asked. */
  takeChanges(): ItemChange<T>[] {
    const changes: ItemChange<T>[] = []
    for (const [key, before] of this.#before) {
      const after = this.#items.get(key)?.item
      if (before?.text === after?.text) continue
      changes.push({ before, after })
      this.#fingerprint += hashOf(after) - hashOf(before)
    }
    this.#before.clear()
    return changes
  }

  /** The same for the same items, in whatever order they came; of what was last taken. */
  get fingerprint(): string {
    return BigInt.asUintN(FINGERPRINT_BITS, this.#fingerprint).toString(16).padStart(FINGERPRINT_BITS / 4, '0')
  }

  #note(key: string, before: T | undefined): void {
    if (!this.#before.has(key)) this.#before.set(key, before)
  }
}

/** A sum of these tells sets of items apart, and one item's part can be taken out of it again. */
function hashOf(item: Item | undefined): bigint {
  if (item === undefined) return 0n
  const digest = createHash('sha256').update(`${item.key}\n${item.text}`).digest()
  return (digest.readBigUInt64BE(0) << 64n) | digest.readBigUInt64BE(8)
}
