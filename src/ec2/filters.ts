import type { Filter } from '@aws-sdk/client-ec2'
import { ApiError } from '../core/errors.ts'

/** Limits of one call: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Filter.html */
const MAX_FILTERS = 50
const MAX_VALUES = 200
const MAX_VALUE_LENGTH = 255

/** What a filter looks at in an item: none, one or several values, any of which may match. */
export type FilterField<T> = (item: T) => readonly (string | undefined)[] | string | undefined

/** The filters of an operation, by their documented name (and aliases that clients use). */
export type FilterFields<T> = Record<string, FilterField<T>>

/** Tags as filters see them. */
export type TagsOf<T> = (item: T) => readonly { key: string; value: string }[]

/** Fields for filters that are documented, but that nothing here has a value for: they match nothing. */
export function withoutValue<T>(...names: string[]): FilterFields<T> {
  return Object.fromEntries(names.map((name) => [name, () => undefined]))
}

/** How a boolean reads in a filter's value. */
export function flag(value: boolean): string {
  return value ? 'true' : 'false'
}

/** How a number, a boolean or a time (2026-01-01T00:00:00.000Z) reads in a filter's value. */
export function filterText(value: string | number | boolean | Date | null | undefined): string | undefined {
  if (value === undefined || value === null || value === '') return undefined
  return value instanceof Date ? value.toISOString() : String(value)
}

/**
 * Checks the filters of a call and makes one predicate of them: every filter must match (AND), by
 * any of its values (OR). A filter without values matches nothing. With `tagsOf`, `tag:<key>`,
 * `tag-key`, `tag-value` and `tag` (whose values read `key=value`) are known as well.
 *
 * @throws ApiError InvalidParameterValue for a filter that is not in `fields`, FilterLimitExceeded.
 */
export function compileFilters<T>(
  filters: Filter[] | undefined,
  fields: FilterFields<T>,
  tagsOf?: TagsOf<T>,
): (item: T) => boolean {
  if (!filters || filters.length === 0) return () => true
  if (filters.length > MAX_FILTERS) {
    throw new ApiError(
      'FilterLimitExceeded',
      `The maximum number of filters specified on a single call is ${MAX_FILTERS}`,
    )
  }
  const predicates = filters.map((filter) => compileFilter(filter, fields, tagsOf))
  return (item) => predicates.every((predicate) => predicate(item))
}

function compileFilter<T>(
  filter: Filter,
  fields: FilterFields<T>,
  tagsOf: TagsOf<T> | undefined,
): (item: T) => boolean {
  // EC2 says 'null' where the name is missing; SDKs that send an empty list of filters run into it.
  const name = filter.Name ? filter.Name : 'null'
  const field = tagField(name, tagsOf) ?? (Object.hasOwn(fields, name) ? fields[name] : undefined)
  if (!field) throw new ApiError('InvalidParameterValue', `The filter '${name}' is invalid`)
  const matches = compileValues(name, filter.Values ?? [])
  return (item) => {
    const values = field(item)
    if (values === undefined) return false
    if (typeof values === 'string') return matches(values)
    return values.some((value) => value !== undefined && matches(value))
  }
}

function tagField<T>(name: string, tagsOf: TagsOf<T> | undefined): FilterField<T> | undefined {
  if (!tagsOf) return undefined
  if (name.startsWith('tag:')) {
    const key = name.slice('tag:'.length)
    return (item) => tagsOf(item).find((tag) => tag.key === key)?.value
  }
  if (name === 'tag-key') return (item) => tagsOf(item).map((tag) => tag.key)
  if (name === 'tag-value') return (item) => tagsOf(item).map((tag) => tag.value)
  if (name === 'tag') return (item) => tagsOf(item).map((tag) => `${tag.key}=${tag.value}`)
  return undefined
}

function compileValues(name: string, values: string[]): (text: string) => boolean {
  if (values.length > MAX_VALUES) {
    throw new ApiError(
      'FilterLimitExceeded',
      `The maximum number of filter values specified on a single call is ${MAX_VALUES}`,
    )
  }
  const literals = new Set<string>()
  const patterns: Pattern[] = []
  for (const value of values) {
    if (value.length > MAX_VALUE_LENGTH) {
      throw new ApiError(
        'InvalidParameterValue',
        `A value of the filter '${name}' is longer than ${MAX_VALUE_LENGTH} characters`,
      )
    }
    const pattern = parsePattern(value)
    const literal = literalOf(pattern)
    if (literal === undefined) patterns.push(pattern)
    else literals.add(literal)
  }
  return (text) => literals.has(text) || patterns.some((pattern) => matchesPattern(pattern, text))
}

/**
 * The values of a filter when there are some and none has a wildcard, for a WHERE clause; undefined
 * otherwise. The filter still has to be applied: a second filter of the same name is not looked at.
 */
export function exactValues(filters: Filter[] | undefined, name: string): string[] | undefined {
  const filter = filters?.find((each) => each.Name === name)
  if (!filter?.Values || filter.Values.length === 0) return undefined
  const literals = filter.Values.map((value) => literalOf(parsePattern(value)))
  return literals.every((literal) => literal !== undefined) ? literals : undefined
}

/** Whether `text` matches a filter value: `*` zero or more characters, `?` zero or one, `\` escapes. */
export function matchesWildcard(value: string, text: string): boolean {
  return matchesPattern(parsePattern(value), text)
}

/** A filter value, one token per character that it stands for. */
type Pattern = readonly (string | typeof MANY | typeof OPTIONAL)[]
const MANY = Symbol('*')
const OPTIONAL = Symbol('?')

function parsePattern(value: string): Pattern {
  const pattern: (string | typeof MANY | typeof OPTIONAL)[] = []
  for (let at = 0; at < value.length; at++) {
    const character = value.charAt(at)
    if (character === '*') pattern.push(MANY)
    else if (character === '?') pattern.push(OPTIONAL)
    else if (character === '\\' && at + 1 < value.length) pattern.push(value.charAt(++at))
    else pattern.push(character)
  }
  return pattern
}

function literalOf(pattern: Pattern): string | undefined {
  return pattern.every((token) => typeof token === 'string') ? pattern.join('') : undefined
}

/**
 * Runs all ways through the pattern at once, one character of the text at a time: at most
 * pattern × text steps whatever the pattern, where a backtracking matcher can be made to hang.
 */
function matchesPattern(pattern: Pattern, text: string): boolean {
  let reached = skipEmpty(pattern, new Uint8Array(pattern.length + 1).fill(1, 0, 1))
  for (let at = 0; at < text.length; at++) {
    const next = new Uint8Array(pattern.length + 1)
    let isAlive = false
    for (const [position, token] of pattern.entries()) {
      if (!reached[position]) continue
      if (token === MANY) next[position] = 1
      else if (token === OPTIONAL || token === text.charAt(at)) next[position + 1] = 1
      else continue
      isAlive = true
    }
    if (!isAlive) return false
    reached = skipEmpty(pattern, next)
  }
  return reached[pattern.length] === 1
}

/** `*` and `?` may stand for nothing: what is reached before one is reached after it as well. */
function skipEmpty(pattern: Pattern, reached: Uint8Array): Uint8Array {
  for (const [position, token] of pattern.entries()) {
    if (reached[position] && typeof token !== 'string') reached[position + 1] = 1
  }
  return reached
}
