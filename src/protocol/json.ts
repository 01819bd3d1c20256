import { ApiError } from '../core/errors.ts'
import type { Operation, Scalar, ServiceModel, Shape, StructureShape } from './model.ts'
import { excerpt, MAX_BODY_BYTES } from './query.ts'
import type { RawRequest } from './request.ts'

// The protocol awsJson1_1: the operation in a header, input and output as JSON objects whose
// members are named as in the SDK. Times are seconds since the epoch, blobs base64.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html

/** Name of the header that says which operation is called ("AmazonSSM.GetParameter"). */
export const TARGET_HEADER = 'x-amz-target'

/** The operation that a request's target names; '' when it names none of this service. */
export function jsonAction(model: ServiceModel, request: RawRequest): string {
  const target = request.headers[TARGET_HEADER] ?? ''
  return target.startsWith(`${model.target}.`) ? target.slice(model.target.length + 1) : ''
}

/**
 * The body as the operation's typed input, in the SDK's types. Null members count as absent, and an
 * empty body as an empty object.
 *
 * @throws ApiError SerializationException for what is no JSON or of another type; ValidationException
 *   for members that are missing or not known.
 */
export function decodeJsonInput(operation: Operation, body: Buffer): Record<string, unknown> {
  const value = parse(body)
  if (!isObject(value)) throw unserializable('The body must be a JSON object.')
  return operation.input ? decodeMembers(operation.input, value, '') : {}
}

function parse(body: Buffer): unknown {
  if (body.length > MAX_BODY_BYTES) {
    const message = `The request is larger than ${MAX_BODY_BYTES} bytes, which is the limit.`
    throw new ApiError('RequestEntityTooLarge', message, 413)
  }
  if (body.length === 0) return {}
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body))
  } catch {
    throw unserializable('The body is not JSON in UTF-8.')
  }
}

function decodeMembers(structure: StructureShape, value: object, path: string): Record<string, unknown> {
  const given = new Map<string, unknown>(Object.entries(value))
  const result: Record<string, unknown> = {}
  for (const { name, required, shape } of structure.members) {
    const member = given.get(name) ?? undefined
    given.delete(name)
    if (member !== undefined) result[name] = decodeValue(shape, member, join(path, name))
    else if (required) throw invalid(`The request must contain the parameter ${join(path, name)}`)
  }
  for (const [name, member] of given) {
    // Also where AWS ignores it: the caller meant something by it that would not come about.
    if (member !== null) throw invalid(`The parameter ${excerpt(join(path, name))} is not recognized`)
  }
  return result
}

function decodeValue(shape: Shape, value: unknown, path: string): unknown {
  if (typeof shape === 'string') return decodeScalar(shape, value, path)
  if (shape.kind === 'list') {
    if (!Array.isArray(value)) throw mismatch(path, 'a list')
    return value.map((item: unknown, index) => decodeValue(shape.item, item, `${path}[${index}]`))
  }
  if (!isObject(value)) throw mismatch(path, 'an object')
  if (shape.kind === 'structure') return decodeMembers(shape, value, path)
  // Keys are the client's: without a prototype none of them means anything special.
  const map = Object.create(null) as Record<string, unknown>
  for (const [key, item] of Object.entries(value)) map[key] = decodeValue(shape.value, item, join(path, key))
  return map
}

function decodeScalar(shape: Scalar, value: unknown, path: string): unknown {
  switch (shape) {
    case 'string':
      if (typeof value === 'string') return value
      throw mismatch(path, 'a string')
    case 'boolean':
      if (typeof value === 'boolean') return value
      throw mismatch(path, 'a boolean')
    case 'number':
      // No operation of a JSON service that is here has a double.
      if (Number.isSafeInteger(value)) return value
      throw mismatch(path, 'a whole number')
    case 'timestamp': {
      const date = new Date(typeof value === 'number' ? value * 1000 : Number.NaN)
      if (!Number.isNaN(date.getTime())) return date
      throw mismatch(path, 'a number of seconds since 1970')
    }
    case 'blob':
      if (typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
        return new Uint8Array(Buffer.from(value, 'base64'))
      }
      throw mismatch(path, 'base64 text')
  }
}

/**
 * A typed output, in the SDK's types, as the JSON that AWS answers. Undefined and null members are
 * left out.
 *
 * @throws TypeError where the output does not fit the model, which is a bug of its handler.
 */
export function encodeJsonOutput(operation: Operation, output: object): string {
  return JSON.stringify(operation.output ? encodeValue(operation.output, output, operation.name) : {})
}

function encodeValue(shape: Shape, value: unknown, path: string): unknown {
  if (typeof shape === 'string') return encodeScalar(shape, value, path)
  if (shape.kind === 'list') {
    if (!Array.isArray(value)) throw misfit(path, 'list', value)
    return value.map((item: unknown) => encodeValue(shape.item, item, `${path}[]`))
  }
  if (!isObject(value)) throw misfit(path, shape.kind, value)
  const entries = Object.entries(value).filter(([, member]) => member !== undefined && member !== null)
  if (shape.kind === 'map') {
    return Object.fromEntries(entries.map(([key, item]) => [key, encodeValue(shape.value, item, `${path}.${key}`)]))
  }
  const members = new Map<string, unknown>(entries)
  const present = shape.members.filter(({ name }) => members.has(name))
  return Object.fromEntries(
    present.map(({ name, shape }) => [name, encodeValue(shape, members.get(name), `${path}.${name}`)]))
}

function encodeScalar(shape: Scalar, value: unknown, path: string): unknown {
  if (shape === 'string' && typeof value === 'string') return value
  if (shape === 'number' && typeof value === 'number' && Number.isFinite(value)) return value
  if (shape === 'boolean' && typeof value === 'boolean') return value
  if (shape === 'timestamp' && value instanceof Date) return value.getTime() / 1000
  if (shape === 'blob' && value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  throw misfit(path, shape, value)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

function misfit(path: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${path} must be a ${wanted}, not ${value === null ? 'null' : typeof value}`)
}

function mismatch(path: string, wanted: string): ApiError {
  return unserializable(`The value of the parameter ${excerpt(path)} must be ${wanted}.`)
}

function unserializable(message: string): ApiError {
  return new ApiError('SerializationException', message)
}

function invalid(message: string): ApiError {
  return new ApiError('ValidationException', message)
}
