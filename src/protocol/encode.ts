import type { ListShape, MapShape, Operation, Scalar, ServiceModel, Shape, StructureShape } from './model.ts'
import { hasIllegalCharacters, ILLEGAL_IN_XML } from './scalars.ts'

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

/**
 * A typed output, in the SDK's types, as the XML that AWS answers. Undefined and null members are
 * left out; an empty list is an empty element.
 *
 * @throws TypeError where the output does not fit the model, which is a bug of its handler.
 */
export function encodeOutput(model: ServiceModel, operation: Operation, output: object, requestId: string): string {
  const { head, tail } = envelope(model, operation, requestId)
  return `${head}${operation.output ? outputOf(operation, operation.output).encode(output) : ''}${tail}`
}

/** Whether a member of the output is a list that comes page by page: an AsyncIterable of arrays. */
export function hasPages(output: object): boolean {
  return Object.values(output).some(isPages)
}

/**
 * The same as encodeOutput for an output that comes page by page: pieces of about `PIECE`
 * characters, as soon as what they show is there.
 *
 * @throws TypeError as encodeOutput; whatever the pages throw.
 */
export async function* encodePages(
  model: ServiceModel,
  operation: Operation,
  output: object,
  requestId: string,
): AsyncGenerator<string> {
  const { head, tail } = envelope(model, operation, requestId)
  let piece = head
  for (const { name, shape, open, close, empty, path } of operation.output ? outputOf(operation, operation.output).members : []) {
    const value = (output as Record<string, unknown>)[name]
    if (value === undefined || value === null) continue
    if (!isPages(value)) {
      const content = encoderOf(shape, path)(value)
      piece += content === '' ? empty : open + content + close
      continue
    }
    if (typeof shape === 'string' || shape.kind !== 'list') throw misfit(path, String(shape), value)
    const item = itemPieces(shape, path)
    let isEmpty = true
    for await (const page of value) {
      for (const each of page) {
        for (const part of item(each)) {
          piece += isEmpty ? open + part : part
          isEmpty = false
          if (piece.length < PIECE) continue
          yield piece
          piece = ''
        }
      }
    }
    piece += isEmpty ? empty : close
  }
  yield piece + tail
}

/** Characters of a piece: long enough to be cheap to send, short enough that making it stalls nobody. */
const PIECE = 128 * 1024

function isPages(value: unknown): value is AsyncIterable<unknown[]> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

function envelope(model: ServiceModel, operation: Operation, requestId: string): { head: string; tail: string } {
  const root = `${operation.name}Response`
  const open = `${DECLARATION}<${root} xmlns="${model.xmlNamespace}">`
  if (model.protocol === 'ec2Query') {
    const nothing = operation.output ? '' : '<return>true</return>'
    return { head: `${open}<requestId>${requestId}</requestId>${nothing}`, tail: `</${root}>` }
  }
  const metadata = `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata></${root}>`
  if (!operation.output) return { head: open, tail: metadata }
  return { head: `${open}<${operation.name}Result>`, tail: `</${operation.name}Result>${metadata}` }
}

/** An error in the protocol's shape. `isSender`: it is the client's to mend. */
export function encodeError(
  model: ServiceModel,
  error: { code: string; message: string; isSender: boolean },
  requestId: string,
): string {
  const content = `<Code>${escapeText(error.code)}</Code><Message>${escapeText(error.message)}</Message>`
  if (model.protocol === 'ec2Query') {
    const id = `<RequestID>${requestId}</RequestID>`
    return `${DECLARATION}<Response><Errors><Error>${content}</Error></Errors>${id}</Response>`
  }
  const type = `<Type>${error.isSender ? 'Sender' : 'Receiver'}</Type>`
  return `${DECLARATION}<ErrorResponse xmlns="${model.xmlNamespace}"><Error>${type}${content}</Error>`
    + `<RequestId>${requestId}</RequestId></ErrorResponse>`
}

/** Makes the content of an element. */
type Encoder = (value: unknown) => string

/** A member of a structure, with everything about it that does not depend on its value. */
interface EncodedMember {
  name: string
  shape: Shape
  open: string
  close: string
  empty: string
  /** Where it is, for messages: "RunInstances.Instances[].Tags". */
  path: string
  /** Made when it first has a value: most members of most outputs never do. */
  encode: Encoder | undefined
}

interface EncodedStructure {
  members: EncodedMember[]
  encode: Encoder
}

/** Encoders of the outputs answered so far. A model makes one Operation of each name. */
const outputs = new WeakMap<Operation, EncodedStructure>()

function outputOf(operation: Operation, output: StructureShape): EncodedStructure {
  let known = outputs.get(operation)
  if (!known) {
    known = structureEncoder(output, operation.name)
    outputs.set(operation, known)
  }
  return known
}

function encoderOf(shape: Shape, path: string): Encoder {
  if (typeof shape === 'string') return scalarEncoder(shape, path)
  if (shape.kind === 'structure') return structureEncoder(shape, path).encode
  return shape.kind === 'list' ? listEncoder(shape, path) : mapEncoder(shape, path)
}

function structureEncoder(structure: StructureShape, path: string): EncodedStructure {
  const members = structure.members.map(({ name, xmlName, shape }): EncodedMember => ({
    name, shape, open: `<${xmlName}>`, close: `</${xmlName}>`, empty: `<${xmlName}/>`, path: `${path}.${name}`,
    encode: undefined,
  }))
  const encode = (value: unknown) => {
    if (typeof value !== 'object' || value === null) throw misfit(path, 'structure', value)
    // The members of a typed output; the model says which of them there are.
    const given = value as Record<string, unknown>
    let xml = ''
    for (const member of members) {
      const each = given[member.name]
      if (each === undefined || each === null) continue
      member.encode ??= encoderOf(member.shape, member.path)
      const content = member.encode(each)
      xml += content === '' ? member.empty : member.open + content + member.close
    }
    return xml
  }
  return { members, encode }
}

function listEncoder(list: ListShape, path: string): Encoder {
  const item = encoderOf(list.item, `${path}[]`)
  const open = `<${list.xmlName}>`
  const close = `</${list.xmlName}>`
  const empty = `<${list.xmlName}/>`
  return (value) => {
    if (!Array.isArray(value)) throw misfit(path, 'list', value)
    let xml = ''
    for (const each of value as unknown[]) {
      const content = item(each)
      xml += content === '' ? empty : open + content + close
    }
    return xml
  }
}

/** The elements of a list's items bit by bit: an item that holds a list itself is as long as that. */
function itemPieces(list: ListShape, path: string): (value: unknown) => Iterable<string> {
  const { item, xmlName } = list
  const whole = encoderOf({ ...list, kind: 'list' }, path)
  if (typeof item === 'string' || item.kind !== 'structure') return (value) => [whole([value])]
  const { members } = structureEncoder(item, `${path}[]`)
  return function* pieces(value) {
    if (typeof value !== 'object' || value === null) throw misfit(`${path}[]`, 'structure', value)
    const given = value as Record<string, unknown>
    const present = members.filter(({ name }) => given[name] !== undefined && given[name] !== null)
    if (present.length === 0) return yield whole([value])
    yield `<${xmlName}>`
    for (const member of present) {
      const each = given[member.name]
      if (typeof member.shape !== 'string' && member.shape.kind === 'list' && Array.isArray(each) && each.length > 0) {
        member.encode ??= encoderOf(member.shape, member.path)
        yield member.open
        for (const one of each as unknown[]) yield member.encode([one])
        yield member.close
        continue
      }
      member.encode ??= encoderOf(member.shape, member.path)
      const content = member.encode(each)
      yield content === '' ? member.empty : member.open + content + member.close
    }
    yield `</${xmlName}>`
  }
}

function mapEncoder(map: MapShape, path: string): Encoder {
  const element = (name: string, content: string) => content === '' ? `<${name}/>` : `<${name}>${content}</${name}>`
  const key = encoderOf(map.key, path)
  return (value) => {
    if (typeof value !== 'object' || value === null) throw misfit(path, 'map', value)
    let xml = ''
    for (const [name, item] of Object.entries(value)) {
      const content = encoderOf(map.value, `${path}.${name}`)(item)
      xml += `<entry>${element('key', key(name))}${element('value', content)}</entry>`
    }
    return xml
  }
}

function scalarEncoder(shape: Scalar, path: string): Encoder {
  switch (shape) {
    case 'string': return (value) => {
      if (typeof value !== 'string') throw misfit(path, shape, value)
      return escapeText(value)
    }
    case 'number': return (value) => {
      if (typeof value !== 'number' || !Number.isFinite(value)) throw misfit(path, shape, value)
      return String(value)
    }
    case 'boolean': return (value) => {
      if (typeof value !== 'boolean') throw misfit(path, shape, value)
      return value ? 'true' : 'false'
    }
    case 'timestamp': return (value) => {
      if (!(value instanceof Date)) throw misfit(path, shape, value)
      return timeText(value)
    }
    case 'blob': return (value) => {
      if (!(value instanceof Uint8Array)) throw misfit(path, shape, value)
      return Buffer.from(value).toString('base64')
    }
  }
}

const lastTime = { ms: 0, text: new Date(0).toISOString() }

/** With milliseconds, always, as EC2 writes times. An instance shows the same one several times. */
function timeText(time: Date): string {
  const ms = time.getTime()
  if (ms !== lastTime.ms) {
    lastTime.text = time.toISOString()
    lastTime.ms = ms
  }
  return lastTime.text
}

function misfit(path: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${path} must be a ${wanted}, not ${value === null ? 'null' : typeof value}`)
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#13;' }

/**
 * Text for the content of an element. What XML 1.0 cannot hold even escaped (most control
 * characters, lone surrogates) becomes U+FFFD; a carriage return is escaped, since parsers make a
 * line feed of a bare one.
 */
export function escapeText(text: string): string {
  if (!mayNeedEscape(text)) return text
  const clean = hasIllegalCharacters(text) ? text.replaceAll(ILLEGAL_IN_XML, '\ufffd') : text
  return /[&<>\r]/.test(clean) ? clean.replaceAll(/[&<>\r]/g, (character) => ESCAPES[character] ?? '') : clean
}

/** One look at the text, which nearly always is enough. */
function mayNeedEscape(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[&<>\u0000-\u0008\u000b-\u001f\ud800-\udfff\ufffe\uffff]/.test(text)
}
