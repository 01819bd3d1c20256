// Writes generated/SERVICE.json: AWS's own description of each operation, read from the SDK's
// runtime schemas. At run time Hearth reads these files and never the SDK, whose import alone takes
// about 95 MB of memory.
//
//   node scripts/generate-models.mjs        (scripts/build.mjs calls it, too)
//
// Format. `operations` maps a name to the shapes of its input and output (null: it has none), or to
// null where the service keeps only some of its shapes. `target` is what precedes the name in the
// header X-Amz-Target of a JSON protocol. A shape is one of 'string', 'number', 'boolean',
// 'timestamp', 'blob', or an index into `shapes`:
//   ['structure', REQUIRED, [MEMBER, …]]   the first REQUIRED members are required
//       MEMBER = [NAME, SHAPE, QUERY, XML]: the SDK's name, the key in a request's form, and the
//       element in a response; QUERY and XML are left out at the end where equal to NAME
//   ['list', ITEM, XML, QUERY]             XML: element of an item; QUERY: key between the list and
//                                          the index ("Foo.member.1"), '' when there is none ("Foo.1")
//   ['map', KEY, VALUE]                    form "Foo.entry.1.key", element <entry><key/><value/></entry>
// An operation of a REST protocol also has `http`: [METHOD, PATH, STATUS, QUERY]. Labels in PATH name
// members of its input, QUERY maps members to parameters of the URL; all other members are the body.
//
// A service may have its model in a file of its source instead, in which shapes have names in place of
// indexes. Recycle Bin has: of its client no version with runtime schemas can be had that goes with the
// other clients here; and EC2 Instance Connect, which is two operations. They say what AWS's models say.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const GENERATOR = 2
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)
// `shapesOf`: the operations whose shapes are kept, of services of which little is there; of the
// others only the names are known. A test compares it with the service's table of operations.
const services = [
  { name: 'ec2', protocol: 'ec2Query' },
  { name: 'ec2-instance-connect', file: 'src/ec2-instance-connect/model.json' },
  { name: 'iam', protocol: 'awsQuery', shapesOf: ['GetInstanceProfile', 'GetUser', 'ListAccountAliases', 'ListInstanceProfiles'] },
  { name: 'rbin', file: 'src/rbin/model.json' },
  { name: 'ssm', protocol: 'awsJson1_1', shapesOf: ['GetParameter', 'GetParameters', 'GetParametersByPath'] },
  { name: 'sts', protocol: 'awsQuery' },
]

/** Brings generated/ up to date. Reads a few small files and no SDK when it already is. */
export async function generateModels() {
  for (const service of services) {
    const file = path.join(root, 'generated', `${service.name}.json`)
    const source = sourceOf(service)
    if (!isCurrent(file, source)) writeModel(file, source, service.file ? modelInFile(service) : modelOf(service))
  }
}

/** What a model is made from; it is the first member of the file. */
function sourceOf({ name, shapesOf, file }) {
  if (file) return `generator ${GENERATOR}, ${file} ${createHash('sha256').update(readFileSync(path.join(root, file))).digest('hex')}`
  const module = `@aws-sdk/client-${name}`
  const { version } = JSON.parse(readFileSync(manifestOf(module), 'utf8'))
  return `generator ${GENERATOR}, ${module} ${version}${shapesOf ? `, shapes of ${shapesOf.join(', ')}` : ''}`
}

function manifestOf(module) {
  for (const folder of require.resolve.paths(module)) {
    const file = path.join(folder, module, 'package.json')
    try {
      readFileSync(file)
      return file
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
  }
  throw new Error(`${module} is not installed; run \`npm ci\``)
}

/** Whether the file begins with this source. Does not parse it: it is half a megabyte. */
function isCurrent(file, source) {
  try {
    return readFileSync(file, 'utf8').startsWith(`{"source":${JSON.stringify(source)},`)
  } catch (error) {
    if (error.code === 'ENOENT') return false
    throw error
  }
}

/** Through a temporary name, so that a reader never sees half a file. */
function writeModel(file, source, model) {
  mkdirSync(path.dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}`
  writeFileSync(temporary, JSON.stringify({ source, ...model }))
  renameSync(temporary, file)
}

function modelOf({ name, protocol, shapesOf }) {
  const sdk = require(`@aws-sdk/client-${name}`)
  const settings = settingsOf(sdk, name, protocol)
  const table = shapeTable(protocol)
  const operations = {}
  for (const schema of Object.values(sdk)) {
    if (!Array.isArray(schema) || schema[0] !== OPERATION) continue
    const [, , operation, , input, output] = schema
    const isKept = shapesOf === undefined || shapesOf.includes(operation)
    operations[operation] = isKept ? { input: table.shapeOf(input), output: table.shapeOf(output) } : null
  }
  return { protocol, ...settings, operations, shapes: table.shapes }
}

/** A model whose shapes have names: each becomes its index. */
function modelInFile({ file }) {
  const { shapes, operations, ...settings } = JSON.parse(readFileSync(path.join(root, file), 'utf8'))
  const names = Object.keys(shapes)
  const refer = (name) => {
    if (['string', 'number', 'boolean', 'timestamp', 'blob'].includes(name)) return name
    if (!names.includes(name)) throw new Error(`${file}: there is no shape ${name}`)
    return names.indexOf(name)
  }
  const indexed = ([kind, ...rest]) => {
    if (kind === 'structure') return [kind, rest[0], rest[1].map(([name, shape]) => [name, refer(shape)])]
    if (kind === 'list') return [kind, refer(rest[0]), rest[1], rest[2]]
    return [kind, ...rest.map(refer)]
  }
  const entries = Object.entries(operations)
    .map(([name, { input, output, http }]) => [name, { input: refer(input), output: refer(output), http }])
  return { ...settings, operations: Object.fromEntries(entries), shapes: Object.values(shapes).map(indexed) }
}

/** First element of an operation's schema. */
const OPERATION = 9

/** Version, namespace and target, which only a client's configuration has. */
function settingsOf(sdk, name, protocol) {
  const Client = sdk[`${name.toUpperCase()}Client`]
  const client = new Client({ region: 'us-east-1', credentials: { accessKeyId: 'none', secretAccessKey: 'none' } })
  const { version, xmlNamespace, serviceTarget } = client.config.protocolSettings
  if (protocol === 'awsJson1_1') return { apiVersion: version, target: serviceTarget }
  const isEc2 = name === 'ec2'
  // EC2 answers with a slash at the end of its namespace, which the SDK's setting has not.
  return { apiVersion: version, xmlNamespace: isEc2 ? `${xmlNamespace}/` : xmlNamespace }
}

/** Collects shapes as they are met; each of the SDK's schemas becomes one entry. */
function shapeTable(protocol) {
  // A dependency of the SDK, so resolved from there.
  const { NormalizedSchema } = createRequire(manifestOf('@aws-sdk/client-ec2'))('@smithy/core/schema')
  const shapes = []
  const indexes = new Map()

  const shapeOf = (reference) => {
    const schema = NormalizedSchema.of(reference)
    return schema.isUnitSchema() ? null : (scalarOf(schema) ?? indexOf(schema))
  }

  const indexOf = (schema) => {
    const raw = schema.getSchema()
    // Lists of scalars are numbers in the SDK and have no identity, but all of one kind are alike.
    const known = indexes.get(raw)
    if (known !== undefined) return known
    const index = shapes.push(null) - 1
    indexes.set(raw, index)
    if (schema.isStructSchema()) shapes[index] = structure(schema)
    else if (schema.isListSchema()) shapes[index] = list(schema)
    else if (schema.isMapSchema()) shapes[index] = map(schema)
    else throw new Error(`${schema.getName(true)}: a kind of shape that this generator does not know`)
    return index
  }

  const structure = (schema) => {
    if (schema.isUnionSchema()) throw new Error(`${schema.getName(true)}: unions are not known here`)
    const members = [...schema.structIterator()].map(([name, member]) => {
      refuseTraits(member, ['xmlFlattened', 'xmlAttribute', 'timestampFormat', 'jsonName'])
      const { xmlName = name, ec2QueryName } = member.getMemberTraits()
      const query = protocol === 'ec2Query' ? (ec2QueryName ?? capitalised(xmlName)) : xmlName
      const row = [name, shapeOf(member), query, xmlName]
      if (xmlName === name) row.pop()
      if (xmlName === name && query === name) row.pop()
      return row
    })
    return ['structure', schema.getSchema()[6] ?? 0, members]
  }

  const list = (schema) => {
    const item = schema.getValueSchema()
    refuseTraits(schema, ['xmlFlattened'])
    const { xmlName = 'member' } = item.getMergedTraits()
    return ['list', shapeOf(item), xmlName, protocol === 'ec2Query' ? '' : xmlName]
  }

  const map = (schema) => {
    const [key, value] = [schema.getKeySchema(), schema.getValueSchema()]
    refuseTraits(schema, ['xmlFlattened'])
    refuseTraits(key, ['xmlName'])
    refuseTraits(value, ['xmlName'])
    return ['map', shapeOf(key), shapeOf(value)]
  }

  return { shapes, shapeOf }
}

function scalarOf(schema) {
  if (schema.isStringSchema()) return 'string'
  if (schema.isNumericSchema()) return 'number'
  if (schema.isBooleanSchema()) return 'boolean'
  if (schema.isTimestampSchema()) return 'timestamp'
  if (schema.isBlobSchema()) return 'blob'
  return undefined
}

/** Traits that no service here has today: should an update bring one, the codec must learn it first. */
function refuseTraits(schema, names) {
  const traits = schema.getMergedTraits()
  for (const name of names) {
    if (name in traits) throw new Error(`${schema.getName(true)}: the trait ${name} is not known here`)
  }
  // Every timestamp is in the protocol's own format; a schema above 4 would carry another.
  if (schema.isTimestampSchema() && schema.getSchema() !== 4) {
    throw new Error(`${schema.getName(true)}: a timestamp in a format that is not known here`)
  }
}

function capitalised(name) {
  return name.charAt(0).toUpperCase() + name.slice(1)
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await generateModels()
