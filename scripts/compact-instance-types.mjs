// Makes data/instance-types.json from the catalogue of instance types in the full shape of
// DescribeInstanceTypes: an object of name → type, as getmoto/moto keeps it.
//
//   node scripts/compact-instance-types.mjs SOURCE.json [DESTINATION.json]
//
// Format 1. Objects are taken apart into columns ("EbsInfo.NvmeSupport"), and so are arrays of a
// single object ("GpuInfo.Gpus[].Count"); other arrays, and empty objects, are values. Each column has a list of its distinct values, most frequent first, and a
// type names its values by their place in that list. What all sizes of a family ("m5") have in
// common is written once, and what varies as one row per size; null in a row: the type has no such
// member. An array of several objects with the same members is kept as {"first": the first object,
// "changes": what is different in each following one from the one before}. `sha256` is over the canonical JSON (keys sorted, no white space) of everything expanded.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** JSON with sorted keys and no white space. */
export function canonicalJson(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const members = Object.keys(value).toSorted().map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`)
  return `{${members.join(',')}}`
}

/** name → type, as an object in format 1. */
export function compact(types) {
  const names = Object.keys(types).toSorted()
  const rows = new Map(names.map((name) => [name, flatten(types[name])]))
  const columns = [...new Set([...rows.values()].flatMap((row) => [...row.keys()]))].toSorted()
  const dictionaries = columns.map((column) => dictionary([...rows.values()].map((row) => row.get(column))))
  const indexOf = (name, column) => dictionaries[column].indexes.get(rows.get(name).get(columns[column])) ?? null

  const families = {}
  for (const [family, sizes] of byFamily(names)) {
    const common = []
    const varying = []
    for (let column = 0; column < columns.length; column++) {
      const values = new Set(sizes.map((size) => indexOf(`${family}.${size}`, column)))
      const [value] = values
      if (values.size > 1) varying.push(column)
      else if (value !== null) common.push(column, value)
    }
    const cells = (size) => varying.map((column) => indexOf(`${family}.${size}`, column))
    families[family] = { common, varying, sizes: Object.fromEntries(sizes.map((size) => [size, cells(size)])) }
  }
  const values = dictionaries.map(({ texts }) => texts.map((text) => chain(JSON.parse(text))))
  return { format: 1, sha256: sha256Of(types), columns, values, families }
}

export function sha256Of(types) {
  return createHash('sha256').update(canonicalJson(types)).digest('hex')
}

/** Column → canonical JSON of its value. The name is left out: it is the type's key. */
function flatten(type) {
  const row = new Map()
  const visit = (value, prefix) => {
    for (const [key, member] of Object.entries(value)) {
      if (!/^\w+$/.test(key)) throw new Error(`not the name of a member: ${key}`)
      const column = prefix + key
      if (column === 'InstanceType') continue
      const isSingle = Array.isArray(member) && member.length === 1 && isFilledObject(member[0])
      if (isFilledObject(member)) visit(member, `${column}.`)
      else if (isSingle) visit(member[0], `${column}[].`)
      else row.set(column, canonicalJson(member))
    }
  }
  visit(type, '')
  return row
}

/** An array of alike objects as the first and the changes to the next (see format 1); else the value. */
function chain(value) {
  if (!Array.isArray(value) || value.length < 2 || !value.every(isObject)) return value
  const keys = Object.keys(value[0])
  if (value.some((element) => canonicalJson(Object.keys(element).toSorted()) !== canonicalJson(keys.toSorted()))) return value
  const changes = value.slice(1).map((element, index) => {
    const differs = (key) => canonicalJson(element[key]) !== canonicalJson(value[index][key])
    return Object.fromEntries(keys.filter(differs).map((key) => [key, element[key]]))
  })
  return { first: value[0], changes }
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function isFilledObject(value) {
  return isObject(value) && Object.keys(value).length > 0
}

function dictionary(texts) {
  const counts = new Map()
  for (const text of texts) if (text !== undefined) counts.set(text, (counts.get(text) ?? 0) + 1)
  const sorted = [...counts.keys()].toSorted((a, b) => counts.get(b) - counts.get(a) || (a < b ? -1 : 1))
  return { texts: sorted, indexes: new Map(sorted.map((text, index) => [text, index])) }
}

function byFamily(names) {
  const families = new Map()
  for (const name of names) {
    const [family, size, ...rest] = name.split('.')
    if (!size || rest.length > 0) throw new Error(`not the name of an instance type: ${name}`)
    families.set(family, [...(families.get(family) ?? []), size])
  }
  return families
}

/** One line per family, so that a new version is a readable difference. */
function print({ families, values, ...head }) {
  const valueLines = values.map((list) => JSON.stringify(list)).join(',\n')
  const familyLines = Object.entries(families).map(([name, family]) => `"${name}":${JSON.stringify(family)}`).join(',\n')
  return `${JSON.stringify(head).slice(0, -1)},\n"values":[\n${valueLines}\n],\n"families":{\n${familyLines}\n}}\n`
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
  const [source, destination = path.join(root, 'data/instance-types.json')] = process.argv.slice(2)
  if (!source) throw new Error('usage: node scripts/compact-instance-types.mjs SOURCE.json [DESTINATION.json]')
  const types = JSON.parse(readFileSync(source, 'utf8'))
  for (const [name, type] of Object.entries(types)) {
    if (type.InstanceType !== name) throw new Error(`${name} calls itself ${type.InstanceType}`)
  }
  const text = print(compact(types))
  writeFileSync(destination, text)
  console.log(`${Object.keys(types).length} types, ${text.length} bytes: ${destination}`)
}
