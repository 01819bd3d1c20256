/** Items of which the first one in order is taken next: a binary heap. A push or a pop takes O(log n). */
export class Heap<T> {
  readonly #compare: (a: T, b: T) => number
  readonly #items: T[] = []

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare
  }

  get size(): number {
    return this.#items.length
  }

  push(item: T): void {
    const items = this.#items
    let at = items.length
    items.push(item)
    while (at > 0) {
      const above = (at - 1) >>> 1
      const parent = items[above] as T
      if (this.#compare(parent, item) <= 0) break
      items[at] = parent
      at = above
    }
    items[at] = item
  }

  /** The first one, which is no longer there then; undefined where there is none. */
  pop(): T | undefined {
    const items = this.#items
    const [first] = items
    const last = items.pop()
    if (items.length === 0 || last === undefined) return first
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= items.length) break
      if (below + 1 < items.length && this.#compare(items[below + 1] as T, items[below] as T) < 0) below += 1
      const child = items[below] as T
      if (this.#compare(last, child) <= 0) break
      items[at] = child
      at = below
    }
    items[at] = last
    return first
  }
}
