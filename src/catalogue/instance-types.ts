import { readFileSync } from 'node:fs'
import type { InstanceTypeInfo } from '@aws-sdk/client-ec2'
import { projectFile } from './project-file.ts'

/** data/instance-types.json, format 1; see scripts/compact-instance-types.mjs. */
interface CompactCatalogue {
  format: 1
  sha256: string
  /** Paths of members: "VCpuInfo.DefaultVCpus". */
  columns: string[]
  /** By column: its distinct values. */
  values: unknown[][]
  families: Record<string, Family>
}

interface Family {
  /** Column and place of its value, by turns: what every size has. */
  common: number[]
  /** Columns in which sizes differ, in the order of their rows. */
  varying: number[]
  /** Size → places of its values; null where it has none. */
  sizes: Record<string, (number | null)[]>
}

type JsonObject = { [key: string]: unknown }

let catalogue: CompactCatalogue | undefined

/** Types in use are few; all of them expanded would be some ten megabytes. */
const MAX_EXPANDED = 50
const expanded = new Map<string, InstanceTypeInfo>()

/** Read on first use and kept in its compact form. */
function load(): CompactCatalogue {
  catalogue ??= JSON.parse(readFileSync(projectFile('data/instance-types.json'), 'utf8')) as CompactCatalogue
  return catalogue
}

/**
 * Everything that DescribeInstanceTypes says about a type; undefined for a name that is none. It
 * is shared, and frozen.
 */
export function instanceType(name: string): Readonly<InstanceTypeInfo> | undefined {
  const known = expanded.get(name)
  if (known) return known
  const type = expand(name)
  if (!type) return undefined
  if (expanded.size >= MAX_EXPANDED) expanded.clear()
  expanded.set(name, type)
  return type
}

function expand(name: string): InstanceTypeInfo | undefined {
  const found = find(name)
  if (!found) return undefined
  const { columns, values } = load()
  const type: JsonObject = { InstanceType: name }
  for (const [column, index] of cellsOf(found)) {
    assign(type, columns[column] ?? '', unchain(values[column]?.[index]))
  }
  return deeplyFrozen(type) as InstanceTypeInfo
}

/** How many network interfaces an instance of the type may have. */
export function maxInterfacesOf(name: string): number {
  return instanceType(name)?.NetworkInfo?.MaximumNetworkInterfaces ?? 1
}

/** Names of all types, sorted. */
export function instanceTypeNames(): string[] {
  const families = Object.entries(load().families)
  return families.flatMap(([family, { sizes }]) => Object.keys(sizes).map((size) => `${family}.${size}`)).toSorted()
}

/** Virtual CPUs of a type by default; undefined for a name that is none. */
export function vcpusOf(name: string): number | undefined {
  return numberOf(name, 'VCpuInfo.DefaultVCpus')
}

/** Memory of a type in MiB; undefined for a name that is none. */
export function memoryMibOf(name: string): number | undefined {
  return numberOf(name, 'MemoryInfo.SizeInMiB')
}

/** The name that someone may have meant; undefined when none is near (more than two typing errors). */
export function suggestType(name: string): string | undefined {
  const wanted = name.trim().toLowerCase().slice(0, 40)
  let best: string | undefined
  let bestDistance = 3
  for (const candidate of instanceTypeNames()) {
    const distance = editDistance(wanted, candidate, bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

interface Found {
  family: Family
  row: (number | null)[]
}

function find(name: string): Found | undefined {
  const [familyName, size, ...rest] = name.split('.')
  if (familyName === undefined || size === undefined || rest.length > 0) return undefined
  const { families } = load()
  // Names come from clients: "__proto__" must not find what every object has.
  const family = Object.hasOwn(families, familyName) ? families[familyName] : undefined
  const row = family && Object.hasOwn(family.sizes, size) ? family.sizes[size] : undefined
  return family && row ? { family, row } : undefined
}

/** Column and place of its value, for every member that the type has. */
function* cellsOf({ family, row }: Found): Generator<[column: number, index: number]> {
  for (let at = 0; at < family.common.length; at += 2) {
    yield [family.common[at] as number, family.common[at + 1] as number]
  }
  for (const [place, column] of family.varying.entries()) {
    const index = row[place]
    if (typeof index === 'number') yield [column, index]
  }
}

function numberOf(name: string, columnName: string): number | undefined {
  const found = find(name)
  if (!found) return undefined
  const { columns, values } = load()
  const wanted = columns.indexOf(columnName)
  for (const [column, index] of cellsOf(found)) {
    if (column === wanted) return values[column]?.[index] as number
  }
  return undefined
}

function deeplyFrozen<T extends object>(value: T): T {
  for (const each of Object.values(value) as unknown[]) if (typeof each === 'object' && each !== null) deeplyFrozen(each)
  return Object.freeze(value)
}

/** Puts a value at a path of members, making the objects on the way; "Gpus[]" is an array of one. */
function assign(target: JsonObject, memberPath: string, value: unknown): void {
  const keys = memberPath.split('.')
  const last = keys.pop() as string
  let object = target
  for (const key of keys) {
    if (key.endsWith('[]')) object = ((object[key.slice(0, -2)] ??= [{}]) as [JsonObject])[0]
    else object = (object[key] ??= {}) as JsonObject
  }
  object[last] = value
}

/** A fresh copy of a dictionary's value; arrays kept as changes from one element to the next are restored. */
function unchain(value: unknown): unknown {
  if (typeof value !== 'object') return value
  if (!isChain(value)) return structuredClone(value)
  let previous: JsonObject = value.first
  return [value.first, ...value.changes].map((changes) => {
    previous = { ...previous, ...changes }
    return structuredClone(previous)
  })
}

function isChain(value: unknown): value is { first: JsonObject; changes: JsonObject[] } {
  return typeof value === 'object' && value !== null && 'first' in value && 'changes' in value
}

/** Levenshtein's distance, or `limit` as soon as it cannot be less. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, substitution))
    }
    if (Math.min(...current) >= limit) return limit
    previous = current
  }
  return previous[b.length] ?? limit
}
