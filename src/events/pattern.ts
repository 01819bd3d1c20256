import { ABSENT, compileValue, EventPatternError, type Leaf, type LeafTest } from './pattern-values.ts'

export { EventPatternError } from './pattern-values.ts'

/** A compiled event pattern of EventBridge. */
export interface EventPattern {
  matches(event: object): boolean
}

/** EventBridge takes no longer ones: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html */
const LONGEST_PATTERN = 4096

/** Ways in which the branches of all its `$or` can be put together: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html */
const MOST_COMBINATIONS = 1000

/** All of these must be so, of one and the same object. */
interface ObjectPattern {
  fields: FieldPattern[]
  /** Of each group one branch at least. */
  or: ObjectPattern[][]
  /** How many patterns without `$or` it stands for. */
  combinations: number
}

type FieldPattern =
  | { name: string; kind: 'object'; pattern: ObjectPattern }
  | { name: string; kind: 'values'; pathKey: string; tests: (LeafTest | typeof ABSENT)[] }

/**
 * Reads an event pattern: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
 *
 * @throws EventPatternError in EventBridge's words.
 */
export function parseEventPattern(text: string): EventPattern {
  if (text.length > LONGEST_PATTERN) {
    throw new EventPatternError(`Member must have length less than or equal to ${LONGEST_PATTERN}`)
  }
  const root = readJson(text)
  if (!isObject(root)) throw new EventPatternError('Filter is not an object')
  const pattern = compileObject(root, [], false)
  if (pattern.combinations > MOST_COMBINATIONS) {
    throw new EventPatternError(`$or makes ${pattern.combinations} combinations of it, and ${MOST_COMBINATIONS} are allowed`)
  }
  return { matches: (event) => matchObject(pattern, event, lazily(() => leafPathsOf(event))) }
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new EventPatternError('Invalid JSON')
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Words that would make a field of a branch look like an expression. */
const RESERVED_IN_OR = new Set([
  'exactly', 'equals-ignore-case', 'prefix', 'suffix', 'anything-but', 'exists', 'wildcard', 'numeric', 'cidr', '=', '<', '<=', '>', '>=', 'regex',
  'not-wildcard', 'not-equals-ignore-case', 'date-after', 'date-on-or-after', 'date-before', 'date-on-or-before', 'in-date-range',
  'ip-address-in-range', 'ip-address-not-in-range',
])

function compileObject(object: Record<string, unknown>, path: readonly string[], isInOr: boolean): ObjectPattern {
  const pattern: ObjectPattern = { fields: [], or: [], combinations: 1 }
  const names = Object.keys(object)
  if (names.length === 0) throw new EventPatternError('Empty objects are not allowed')
  for (const name of names) {
    const value = object[name]
    if (name === '$or') {
      const branches = compileOr(value, path)
      pattern.or.push(branches)
      pattern.combinations *= branches.reduce((sum, branch) => sum + branch.combinations, 0)
      continue
    }
    if (isInOr && RESERVED_IN_OR.has(name)) throw new EventPatternError(`${name} is Ruler reserved fieldName which cannot be used inside $or.`)
    const fieldPath = [...path, name]
    if (isObject(value)) {
      const inner = compileObject(value, fieldPath, isInOr)
      pattern.fields.push({ name, kind: 'object', pattern: inner })
      pattern.combinations *= inner.combinations
    } else if (Array.isArray(value)) {
      if (value.length === 0) throw new EventPatternError('Empty arrays are not allowed')
      pattern.fields.push({ name, kind: 'values', pathKey: keyOf(fieldPath), tests: value.map(compileValue) })
    } else throw new EventPatternError(`"${name}" must be an object or an array`)
  }
  return pattern
}

function compileOr(value: unknown, path: readonly string[]): ObjectPattern[] {
  if (!Array.isArray(value)) throw new EventPatternError('It must be an Array followed with $or.')
  const branches = value.map((branch: unknown) => {
    if (!isObject(branch)) throw new EventPatternError('Only JSON object is allowed in array of $or relationship.')
    return compileObject(branch, path, true)
  })
  if (branches.length < 2) throw new EventPatternError('There must have at least 2 Objects in $or relationship.')
  return branches
}

function keyOf(path: readonly string[]): string {
  return JSON.stringify(path)
}

const NOTHING = {}

/**
 * Fields of one pattern's object are looked up in one and the same object of the event: of a list each element is tried by
 * itself. Only what is to be absent must be so in all of them, as in EventBridge.
 */
function matchObject(pattern: ObjectPattern, object: object, leafPaths: () => Set<string>): boolean {
  return pattern.fields.every((field) => matchField(field, object, leafPaths))
    && pattern.or.every((branches) => branches.some((branch) => matchObject(branch, object, leafPaths)))
}

function matchField(field: FieldPattern, object: object, leafPaths: () => Set<string>): boolean {
  const value: unknown = Object.hasOwn(object, field.name) ? Reflect.get(object, field.name) : undefined
  if (field.kind === 'object') {
    const inner = elementsOf(value).filter(isObject)
    return (inner.length === 0 ? [NOTHING] : inner).some((each) => matchObject(field.pattern, each, leafPaths))
  }
  const leaves = elementsOf(value).filter(isLeaf)
  return field.tests.some((test) => (test === ABSENT ? !leafPaths().has(field.pathKey) : leaves.some(test)))
}

function isLeaf(value: unknown): value is Leaf {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value)
}

/** A list's elements, of lists in it too; else the value itself. */
function elementsOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value.flat(Infinity) : [value]
}

/** Where in an event there are values. */
function leafPathsOf(event: object): Set<string> {
  const found = new Set<string>()
  const visit = (value: unknown, path: readonly string[]): void => {
    for (const each of elementsOf(value)) {
      if (isLeaf(each)) found.add(keyOf(path))
      else if (isObject(each)) for (const name of Object.keys(each)) visit(each[name], [...path, name])
    }
  }
  visit(event, [])
  return found
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}
