import { ApiError } from '../core/errors.ts'
import type { Scalar } from './model.ts'
import { excerpt } from './query.ts'

/**
 * The text of one parameter as a value of the SDK's types. `path` is the parameter's key, for
 * messages.
 *
 * @throws ApiError InvalidParameterValue; InvalidCharacter for text that no XML answer could repeat.
 */
export function decodeScalar(shape: Scalar, text: string, path: string): string | number | boolean | Date | Uint8Array {
  refuseIllegalCharacters(text, path)
  switch (shape) {
    case 'string': return text
    case 'number': return decodeNumber(text, path)
    case 'boolean': return decodeBoolean(text, path)
    case 'timestamp': return decodeTimestamp(text, path)
    case 'blob': return decodeBlob(text, path)
  }
}

/**
 * Members that are doubles in the EC2 API; every other number is a whole one. The SDK's schemas,
 * which the models are made from, do not tell the two apart; botocore's model does.
 */
const DOUBLES = new Set([
  'Weight', 'WeightedCapacity', 'Priority', 'Price', 'Amount', 'UploadSize', 'FulfilledCapacity', 'OnDemandFulfilledCapacity',
])
const DOUBLE_RANGES = /\.(MemoryGiBPerVCpu|NetworkBandwidthGbps|TotalLocalStorageGB)\.(Min|Max)$/

function isDouble(path: string): boolean {
  return DOUBLES.has(path.slice(path.lastIndexOf('.') + 1)) || DOUBLE_RANGES.test(`.${path}`)
}

function decodeNumber(text: string, path: string): number {
  if (!isDouble(path)) return decodeInteger(text, path)
  const value = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isFinite(value)) throw invalid(text, path, 'It must be a number.')
  return value
}

function decodeInteger(text: string, path: string): number {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw invalid(text, path, 'It must be a whole number.')
  return value
}

function decodeBoolean(text: string, path: string): boolean {
  // Some clients print a boolean as their language does ("True").
  const lower = text.toLowerCase()
  if (lower !== 'true' && lower !== 'false') throw invalid(text, path, 'It must be true or false.')
  return lower === 'true'
}

const ISO_8601 = /^\d{4}-\d\d-(\d\d)T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/

function decodeTimestamp(text: string, path: string): Date {
  const day = ISO_8601.exec(text)?.[1]
  const date = new Date(text)
  // Date takes 30 February for 1 March.
  const isDay = day !== undefined && new Date(text.slice(0, 10)).getUTCDate() === Number(day)
  if (!isDay || Number.isNaN(date.getTime())) {
    throw invalid(text, path, 'It must be a time such as 2026-01-31T09:00:00Z.')
  }
  return date
}

function decodeBlob(text: string, path: string): Uint8Array {
  // Line breaks are common: clients pass on what the base64 command printed.
  const compact = text.replaceAll(/\s/g, '')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact) || compact.replaceAll('=', '').length % 4 === 1) {
    throw invalid(text, path, 'It must be base64-encoded.')
  }
  return new Uint8Array(Buffer.from(compact, 'base64'))
}

/** Characters that XML 1.0 cannot hold even escaped, lone surrogates among them. */
// oxlint-disable-next-line no-control-regex
export const ILLEGAL_IN_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu

/** Whether the text holds any of them; most texts are told by one look without Unicode's rules. */
export function hasIllegalCharacters(text: string): boolean {
  // oxlint-disable-next-line no-control-regex
  if (!/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ud800-\udfff\ufffe\uffff]/.test(text)) return false
  return text.search(ILLEGAL_IN_XML) !== -1
}

/**
 * Refused on the way in, since a resource that held such text could not be described again.
 *
 * @throws ApiError InvalidCharacter.
 */
export function refuseIllegalCharacters(text: string, path: string): void {
  if (!hasIllegalCharacters(text)) return
  throw new ApiError('InvalidCharacter', `The value of the parameter ${path} holds a control character.`)
}

function invalid(text: string, path: string, reason: string): ApiError {
  return new ApiError('InvalidParameterValue', `Value (${excerpt(text)}) for parameter ${path} is invalid. ${reason}`)
}
