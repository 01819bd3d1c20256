import { isIPv4, isIPv6 } from 'node:net'
import { ipv6Value } from '../core/ipv6-cidr.ts'
import { parseIpv4 } from '../core/cidr.ts'

/** What a pattern is compared with: a value of an event that is neither an object nor a list. */
export type Leaf = string | number | boolean | null

/** Whether a value is what one element of a pattern's list asks for. */
export type LeafTest = (leaf: Leaf) => boolean

/** `{"exists": false}`: it is not a value that matches, but that there is none. */
export const ABSENT = Symbol('absent')

/** A pattern that EventBridge would not take; what it says of that. */
export class EventPatternError extends Error {
  constructor(reason: string) {
    super(`Event pattern is not valid. Reason: ${reason}`)
  }
}

/** Numbers that can be compared, either side of zero. */
const LARGEST_NUMBER = 5e9

/**
 * One element of a pattern's list. The reasons are those of EventBridge's own compiler, Event Ruler:
 * https://github.com/aws/event-ruler
 *
 * @throws EventPatternError
 */
export function compileValue(value: unknown): LeafTest | typeof ABSENT {
  if (Array.isArray(value)) throw new EventPatternError('Match value must be String, number, true, false, or null')
  if (typeof value === 'object' && value !== null) return compileExpression(value)
  return (leaf) => leaf === value
}

function compileExpression(expression: object): LeafTest | typeof ABSENT {
  const [name, ...others] = Object.keys(expression)
  if (name === undefined) throw new EventPatternError('Match expression name not found')
  const operand: unknown = Reflect.get(expression, name)
  const compile = OPERATORS[name]
  if (!compile || !Object.hasOwn(OPERATORS, name)) throw new EventPatternError(`Unrecognized match type ${name}`)
  const test = compile(operand)
  if (others.length === 0) return test
  throw new EventPatternError(name === 'numeric' || name === 'anything-but' ? TOO_MANY_ELEMENTS : ONE_KEY)
}

const ONE_KEY = 'Only one key allowed in match expression'
const TOO_MANY_ELEMENTS = 'Too many elements in numeric expression'

const OPERATORS: Record<string, (operand: unknown) => LeafTest | typeof ABSENT> = {
  exactly(operand) {
    const wanted = requireString(operand, 'exact match pattern must be a string')
    return (leaf) => leaf === wanted
  },
  prefix: (operand) => compileEnd('prefix', operand),
  suffix: (operand) => compileEnd('suffix', operand),
  'equals-ignore-case': (operand) => ignoringCase(requireString(operand, 'equals-ignore-case match pattern must be a string')),
  wildcard: (operand) => compileWildcard(operand),
  numeric: compileNumeric,
  'anything-but': compileAnythingBut,
  exists(operand) {
    if (typeof operand !== 'boolean') throw new EventPatternError('exists match pattern must be either true or false.')
    return operand ? () => true : ABSENT
  },
  cidr: compileCidr,
}

function requireString(value: unknown, reason: string): string {
  if (typeof value !== 'string') throw new EventPatternError(reason)
  return value
}

function ofStrings(test: (text: string) => boolean): LeafTest {
  return (leaf) => typeof leaf === 'string' && test(leaf)
}

function folded(text: string): string {
  return text.toUpperCase().toLowerCase()
}

function ignoringCase(wanted: string): LeafTest {
  const plain = folded(wanted)
  return ofStrings((text) => folded(text) === plain)
}

type End = 'prefix' | 'suffix'

function hasEnd(end: End, text: string, wanted: string): boolean {
  return end === 'prefix' ? text.startsWith(wanted) : text.endsWith(wanted)
}

/** A prefix or suffix, as it is or whatever its case. */
function compileEnd(end: End, operand: unknown): LeafTest {
  if (typeof operand === 'object' && operand !== null && !Array.isArray(operand)) {
    const [name, ...others] = Object.keys(operand)
    if (name === undefined) throw new EventPatternError(`${end === 'prefix' ? 'Prefix' : 'Suffix'} expression name not found`)
    if (name !== 'equals-ignore-case') throw new EventPatternError(`Unsupported ${end} pattern: ${name}`)
    const wanted = folded(requireString(Reflect.get(operand, name), 'equals-ignore-case match pattern must be a string'))
    if (others.length > 0) throw new EventPatternError(ONE_KEY)
    return ofStrings((text) => hasEnd(end, folded(text), wanted))
  }
  const wanted = requireString(operand, `${end} match pattern must be a string`)
  return ofStrings((text) => hasEnd(end, text, wanted))
}

/** Parts of the text that must come one after another, with anything between; a backslash makes a star or itself plain. */
function wildcardParts(text: string): string[] {
  const parts: string[] = []
  let part = ''
  for (let at = 0; at < text.length; at++) {
    const [char = '', next] = [text[at], text[at + 1]]
    if (char === '*') {
      // EventBridge counts from the quotation mark before the text.
      if (next === '*') throw new EventPatternError(`Consecutive wildcard characters at pos ${at + 1}`)
      parts.push(part)
      part = ''
      continue
    }
    const isEscape = char === '\\'
    if (isEscape && next !== '*' && next !== '\\') throw new EventPatternError(`Invalid escape character at pos ${at + 1}`)
    part += isEscape ? next : char
    if (isEscape) at += 1
  }
  return [...parts, part]
}

/** The first place of each part is the best one, so that the text is gone through once however many stars there are. */
function compileWildcard(operand: unknown): LeafTest {
  const [first = '', ...rest] = wildcardParts(requireString(operand, 'wildcard match pattern must be a string'))
  const last = rest.pop()
  return ofStrings((text) => {
    if (last === undefined) return text === first
    if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false
    const end = text.length - last.length
    let at = first.length
    for (const part of rest) {
      const found = text.indexOf(part, at)
      if (found < 0 || found + part.length > end) return false
      at = found + part.length
    }
    return true
  })
}

function checkNumber(value: number): number {
  if (Math.abs(value) > LARGEST_NUMBER) throw new EventPatternError('Value must be between -5.0E9 and 5.0E9, inclusive')
  return value
}

const COMPARISONS: Record<string, (value: number, bound: number) => boolean> = {
  '=': (value, bound) => value === bound,
  '<': (value, bound) => value < bound,
  '<=': (value, bound) => value <= bound,
  '>': (value, bound) => value > bound,
  '>=': (value, bound) => value >= bound,
}

function boundOf(operator: string, value: unknown): number {
  if (typeof value === 'number') return checkNumber(value)
  throw new EventPatternError(`Value of ${operator === '=' ? 'equals' : operator} must be numeric`)
}

function compileNumeric(operand: unknown): LeafTest {
  if (!Array.isArray(operand)) throw new EventPatternError('Value of numeric must be an array.')
  const [operator, value, secondOperator, secondValue, ...others] = operand as unknown[]
  if (typeof operator !== 'string') throw new EventPatternError(`Invalid member in numeric match: ${asToken(operator, ']')}`)
  const compare = Object.hasOwn(COMPARISONS, operator) ? COMPARISONS[operator] : undefined
  if (!compare) throw new EventPatternError(`Unrecognized numeric range operator: ${operator}`)
  const bound = boundOf(operator, value)
  const isWithin = (leaf: Leaf): leaf is number => typeof leaf === 'number' && Math.abs(leaf) <= LARGEST_NUMBER && compare(leaf, bound)
  if (operand.length === 2) return isWithin
  if (!operator.startsWith('>')) throw new EventPatternError(TOO_MANY_ELEMENTS)
  if (typeof secondOperator !== 'string') throw new EventPatternError(`Bad value in numeric range: ${asToken(secondOperator, '')}`)
  const compareSecond = COMPARISONS[secondOperator]
  if (!compareSecond || (secondOperator !== '<' && secondOperator !== '<=')) {
    throw new EventPatternError(`Bad numeric range operator: ${secondOperator}`)
  }
  const top = boundOf(secondOperator, secondValue)
  if (others.length > 0) throw new EventPatternError('Too many terms in numeric range expression')
  if (bound >= top) throw new EventPatternError('Bottom must be less than top')
  return (leaf) => isWithin(leaf) && compareSecond(leaf, top)
}

/** What stands in the pattern there, as its compiler calls it. */
function asToken(value: unknown, end: string): string {
  if (value === undefined) return end
  if (Array.isArray(value)) return '['
  return typeof value === 'object' && value !== null ? '{' : String(value)
}

/** Everything that is there and is none of these. */
function compileAnythingBut(operand: unknown): LeafTest {
  if (typeof operand === 'object' && operand !== null && !Array.isArray(operand)) {
    const excluded = compileExcluded(operand)
    return (leaf) => !excluded.some((test) => test(leaf))
  }
  if (!Array.isArray(operand) && typeof operand !== 'string' && typeof operand !== 'number') {
    throw new EventPatternError('Value of anything-but must be an array or single string/number value.')
  }
  const values: unknown[] = Array.isArray(operand) ? operand : [operand]
  if (values.some((value) => typeof value !== 'string' && typeof value !== 'number')) {
    throw new EventPatternError('Inside anything but list, start|null|boolean is not supported.')
  }
  if (values.length === 0 || values.some((value) => typeof value !== typeof values[0])) {
    throw new EventPatternError('Inside anything but list, either all values are number or string, mixed type is not supported')
  }
  for (const value of values) if (typeof value === 'number') checkNumber(value)
  const excluded = new Set(values)
  return (leaf) => !excluded.has(leaf)
}

/** One of several prefixes, suffixes, texts or wildcards. */
function compileExcluded(operand: object): LeafTest[] {
  const [name, ...others] = Object.keys(operand)
  if (name === undefined) throw new EventPatternError('Anything-But expression name not found')
  if (!['equals-ignore-case', 'prefix', 'suffix', 'wildcard'].includes(name)) throw new EventPatternError(`Unsupported anything-but pattern: ${name}`)
  const given: unknown = Reflect.get(operand, name)
  if (!Array.isArray(given) && typeof given !== 'string' && typeof given !== 'number') {
    throw new EventPatternError('Value of anything-but must be an array or single string/number value.')
  }
  const tests = (Array.isArray(given) ? given : [given]).map((value: unknown): LeafTest => {
    if (name === 'equals-ignore-case') {
      return ignoringCase(requireString(value, 'Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.'))
    }
    if (name === 'wildcard') return compileWildcard(value)
    const text = requireString(value, 'prefix/suffix match pattern must be a string')
    if (text === '') throw new EventPatternError('Null prefix/suffix not allowed')
    return ofStrings((leaf) => hasEnd(name === 'prefix' ? 'prefix' : 'suffix', leaf, text))
  })
  if (others.length > 0) throw new EventPatternError(TOO_MANY_ELEMENTS)
  return tests
}

/** An address as a number; IPv4 and IPv6 are never compared with each other. */
function addressOf(text: string): { bits: 32 | 128; value: bigint } | undefined {
  if (isIPv4(text)) return { bits: 32, value: BigInt(parseIpv4(text) ?? 0) }
  return isIPv6(text) && !text.includes('%') ? { bits: 128, value: ipv6Value(text) } : undefined
}

/** From the address that is named to the last of its block, as Event Ruler does it: an address within a block leaves out those before it. */
function compileCidr(operand: unknown): LeafTest {
  const [ip = '', mask = '', ...others] = requireString(operand, 'prefix match pattern must be a string').split('/')
  if (mask === '' || others.length > 0) throw new EventPatternError("Malformed CIDR, one '/' required")
  if (!/^[+-]?\d{1,9}$/.test(mask)) throw new EventPatternError('Malformed CIDR, mask bits must be an integer')
  const prefix = Number(mask)
  if (prefix < 0) throw new EventPatternError('Malformed CIDR, mask bits must not be negative')
  const first = addressOf(ip)
  if (!first) throw new EventPatternError(`Nonstandard IP address: ${ip}`)
  if (prefix >= first.bits) throw new EventPatternError(`${first.bits === 32 ? 'IPv4' : 'IPv6'} mask bits must be < ${first.bits}`)
  const last = first.value | ((1n << BigInt(first.bits - prefix)) - 1n)
  return ofStrings((text) => {
    const address = addressOf(text)
    return address !== undefined && address.bits === first.bits && address.value >= first.value && address.value <= last
  })
}
