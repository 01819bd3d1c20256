import type { ItemChange } from './bag.ts'
import { VPC_TABLE } from './names.ts'

/** A part of a ruleset that is there or not, and that a change can add, alter or take away by itself. */
export type Piece = Collection | Element | Chain

type Family = 'inet' | 'arp'

interface Part {
  key: string
  text: string
  family: Family
  name: string
}

/** A set or map, without its elements. */
interface Collection extends Part {
  is: 'collection'
  kind: 'set' | 'map'
}

/** One element; `name` is its collection's, `element` its key within that. */
interface Element extends Part {
  is: 'element'
  element: string
}

interface Chain extends Part {
  is: 'chain'
  /** The hook of a base chain. */
  head: string | undefined
  rules: string[]
}

/** @param type such as "type ipv4_addr". */
export function collection(kind: 'set' | 'map', name: string, type: string, family: Family = 'inet'): Collection {
  return { is: 'collection', key: `${family} ${name}`, text: `${kind} ${type}`, family, name, kind }
}

export function element(name: string, key: string, family: Family = 'inet'): Element {
  return { is: 'element', key: `${family} ${name} { ${key} }`, text: key, family, name, element: key }
}

/** An element of a map. */
export function entry(name: string, key: string, data: string, family: Family = 'inet'): Element {
  return { is: 'element', key: `${family} ${name} { ${key} }`, text: `${key} : ${data}`, family, name, element: key }
}

export function chain(name: string, rules: string[], head?: string, family: Family = 'inet'): Chain {
  return { is: 'chain', key: `${family} ${name} chain`, text: [head ?? '', ...rules].join('\n'), family, name, head, rules }
}

/** The whole as one transaction that replaces what was there; `marker` is an empty chain that tells it is in force. */
export function renderWhole(pieces: readonly Piece[], marker: string): string {
  const families: Family[] = ['inet', 'arp']
  return [
    // `table` creates it where it is missing, so that `delete` never fails.
    ...families.flatMap((family) => [`table ${family} ${VPC_TABLE}`, `delete table ${family} ${VPC_TABLE}`]),
    ...families.flatMap((family) => renderTable(pieces.filter((piece) => piece.family === family), family)),
    `add chain inet ${VPC_TABLE} ${marker}`, '',
  ].join('\n')
}

function renderTable(pieces: readonly Piece[], family: Family): string[] {
  const elements = elementsOf(pieces)
  return [
    `table ${family} ${VPC_TABLE} {`,
    ...pieces.flatMap((piece) => {
      if (piece.is === 'collection') return renderCollection(piece, elements.get(piece.key) ?? [])
      return piece.is === 'chain' ? renderChain(piece) : []
    }),
    '}',
  ]
}

/** nft refuses an empty list of elements. */
function renderCollection({ kind, name, text }: Collection, elements: readonly Element[]): string[] {
  const list = elements.length > 0 ? [`elements = { ${elements.map((each) => each.text).join(', ')} }`] : []
  return [`${kind} ${name} {`, text.slice(kind.length + 1), ...list, '}']
}

function renderChain({ name, head, rules }: Chain): string[] {
  return [`chain ${name} {`, ...(head === undefined ? [] : [head]), ...rules, '}']
}

/** Elements by their collection's key. */
function elementsOf(pieces: readonly Piece[]): Map<string, Element[]> {
  const elements = new Map<string, Element[]>()
  for (const piece of pieces) {
    if (piece.is !== 'element') continue
    const key = `${piece.family} ${piece.name}`
    const list = elements.get(key)
    if (list) list.push(piece)
    else elements.set(key, [piece])
  }
  return elements
}

/**
 * The changes as one transaction. What is referred to comes before what refers to it, and goes after.
 *
 * @param markers of the state that is in force, and of the one after this.
 */
export function renderChanges(changes: readonly ItemChange<Piece>[], markers: { before: string; after: string }): string {
  const gone = changes.flatMap(({ before, after }) => (before && !after ? before : []))
  const fresh = changes.flatMap(({ before, after }) => (after && !before ? after : []))
  const altered = changes.flatMap(({ before, after }) => (before && after ? after : []))
  const chains = (pieces: readonly Piece[]) => pieces.filter((piece) => piece.is === 'chain')
  const collections = (pieces: readonly Piece[]) => pieces.filter((piece) => piece.is === 'collection')
  const of = (piece: Piece) => `${piece.family} ${VPC_TABLE} ${piece.name}`
  return [
    ...collections(fresh).map((piece) => `add ${piece.kind} ${of(piece)} { ${piece.text.slice(piece.kind.length + 1)}; }`),
    ...chains(fresh).map((piece) => `add chain ${of(piece)}${piece.head === undefined ? '' : ` { ${piece.head} }`}`),
    ...elementLines('delete', [...gone, ...altered], (piece) => piece.element),
    ...chains([...altered, ...gone]).map((piece) => `flush chain ${of(piece)}`),
    ...chains([...fresh, ...altered]).flatMap((piece) => piece.rules.map((rule) => `add rule ${of(piece)} ${rule}`)),
    ...elementLines('add', [...fresh, ...altered], (piece) => piece.text),
    ...chains(gone).map((piece) => `delete chain ${of(piece)}`),
    ...collections(gone).map((piece) => `delete ${piece.kind} ${of(piece)}`),
    `delete chain inet ${VPC_TABLE} ${markers.before}`, `add chain inet ${VPC_TABLE} ${markers.after}`, '',
  ].join('\n')
}

function elementLines(verb: 'add' | 'delete', pieces: readonly Piece[], textOf: (piece: Element) => string): string[] {
  return [...elementsOf(pieces).values()].flatMap((list) => {
    const [first] = list
    if (first === undefined) return []
    return `${verb} element ${first.family} ${VPC_TABLE} ${first.name} { ${list.map(textOf).join(', ')} }`
  })
}
