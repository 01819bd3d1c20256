import type { ListShape, MapShape, Operation, ServiceModel, Shape, StructureShape } from './model.ts'
import { ILLEGAL_IN_XML } from './scalars.ts'

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

/**
 * A typed output, in the SDK's types, as the XML that AWS answers. Undefined and null members are
 * left out; an empty list is an empty element.
 *
 * @throws TypeError where the output does not fit the model, which is a bug of its handler.
 */
export function encodeOutput(model: ServiceModel, operation: Operation, output: object, requestId: string): string {
  const root = `${operation.name}Response`
  const body = operation.output ? encodeMembers(operation.output, output, operation.name) : '<return>true</return>'
  const open = `${DECLARATION}<${root} xmlns="${model.xmlNamespace}">`
  if (model.protocol === 'ec2Query') return `${open}<requestId>${requestId}</requestId>${body}</${root}>`
  const result = operation.output ? `<${operation.name}Result>${body}</${operation.name}Result>` : ''
  const metadata = `<ResponseMetadata><RequestId>${requestId}</RequestId></ResponseMetadata>`
  return `${open}${result}${metadata}</${root}>`
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

function encodeMembers(structure: StructureShape, value: object, path: string): string {
  // The members of a typed output; the model says which of them there are.
  const members = value as Record<string, unknown>
  let xml = ''
  for (const { name, xmlName, shape } of structure.members) {
    const member = members[name]
    if (member !== undefined && member !== null) xml += element(xmlName, shape, member, `${path}.${name}`)
  }
  return xml
}

function element(name: string, shape: Shape, value: unknown, path: string): string {
  const content = encodeContent(shape, value, path)
  return content === '' ? `<${name}/>` : `<${name}>${content}</${name}>`
}

function encodeContent(shape: Shape, value: unknown, path: string): string {
  if (typeof shape === 'string') return encodeScalar(shape, value, path)
  if (shape.kind === 'list') return encodeList(shape, value, path)
  if (typeof value !== 'object' || value === null) throw misfit(path, shape.kind, value)
  return shape.kind === 'structure' ? encodeMembers(shape, value, path) : encodeMap(shape, value, path)
}

function encodeList(list: ListShape, value: unknown, path: string): string {
  if (!Array.isArray(value)) throw misfit(path, 'list', value)
  let xml = ''
  for (const item of value as unknown[]) xml += element(list.xmlName, list.item, item, `${path}[]`)
  return xml
}

function encodeMap(map: MapShape, value: object, path: string): string {
  let xml = ''
  for (const [key, item] of Object.entries(value)) {
    xml += `<entry>${element('key', map.key, key, path)}${element('value', map.value, item, `${path}.${key}`)}</entry>`
  }
  return xml
}

function encodeScalar(shape: Shape, value: unknown, path: string): string {
  if (shape === 'string' && typeof value === 'string') return escapeText(value)
  if (shape === 'number' && typeof value === 'number' && Number.isFinite(value)) return String(value)
  if (shape === 'boolean' && typeof value === 'boolean') return String(value)
  // With milliseconds, always: as EC2 writes them.
  if (shape === 'timestamp' && value instanceof Date) return value.toISOString()
  if (shape === 'blob' && value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  throw misfit(path, String(shape), value)
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
  const clean = text.search(ILLEGAL_IN_XML) === -1 ? text : text.replaceAll(ILLEGAL_IN_XML, '\ufffd')
  return /[&<>\r]/.test(clean) ? clean.replaceAll(/[&<>\r]/g, (character) => ESCAPES[character] ?? '') : clean
}
