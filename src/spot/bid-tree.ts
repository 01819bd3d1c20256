import { type Bid, compareBids } from './bid-order.ts'

/** Whom a search is for. */
export type BidKind = 'waiting' | 'incumbent'

/** A run of first bids that have room together. */
export interface Prefix {
  units: number
  /** The first one that has no room; undefined where all have. */
  firstBeyond: Bid | undefined
}

interface Node {
  readonly bid: Bid
  /** Parents have higher ones than children: the shape depends on the bids only, not on the order in which they came. */
  readonly priority: number
  left: Node | undefined
  right: Node | undefined
  /** Of the node and all below it. */
  units: number
  waiting: number
  incumbents: number
}

/** Bids in the order of `compareBids`: a treap whose nodes know the sums of what is below them. Everything takes O(log n). */
export class BidTree {
  #root: Node | undefined

  get size(): number {
    return (this.#root?.waiting ?? 0) + (this.#root?.incumbents ?? 0)
  }

  /** Of all bids. */
  get units(): number {
    return this.#root?.units ?? 0
  }

  /** Adds a bid that is not there yet. */
  insert(bid: Bid): void {
    this.#root = insert(this.#root, sum({ bid, priority: hashOf(bid.id), left: undefined, right: undefined, units: 0, waiting: 0, incumbents: 0 }))
  }

  /** Takes out the bid that is equal to this one in order; nothing happens where there is none. */
  delete(bid: Bid): void {
    this.#root = without(this.#root, bid)
  }

  /** The longest run of first bids whose units are no more than `mostUnits`. */
  prefix(mostUnits: number): Prefix {
    let units = 0
    let firstBeyond: Bid | undefined
    for (let node = this.#root; node;) {
      const upTo = units + (node.left?.units ?? 0) + node.bid.units
      if (upTo > mostUnits) {
        firstBeyond = node.bid
        node = node.left
      } else {
        units = upTo
        node = node.right
      }
    }
    return { units, firstBeyond }
  }

  /** The first bid of a kind of those that `matches`, which has to match all that come after one that it matches. */
  first(kind: BidKind, matches: (bid: Bid) => boolean = () => true): Bid | undefined {
    return firstIn(this.#root, kind, matches)
  }

  /** The last bid of a kind of those that `matches`, which has to match all that come before one that it matches. */
  last(kind: BidKind, matches: (bid: Bid) => boolean = () => true): Bid | undefined {
    return lastIn(this.#root, kind, matches)
  }

  /** Bids of a kind from the first one that `matches` (as for `first`); the tree may change meanwhile. */
  * fromFirst(kind: BidKind, matches?: (bid: Bid) => boolean): Generator<Bid> {
    for (let bid = this.first(kind, matches); bid; bid = this.after(kind, bid)) yield bid
  }

  /** Bids of a kind from the last one backwards; the tree may change meanwhile. */
  * fromLast(kind: BidKind): Generator<Bid> {
    let bid = this.last(kind)
    while (bid) {
      yield bid
      const { last }: { last: Bid } = { last: bid }
      bid = this.last(kind, (other) => compareBids(other, last) < 0)
    }
  }

  /** The next bid of a kind after one, which need not be there any more. */
  after(kind: BidKind, bid: Bid): Bid | undefined {
    return this.first(kind, (other) => compareBids(other, bid) > 0)
  }
}

/** FNV-1a, mixed once more: as good as random for a treap, and always the same. */
function hashOf(id: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < id.length; at++) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad)
  hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97)
  return (hash ^ (hash >>> 15)) >>> 0
}

function sum(node: Node): Node {
  const { bid, left, right } = node
  node.units = bid.units + (left?.units ?? 0) + (right?.units ?? 0)
  node.waiting = Number(!bid.isIncumbent) + (left?.waiting ?? 0) + (right?.waiting ?? 0)
  node.incumbents = Number(bid.isIncumbent) + (left?.incumbents ?? 0) + (right?.incumbents ?? 0)
  return node
}

function insert(node: Node | undefined, added: Node): Node {
  if (!node) return added
  if (added.priority > node.priority) {
    [added.left, added.right] = split(node, added.bid)
    return sum(added)
  }
  if (compareBids(added.bid, node.bid) < 0) node.left = insert(node.left, added)
  else node.right = insert(node.right, added)
  return sum(node)
}

/** What comes before a bid, and what comes after it. */
function split(node: Node | undefined, at: Bid): [Node | undefined, Node | undefined] {
  if (!node) return [undefined, undefined]
  if (compareBids(node.bid, at) < 0) {
    const [before, after] = split(node.right, at)
    node.right = before
    return [sum(node), after]
  }
  const [before, after] = split(node.left, at)
  node.left = after
  return [before, sum(node)]
}

function merge(before: Node | undefined, after: Node | undefined): Node | undefined {
  if (!before || !after) return before ?? after
  if (before.priority > after.priority) {
    before.right = merge(before.right, after)
    return sum(before)
  }
  after.left = merge(before, after.left)
  return sum(after)
}

function without(node: Node | undefined, bid: Bid): Node | undefined {
  if (!node) return undefined
  const order = compareBids(bid, node.bid)
  if (order === 0) return merge(node.left, node.right)
  if (order < 0) node.left = without(node.left, bid)
  else node.right = without(node.right, bid)
  return sum(node)
}

function holds(node: Node | undefined, kind: BidKind): node is Node {
  return node !== undefined && (kind === 'waiting' ? node.waiting : node.incumbents) > 0
}

const isOf = (bid: Bid, kind: BidKind) => bid.isIncumbent === (kind === 'incumbent')

function firstIn(node: Node | undefined, kind: BidKind, matches: (bid: Bid) => boolean): Bid | undefined {
  if (!holds(node, kind)) return undefined
  if (!matches(node.bid)) return firstIn(node.right, kind, matches)
  return firstIn(node.left, kind, matches) ?? (isOf(node.bid, kind) ? node.bid : firstIn(node.right, kind, matches))
}

function lastIn(node: Node | undefined, kind: BidKind, matches: (bid: Bid) => boolean): Bid | undefined {
  if (!holds(node, kind)) return undefined
  if (!matches(node.bid)) return lastIn(node.left, kind, matches)
  return lastIn(node.right, kind, matches) ?? (isOf(node.bid, kind) ? node.bid : lastIn(node.left, kind, matches))
}
