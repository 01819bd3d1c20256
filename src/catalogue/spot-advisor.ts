import { readFileSync } from 'node:fs'
import { projectFile } from './project-file.ts'

/** What the Spot Instance advisor tells of a type. */
export interface SpotAdvice {
  /** What spot typically saves over on demand, per cent. */
  savingPercent: number
  /** How often instances are interrupted in a month: less than 5 %, 5 to 10 %, 10 to 15 %, 15 to 20 %, more. */
  band: 0 | 1 | 2 | 3 | 4
}

type Row = [savingPercent: number, band: SpotAdvice['band']]
type Table = Record<string, Record<string, Row>>

/** The region that a region without a table of its own is taken for. */
const MODEL_REGION = 'us-east-1'
/** Of a family that no table knows: about the medians of us-east-1. */
const UNKNOWN: SpotAdvice = { savingPercent: 66, band: 3 }

let table: Table | undefined

/**
 * What the advisor tells of a type in a region. What it does not list there is taken from us-east-1, then from the medians of
 * the type's family ("m5"), then from those of all types.
 */
export function spotAdvice(region: string, instanceType: string): SpotAdvice {
  table ??= JSON.parse(readFileSync(projectFile('data/spot-advisor.json'), 'utf8')) as Table
  const row = rowOf(table, region, instanceType) ?? rowOf(table, MODEL_REGION, instanceType)
  return row ? { savingPercent: row[0], band: row[1] } : adviceOfFamily(table, instanceType)
}

function rowOf(table: Table, region: string, instanceType: string): Row | undefined {
  const types = Object.hasOwn(table, region) ? table[region] : undefined
  return types && Object.hasOwn(types, instanceType) ? types[instanceType] : undefined
}

const families = new Map<string, SpotAdvice>()

function adviceOfFamily(table: Table, instanceType: string): SpotAdvice {
  const [family = ''] = instanceType.split('.')
  const known = families.get(family)
  if (known) return known
  const rows = Object.entries(table[MODEL_REGION] ?? {}).filter(([name]) => name.startsWith(`${family}.`)).map(([, row]) => row)
  const middle = Math.floor((rows.length - 1) / 2)
  const savingPercent = rows.map(([saving]) => saving).toSorted((a, b) => a - b)[middle]
  const band = rows.map(([, band]) => band).toSorted((a, b) => a - b)[middle]
  const advice = savingPercent === undefined || band === undefined ? UNKNOWN : { savingPercent, band }
  // Names that no catalogue has would make it grow for ever.
  if (rows.length > 0) families.set(family, advice)
  return advice
}
