import { ApiError } from '../core/errors.ts'

/** Most bytes of a request's body. The largest real calls (user data, 1,000 ids) are under 100 KB. */
export const MAX_BODY_BYTES = 1024 * 1024
/** Most parameters of a request; 50 filters of 200 values, which is EC2's own limit, make 10,050. */
export const MAX_KEYS = 20_000
/** Most segments of a key ("LaunchTemplateData.TagSpecification.1.Tag.2.Key" has 6). */
export const MAX_KEY_DEPTH = 24
const MAX_KEY_LENGTH = 512

export type Parameter = readonly [key: string, value: string]

/**
 * One level of a form: "Tag.1.Key=a" is a node under "Tag" under "1" under "Key" with the value "a".
 * Children are a Map, so no key ("__proto__") means anything special.
 */
export interface FormNode {
  value: string | undefined
  children: Map<string, FormNode> | undefined
}

/** The text of a body. @throws ApiError when it is too long or not UTF-8. */
export function bodyText(body: Buffer): string {
  if (body.length > MAX_BODY_BYTES) throw bodyTooLarge()
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch {
    throw malformed('it is not UTF-8 text.')
  }
}

function bodyTooLarge(): ApiError {
  return new ApiError('InvalidRequest', `The request is larger than ${MAX_BODY_BYTES} bytes, which is the limit.`, 413)
}

/**
 * The parameters of a query string or an application/x-www-form-urlencoded body, in their order.
 *
 * @throws ApiError MalformedQueryString; InvalidRequest beyond the limits.
 */
export function parseParameters(text: string): Parameter[] {
  const parameters: Parameter[] = []
  for (let start = 0; start <= text.length;) {
    const next = text.indexOf('&', start)
    const end = next === -1 ? text.length : next
    if (end > start) {
      if (parameters.length === MAX_KEYS) throw tooManyKeys()
      parameters.push(parseParameter(text.slice(start, end)))
    }
    start = end + 1
  }
  return parameters
}

function parseParameter(pair: string): Parameter {
  const equals = pair.indexOf('=')
  const rawKey = equals === -1 ? pair : pair.slice(0, equals)
  if (rawKey.length > MAX_KEY_LENGTH) {
    const message = `A parameter's name is longer than ${MAX_KEY_LENGTH} characters: ${excerpt(rawKey)}`
    throw new ApiError('InvalidRequest', message)
  }
  const key = unescape(rawKey)
  if (key === '') throw malformed('a parameter has no name.')
  return [key, equals === -1 ? '' : unescape(pair.slice(equals + 1))]
}

function unescape(text: string): string {
  // Control characters must come percent-encoded; raw ones mean that this is not a form at all.
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text)) throw malformed('it contains binary data.')
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text
  if (!spaced.includes('%')) return spaced
  try {
    return decodeURIComponent(spaced)
  } catch {
    throw malformed(`"${excerpt(text)}" is not percent-encoded UTF-8.`)
  }
}

/**
 * Parameters as a tree, split at dots.
 *
 * @throws ApiError for a key that is given twice, nested too deeply or has an empty segment, and
 *   for too many keys.
 */
export function buildForm(parameters: Iterable<Parameter>): FormNode {
  const root: FormNode = { value: undefined, children: undefined }
  let count = 0
  for (const [key, value] of parameters) {
    if (++count > MAX_KEYS) throw tooManyKeys()
    const node = nodeAt(root, key)
    if (node.value !== undefined) {
      throw new ApiError('InvalidQueryParameter', `The parameter ${excerpt(key)} is given more than once.`)
    }
    node.value = value
  }
  return root
}

function nodeAt(root: FormNode, key: string): FormNode {
  const segments = key.split('.', MAX_KEY_DEPTH + 1)
  if (segments.length > MAX_KEY_DEPTH) {
    throw new ApiError('InvalidRequest', `The parameter ${excerpt(key)} has more than ${MAX_KEY_DEPTH} levels.`)
  }
  let node = root
  for (const segment of segments) {
    node.children ??= new Map()
    let child = node.children.get(segment)
    if (!child) {
      child = { value: undefined, children: undefined }
      node.children.set(segment, child)
    }
    node = child
  }
  return node
}

function tooManyKeys(): ApiError {
  return new ApiError('InvalidRequest', `The request has more than ${MAX_KEYS} parameters, which is the limit.`)
}

function malformed(reason: string): ApiError {
  return new ApiError('MalformedQueryString', `The query string contains a syntax error: ${reason}`)
}

/** Text of a client for use in a message: at most 100 characters. */
export function excerpt(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
