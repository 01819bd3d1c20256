import { ApiError } from '../core/errors.ts'
import type { ListShape, MapShape, Operation, ServiceModel, Shape, StructureShape } from './model.ts'
import { excerpt, type FormNode } from './query.ts'
import { decodeScalar, refuseIllegalCharacters } from './scalars.ts'

type Protocol = ServiceModel['protocol']

/** Parameters that every request may carry beside its operation's own: those of the protocol and of SigV4. */
const COMMON_PARAMETERS = new Set([
  'Action', 'Version', 'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders',
  'X-Amz-Signature', 'X-Amz-Security-Token', 'X-Amz-Content-Sha256', 'X-Amz-User-Agent',
])

/**
 * A form as the operation's typed input, in the SDK's types: string, number, boolean, Date,
 * Uint8Array, arrays and objects.
 *
 * A scalar member with an empty value counts as absent (clients such as Terraform send
 * "Placement.AvailabilityZone="); a structure of which anything was sent is present, though it may
 * be empty ("UserData.Value=" gives `UserData: {}`). The value of a tag may be empty.
 *
 * @throws ApiError MissingParameter, InvalidParameterValue, InvalidCharacter, UnknownParameter.
 */
export function decodeInput(model: ServiceModel, operation: Operation, form: FormNode): Record<string, unknown> {
  const decoder = new Decoder(model.protocol)
  const members = operation.input?.members ?? []
  return decoder.members({ kind: 'structure', members }, form, '', COMMON_PARAMETERS)
}

class Decoder {
  readonly #protocol: Protocol

  constructor(protocol: Protocol) {
    this.#protocol = protocol
  }

  /** The members of a structure found under `node`; `path` is its key in the form, '' at the top. */
  members(structure: StructureShape, node: FormNode, path: string, others?: Set<string>): Record<string, unknown> {
    const result: Record<string, unknown> = {}
    const names = new Set<string>()
    for (const { name, queryName, required, shape } of structure.members) {
      names.add(queryName)
      const child = node.children?.get(queryName)
      const value = child && this.#value(shape, child, join(path, queryName), meansSomethingEmpty(structure, name))
      if (value !== undefined) result[name] = value
      else if (required) throw missing(join(path, queryName))
    }
    for (const [key, child] of node.children ?? []) {
      const isCommon = others?.has(key) && !child.children
      if (!names.has(key) && !isCommon) throw unknown(firstKey(child, join(path, key)))
    }
    return result
  }

  /** The value of a member or an item; undefined when it counts as absent, as an empty text does unless it is kept. */
  #value(shape: Shape, node: FormNode, path: string, keepsEmpty = false): unknown {
    if (typeof shape === 'string') {
      if (node.children) throw unknown(firstKey({ ...node, value: undefined }, path))
      const text = node.value ?? ''
      if (text === '' && !(keepsEmpty && shape === 'string')) return undefined
      return decodeScalar(shape, text, path)
    }
    // "Foo=" beside or instead of "Foo.1=a" says nothing; "Foo=a" is no structure and no list.
    if (node.value) throw unknown(path)
    if (shape.kind === 'structure') return this.members(shape, node, path)
    return shape.kind === 'list' ? this.#list(shape, node, path) : this.#map(shape, node, path)
  }

  #list(list: ListShape, node: FormNode, path: string): unknown[] | undefined {
    const items: unknown[] = []
    for (const [child, itemPath] of this.#indexed(node, path, list.queryName)) {
      const value = this.#value(list.item, child, itemPath, true)
      if (value === undefined) throw invalidEmpty(itemPath)
      items.push(value)
    }
    // awsQuery has a way to send an empty list ("Foo="), ec2Query has none.
    return items.length === 0 && this.#protocol === 'ec2Query' ? undefined : items
  }

  #map(map: MapShape, node: FormNode, path: string): Record<string, unknown> {
    // Keys are the client's: without a prototype none of them means anything special.
    const result = Object.create(null) as Record<string, unknown>
    const entry: StructureShape = {
      kind: 'structure',
      members: [
        { name: 'key', queryName: 'key', xmlName: 'key', required: true, shape: map.key },
        { name: 'value', queryName: 'value', xmlName: 'value', required: false, shape: map.value },
      ],
    }
    for (const [child, entryPath] of this.#indexed(node, path, 'entry')) {
      const { key, value } = this.members(entry, child, entryPath)
      if (value === undefined && map.value !== 'string') throw invalidEmpty(join(entryPath, 'value'))
      result[String(key)] = value ?? ''
    }
    return result
  }

  /** The nodes "Foo.1", "Foo.2" (or "Foo.member.1" …) with their keys, ordered by index; gaps are allowed. */
  #indexed(node: FormNode, path: string, infix: string): [FormNode, string][] {
    const parent = infix === '' ? node : node.children?.get(infix)
    const parentPath = infix === '' ? path : join(path, infix)
    for (const [key, child] of infix === '' ? [] : (node.children ?? [])) {
      if (key !== infix) throw unknown(firstKey(child, join(path, key)))
    }
    if (parent !== node && parent?.value) throw unknown(parentPath)
    const found: [index: number, node: FormNode, path: string][] = []
    for (const [key, child] of parent?.children ?? []) {
      if (!/^(0|[1-9]\d{0,8})$/.test(key)) throw unknown(firstKey(child, join(parentPath, key)))
      found.push([Number(key), child, join(parentPath, key)])
    }
    return found.toSorted(([a], [b]) => a - b).map(([, child, childPath]) => [child, childPath])
  }
}

/**
 * Refuses a version of the API other than the model's: its answers would have another form.
 *
 * @throws ApiError NoSuchVersion.
 */
export function checkVersion(model: ServiceModel, version: string | undefined): void {
  if (!version || version === model.apiVersion) return
  refuseIllegalCharacters(version, 'Version')
  const requested = `The requested version (${excerpt(version)}) of service ${VERSIONED_NAMES[model.service]}`
  const message = `${requested} does not exist; use ${model.apiVersion}.`
  throw new ApiError('NoSuchVersion', message)
}

/** What AWS calls the services where it speaks of their versions. */
const VERSIONED_NAMES: Record<ServiceModel['service'], string> = {
  ec2: 'AmazonEC2', 'ec2-instance-connect': 'AWSEC2InstanceConnectService', iam: 'AWSIdentityManagement', rbin: 'AmazonRecycleBin', ssm: 'AmazonSSM', sts: 'AWSSecurityTokenService',
}

/**
 * A tag's value may be empty, and then is not the same as none: DeleteTags tells them apart. By an empty name
 * ModifyInstancePlacement takes an instance out of its group. An empty NoDevice leaves a device out:
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_BlockDeviceMapping.html
 */
function meansSomethingEmpty({ members }: StructureShape, name: string): boolean {
  if (name === 'NoDevice') return true
  const has = (other: string) => members.some((each) => each.name === other)
  return (name === 'Value' && members.length === 2 && has('Key')) || (name === 'GroupName' && has('InstanceId') && has('Affinity'))
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** The key, as the client wrote it, of the first value at or below a node. */
function firstKey(node: FormNode, path: string): string {
  if (node.value !== undefined) return path
  for (const [key, child] of node.children ?? []) return firstKey(child, join(path, key))
  return path
}

function missing(path: string): ApiError {
  return new ApiError('MissingParameter', `The request must contain the parameter ${path}`)
}

function invalidEmpty(path: string): ApiError {
  return new ApiError('InvalidParameterValue', `Value () for parameter ${path} is invalid. It is empty.`)
}

function unknown(path: string): ApiError {
  return new ApiError('UnknownParameter', `The parameter ${excerpt(path)} is not recognized`)
}
