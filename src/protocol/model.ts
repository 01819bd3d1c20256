import { readFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../core/package-root.ts'

/** The services of the endpoint; the first that knows an action has it when a request is not signed. */
export const SERVICES = ['ec2', 'sts', 'iam', 'ssm', 'rbin', 'ec2-instance-connect'] as const
export type ServiceName = (typeof SERVICES)[number]
export type Protocol = 'ec2Query' | 'awsQuery' | 'awsJson1_1' | 'restJson1'
export type Scalar = 'string' | 'number' | 'boolean' | 'timestamp' | 'blob'
export type Shape = Scalar | StructureShape | ListShape | MapShape

export interface StructureShape {
  kind: 'structure'
  members: Member[]
}

export interface ListShape {
  kind: 'list'
  item: Shape
  /** Element of one item in XML. */
  xmlName: string
  /** Key between the list's key and the index in a form ("Foo.member.1"); '' when there is none ("Foo.1"). */
  queryName: string
}

export interface MapShape {
  kind: 'map'
  key: Shape
  value: Shape
}

export interface Member {
  /** Name in the SDK's types, hence in handlers. */
  name: string
  /** Key in the form of a request. */
  queryName: string
  /** Element in the XML of a response. */
  xmlName: string
  required: boolean
  shape: Shape
}

/** How an operation of a REST protocol is called. */
export interface HttpBinding {
  method: string
  /** "/rules/{Identifier}/lock": a label stands for one segment, and names a member of the input. */
  path: string
  /** Of an answer that is no error. */
  status: number
  /** Members of the input that are parameters of the URL, with their names there. */
  query: Record<string, string>
}

/** One operation; input and output are undefined where the operation has none, and where hasShapes is false. */
export interface Operation {
  name: string
  /** Whether the model knows more than the name: of some services it keeps the shapes of what is there only. */
  hasShapes: boolean
  input: StructureShape | undefined
  output: StructureShape | undefined
  /** Of a REST protocol only. */
  http?: HttpBinding
}

/** AWS's model of one service. */
export interface ServiceModel {
  service: ServiceName
  protocol: Protocol
  apiVersion: string
  /** Of answers in XML; '' where they are JSON. */
  xmlNamespace: string
  /** What precedes the operation in the header X-Amz-Target ("AmazonSSM"); '' for query protocols. */
  target: string
  /** Names of all operations that AWS has. */
  operationNames(): string[]
  /** The operation of that name; undefined when AWS has none. */
  operation(name: string): Operation | undefined
}

type Reference = Scalar | number | null
type RawMember = [name: string, shape: Reference, queryName?: string, xmlName?: string]
type RawShape =
  | ['structure', requiredCount: number, members: RawMember[]]
  | ['list', item: Reference, xmlName: string, queryName: string]
  | ['map', key: Reference, value: Reference]

type RawBinding = [method: string, path: string, status: number, query?: Record<string, string>]

/** The file's format is described in scripts/generate-models.mjs. */
interface RawModel {
  protocol: Protocol
  apiVersion: string
  xmlNamespace?: string
  target?: string
  operations: Record<string, { input: Reference; output: Reference; http?: RawBinding } | null>
  shapes: RawShape[]
}

function bindingOf(raw: RawBinding | undefined): { http?: HttpBinding } {
  if (!raw) return {}
  const [method, path, status, query = {}] = raw
  return { http: { method, path, status, query } }
}

const loaded = new Map<ServiceName, ServiceModel>()

/**
 * The model of a service, read from generated/ once. Shapes are resolved when first used, so that
 * memory is taken only by what is called.
 *
 * @throws Error when generated/ is missing.
 */
export function loadServiceModel(service: ServiceName): ServiceModel {
  const known = loaded.get(service)
  if (known) return known
  const model = resolved(service, readModel(service))
  loaded.set(service, model)
  return model
}

function readModel(service: ServiceName): RawModel {
  const file = path.join(packageRoot(), 'generated', `${service}.json`)
  try {
    // The writer is ours and checked by tests over all operations.
    return JSON.parse(readFileSync(file, 'utf8')) as RawModel
  } catch (error) {
    throw new Error(`cannot read ${file}; run \`npm run build\``, { cause: error })
  }
}

function resolved(service: ServiceName, raw: RawModel): ServiceModel {
  const shapes: (Shape | undefined)[] = []
  const operations = new Map<string, Operation>()

  const shapeOf = (reference: Reference): Shape => {
    if (reference === null) throw new Error(`generated/${service}.json: a member without a shape`)
    if (typeof reference === 'string') return reference
    return shapes[reference] ?? resolve(reference)
  }

  const resolve = (index: number): Shape => {
    const row = raw.shapes[index]
    if (!row) throw new Error(`generated/${service}.json: no shape ${index}`)
    if (row[0] === 'structure') {
      const structure: StructureShape = { kind: 'structure', members: [] }
      // Known before its members are: some structures hold themselves.
      shapes[index] = structure
      structure.members = row[2].map(([name, shape, queryName = name, xmlName = name], position) => (
        { name, queryName, xmlName, required: position < row[1], shape: shapeOf(shape) }))
      return structure
    }
    const shape: Shape = row[0] === 'list'
      ? { kind: 'list', item: shapeOf(row[1]), xmlName: row[2], queryName: row[3] }
      : { kind: 'map', key: shapeOf(row[1]), value: shapeOf(row[2]) }
    shapes[index] = shape
    return shape
  }

  const structureOf = (reference: Reference): StructureShape | undefined => {
    if (reference === null) return undefined
    const shape = shapeOf(reference)
    if (typeof shape === 'string' || shape.kind !== 'structure') throw new Error('an operation without a structure')
    return shape
  }

  const operation = (name: string): Operation | undefined => {
    const known = operations.get(name)
    if (known || !Object.hasOwn(raw.operations, name)) return known
    const found = raw.operations[name] ?? null
    const made = found === null
      ? { name, hasShapes: false, input: undefined, output: undefined }
      : { name, hasShapes: true, input: structureOf(found.input), output: structureOf(found.output), ...bindingOf(found.http) }
    operations.set(name, made)
    return made
  }

  const { protocol, apiVersion, xmlNamespace = '', target = '' } = raw
  const operationNames = () => Object.keys(raw.operations)
  return { service, protocol, apiVersion, xmlNamespace, target, operation, operationNames }
}
