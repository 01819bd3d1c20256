import { createHash } from 'node:crypto'
import { ApiError } from '../core/errors.ts'

/** What a page has when the operation documents no limit of its own; more is cut to it silently. */
const DEFAULT_MIN = 5
const DEFAULT_MAX = 1000

export interface PageOptions<T> {
  maxResults?: number | undefined
  nextToken?: string | undefined
  /** Smallest MaxResults, 5 unless the operation says otherwise. */
  min?: number
  /** Largest MaxResults where more is refused; left out, more than 1000 is cut to 1000. */
  max?: number
  /** What the items are sorted by: unique, and the same for an item in every call. */
  keyOf: (item: T) => string
  /** A token is good for the operation that gave it only. */
  operation: string
}

/**
 * The page of `items` that a call asks for, sorted by `keyOf`. A token says after which key to go
 * on, so that what is created or deleted between two pages neither repeats nor hides anything else.
 *
 * @throws ApiError InvalidParameterValue for a MaxResults out of range or a token nobody gave.
 */
export function paginate<T>(
  items: readonly T[],
  options: PageOptions<T>,
): { page: T[]; nextToken: string | undefined } {
  const size = pageSize(options)
  const after = options.nextToken ? decodeToken(options.operation, options.nextToken) : undefined
  const keyed = items.map((item) => ({ item, key: options.keyOf(item) })).toSorted((a, b) => compare(a.key, b.key))
  const rest = after === undefined ? keyed : keyed.filter(({ key }) => key > after)
  const page = size === undefined ? rest : rest.slice(0, size)
  const last = page.at(-1)
  const nextToken = last && page.length < rest.length ? encodeToken(options.operation, last.key) : undefined
  return { page: page.map(({ item }) => item), nextToken }
}

/** Refuses ids together with MaxResults, as EC2 does. `idParameter` is EC2's own name: instancesSet. */
export function refuseIdsWithMaxResults(
  ids: readonly string[] | undefined,
  maxResults: number | undefined,
  idParameter: string,
): void {
  if (!ids || ids.length === 0 || maxResults === undefined) return
  throw new ApiError(
    'InvalidParameterCombination',
    `The parameter ${idParameter} cannot be used with the parameter maxResults`,
  )
}

/** A sort key of a time and an id: oldest first, the id decides between equals. */
export function timeKey(ms: number, ...rest: (string | number)[]): string {
  const parts = rest.map((part) => (typeof part === 'number' ? String(part).padStart(9, '0') : part))
  return [String(ms).padStart(15, '0'), ...parts].join('/')
}

/**
 * How many items a page may have; undefined for all.
 *
 * @throws ApiError InvalidParameterValue for a MaxResults out of range.
 */
export function pageSize(
  { maxResults, min = DEFAULT_MIN, max }: Pick<PageOptions<unknown>, 'maxResults' | 'min' | 'max'>,
): number | undefined {
  if (maxResults === undefined) return undefined
  const refuse = (hint: string) =>
    new ApiError('InvalidParameterValue', `Value ( ${maxResults} ) for parameter maxResults is invalid. ${hint}`)
  if (!Number.isSafeInteger(maxResults)) throw refuse('Expecting a whole number.')
  if (maxResults < min) throw refuse(`Expecting a value greater than ${min}.`)
  if (max !== undefined && maxResults > max) throw refuse(`Expecting a value less than ${max}.`)
  return Math.min(maxResults, max ?? DEFAULT_MAX)
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

const CHECKSUM_BYTES = 9

/** Not a secret, only proof that the token came from here and came whole. */
function checksum(operation: string, key: string): Buffer {
  return createHash('sha256').update(`${operation}\n${key}`).digest().subarray(0, CHECKSUM_BYTES)
}

/** The token after whose key the next page goes on. */
export function encodeToken(operation: string, key: string): string {
  return Buffer.concat([checksum(operation, key), Buffer.from(key)]).toString('base64url')
}

/** The key in a token. @throws ApiError InvalidParameterValue for one that `operation` never gave. */
export function decodeToken(operation: string, token: string): string {
  const bytes = Buffer.from(token, 'base64url')
  const key = bytes.subarray(CHECKSUM_BYTES).toString()
  if (encodeToken(operation, key) !== token) {
    throw new ApiError(
      'InvalidParameterValue',
      `Value ( ${token} ) for parameter NextToken is invalid. The token is invalid.`,
    )
  }
  return key
}
