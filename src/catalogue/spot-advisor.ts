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

let families: Map<string, SpotAdvice> | undefined

function adviceOfFamily(table: Table, instanceType: string): SpotAdvice {
  families ??= familiesOf(table[MODEL_REGION] ?? {})
  return families.get(instanceType.split('.', 1)[0] ?? '') ?? UNKNOWN
}

/** The medians of each family. */
function familiesOf(types: Record<string, Row>): Map<string, SpotAdvice> {
  const rows = new Map<string, Row[]>()
  for (const [name, row] of Object.entries(types)) {
    const [family = ''] = name.split('.', 1)
    const known = rows.get(family)
    if (known) known.push(row)
    else rows.set(family, [row])
  }
  return new Map([...rows].map(([family, all]) => {
    const middle = Math.floor((all.length - 1) / 2)
    const savingPercent = all.map(([saving]) => saving).toSorted((a, b) => a - b)[middle] ?? UNKNOWN.savingPercent
    return [family, { savingPercent, band: all.map(([, band]) => band).toSorted((a, b) => a - b)[middle] ?? UNKNOWN.band }]
  }))
}
