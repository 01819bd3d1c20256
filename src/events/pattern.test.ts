import { describe, expect, it } from 'vitest'
import { parseEventPattern } from './pattern.ts'

// The event of AWS's examples, with more in its detail.
const EVENT = {
  version: '0', id: '6a7e8feb-b491-4cf7-a9f1-bf3703467718', 'detail-type': 'EC2 Instance State-change Notification', source: 'aws.ec2',
  account: '111122223333', time: '2017-12-22T18:43:48Z', region: 'us-west-1',
  resources: ['arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0', 'arn:aws:ec2:us-west-1:123456789012:volume/vol-1'],
  detail: {
    'instance-id': 'i-1234567890abcdef0', state: 'running', count: 5, limit: 301.8, 'source-ip': '10.0.0.33', ipv6: '2001:db8::17', nothing: null,
    yes: true, empty: '', path: 'C:\\*', snapshots: [{ id: 'snap-1', status: 'completed' }, { id: 'snap-2', status: 'error', cause: 'x' }],
  },
}
const matches = (pattern: unknown, event: object = EVENT) => parseEventPattern(JSON.stringify(pattern)).matches(event)
const detail = (fields: object) => matches({ detail: fields })
const reason = (pattern: unknown) => {
  try {
    parseEventPattern(typeof pattern === 'string' ? pattern : JSON.stringify(pattern))
    return 'it is valid'
  } catch (error) {
    return (error as Error).message.replace('Event pattern is not valid. Reason: ', '')
  }
}

describe('an event pattern', () => {
  it('wants all of its fields, and of each one of the values', () => {
    expect(matches({ source: ['aws.ec2'], 'detail-type': ['EC2 Instance State-change Notification'], detail: { state: ['stopped', 'running'] } })).toBe(true)
    expect(matches({ source: ['aws.ec2'], detail: { state: ['stopped'] } })).toBe(false)
    expect(matches({ source: ['aws.s3'], detail: { state: ['running'] } })).toBe(false)
    expect(matches({ nowhere: ['x'] })).toBe(false)
  })

  it('tells texts, numbers, true, false and null apart', () => {
    expect(detail({ count: [5], yes: [true], nothing: [null], empty: [''] })).toBe(true)
    expect(detail({ count: ['5'] })).toBe(false)
    expect(detail({ yes: ['true'] })).toBe(false)
    expect(detail({ nothing: [''] })).toBe(false)
    expect(detail({ limit: [3.018e2] })).toBe(true)
  })

  it('of a list wants one element', () => {
    expect(matches({ resources: [{ suffix: 'volume/vol-1' }] })).toBe(true)
    expect(matches({ resources: ['arn:aws:ec2:us-west-1:123456789012:volume/vol-1', 'other'] })).toBe(true)
    expect(matches({ resources: [{ prefix: 'arn:aws:s3' }] })).toBe(false)
  })

  it('of a list of objects wants one and the same for all that it says of it', () => {
    expect(detail({ snapshots: { id: ['snap-2'], status: ['error'] } })).toBe(true)
    expect(detail({ snapshots: { id: ['snap-1'], status: ['error'] } })).toBe(false)
  })

  it.each<[string, object, boolean]>([
    ['prefix', { state: [{ prefix: 'run' }] }, true],
    ['prefix of something else', { count: [{ prefix: '5' }] }, false],
    ['prefix in any case', { state: [{ prefix: { 'equals-ignore-case': 'RUN' } }] }, true],
    ['suffix', { state: [{ suffix: 'ing' }] }, true],
    ['suffix in any case', { state: [{ suffix: { 'equals-ignore-case': 'NING' } }] }, true],
    ['equals-ignore-case', { state: [{ 'equals-ignore-case': 'RUNNING' }] }, true],
    ['exactly', { state: [{ exactly: 'running' }] }, true],
    ['wildcard', { state: [{ wildcard: 'r*n*g' }] }, true],
    ['wildcard whose parts would overlap', { state: [{ wildcard: 'running*running' }] }, false],
    ['wildcard without a star', { state: [{ wildcard: 'run' }] }, false],
    ['wildcard of stars alone', { state: [{ wildcard: '*' }] }, true],
    ['escaped wildcard', { path: [{ wildcard: 'C:\\\\\\*' }] }, true],
    ['anything-but', { state: [{ 'anything-but': 'stopped' }] }, true],
    ['anything-but the one', { state: [{ 'anything-but': ['stopped', 'running'] }] }, false],
    ['anything-but numbers', { count: [{ 'anything-but': [4, 6] }] }, true],
    ['anything-but what is not there', { missing: [{ 'anything-but': 'x' }] }, false],
    ['anything-but prefix', { state: [{ 'anything-but': { prefix: 'stop' } }] }, true],
    ['anything-but prefixes', { state: [{ 'anything-but': { prefix: ['stop', 'run'] } }] }, false],
    ['anything-but suffix', { state: [{ 'anything-but': { suffix: 'ing' } }] }, false],
    ['anything-but in any case', { state: [{ 'anything-but': { 'equals-ignore-case': ['STOPPED', 'RUNNING'] } }] }, false],
    ['anything-but wildcard', { state: [{ 'anything-but': { wildcard: '*nn*' } }] }, false],
    ['numeric =', { limit: [{ numeric: ['=', 301.8] }] }, true],
    ['numeric range', { count: [{ numeric: ['>', 0, '<=', 5] }] }, true],
    ['numeric range open at its top', { count: [{ numeric: ['>=', 0, '<', 5] }] }, false],
    ['numeric of a text', { state: [{ numeric: ['>', 0] }] }, false],
    ['exists', { nothing: [{ exists: true }] }, true],
    ['exists of what is not there', { missing: [{ exists: true }] }, false],
    ['exists of an object', { snapshots: [{ exists: true }] }, false],
    ['exists false', { missing: [{ exists: false }], deep: { er: [{ exists: false }] } }, true],
    ['exists false of an object', { snapshots: [{ exists: false }] }, true],
    ['exists false where one of several has it', { snapshots: { cause: [{ exists: false }] } }, false],
    ['exists false, or a value', { state: [{ exists: false }, 'running'] }, true],
    ['cidr', { 'source-ip': [{ cidr: '10.0.0.0/24' }] }, true],
    ['cidr of others', { 'source-ip': [{ cidr: '10.0.1.0/24' }] }, false],
    ['cidr of IPv6', { ipv6: [{ cidr: '2001:db8::/32' }] }, true],
    ['cidr of the other kind', { 'source-ip': [{ cidr: '::/0' }] }, false],
    ['cidr of no address', { state: [{ cidr: '0.0.0.0/0' }] }, false],
    ['one of several expressions', { state: [{ prefix: 'x' }, { suffix: 'ing' }] }, true],
    ['$or', { $or: [{ state: ['stopped'] }, { count: [{ numeric: ['>', 4] }] }] }, true],
    ['$or of none', { $or: [{ state: ['stopped'] }, { count: [6] }] }, false],
    ['$or and more', { state: ['running'], $or: [{ count: [5], limit: [1] }, { $or: [{ count: [5] }, { count: [6] }] }] }, true],
  ])('knows %s', (_name, fields, expected) => {
    expect(detail(fields)).toBe(expected)
  })

  it.each<[unknown, string]>([
    ['{nothing', 'Invalid JSON'],
    [[], 'Filter is not an object'],
    [{}, 'Empty objects are not allowed'],
    [{ source: 'aws.ec2' }, '"source" must be an object or an array'],
    [{ source: [] }, 'Empty arrays are not allowed'],
    [{ source: [['x']] }, 'Match value must be String, number, true, false, or null'],
    [{ source: [{}] }, 'Match expression name not found'],
    [{ source: [{ like: 'x' }] }, 'Unrecognized match type like'],
    [{ source: [{ toString: 'x' }] }, 'Unrecognized match type toString'],
    [{ source: [{ prefix: 1 }] }, 'prefix match pattern must be a string'],
    [{ source: [{ prefix: 'a', suffix: 'b' }] }, 'Only one key allowed in match expression'],
    [{ source: [{ exists: 'true' }] }, 'exists match pattern must be either true or false.'],
    [{ source: [{ wildcard: 'a**b' }] }, 'Consecutive wildcard characters at pos 2'],
    [{ source: [{ wildcard: 'a\\b' }] }, 'Invalid escape character at pos 2'],
    [{ source: [{ 'anything-but': [] }] }, 'Inside anything but list, either all values are number or string, mixed type is not supported'],
    [{ source: [{ 'anything-but': ['a', 1] }] }, 'Inside anything but list, either all values are number or string, mixed type is not supported'],
    [{ source: [{ 'anything-but': [null] }] }, 'Inside anything but list, start|null|boolean is not supported.'],
    [{ source: [{ 'anything-but': [{ prefix: 'x' }] }] }, 'Inside anything but list, start|null|boolean is not supported.'],
    [{ source: [{ 'anything-but': true }] }, 'Value of anything-but must be an array or single string/number value.'],
    [{ source: [{ 'anything-but': { numeric: ['>', 1] } }] }, 'Unsupported anything-but pattern: numeric'],
    [{ source: [{ 'anything-but': { prefix: '' } }] }, 'Null prefix/suffix not allowed'],
    [{ n: [{ numeric: 5 }] }, 'Value of numeric must be an array.'],
    [{ n: [{ numeric: ['>'] }] }, 'Value of > must be numeric'],
    [{ n: [{ numeric: ['=', '5'] }] }, 'Value of equals must be numeric'],
    [{ n: [{ numeric: ['!', 5] }] }, 'Unrecognized numeric range operator: !'],
    [{ n: [{ numeric: [5] }] }, 'Invalid member in numeric match: 5'],
    [{ n: [{ numeric: ['<', 5, '>', 1] }] }, 'Too many elements in numeric expression'],
    [{ n: [{ numeric: ['>', 5, '>', 1] }] }, 'Bad numeric range operator: >'],
    [{ n: [{ numeric: ['>', 5, '<', 1] }] }, 'Bottom must be less than top'],
    [{ n: [{ numeric: ['>', 1, '<', 5, 6] }] }, 'Too many terms in numeric range expression'],
    [{ n: [{ numeric: ['>', 6e9] }] }, 'Value must be between -5.0E9 and 5.0E9, inclusive'],
    [{ ip: [{ cidr: '10.0.0.0' }] }, "Malformed CIDR, one '/' required"],
    [{ ip: [{ cidr: '10.0.0.0/x' }] }, 'Malformed CIDR, mask bits must be an integer'],
    [{ ip: [{ cidr: '10.0.0.0/32' }] }, 'IPv4 mask bits must be < 32'],
    [{ ip: [{ cidr: 'host/8' }] }, 'Nonstandard IP address: host'],
    [{ $or: { a: ['b'] } }, 'It must be an Array followed with $or.'],
    [{ $or: [{ a: ['b'] }] }, 'There must have at least 2 Objects in $or relationship.'],
    [{ $or: [{ a: ['b'] }, 'c'] }, 'Only JSON object is allowed in array of $or relationship.'],
    [{ $or: [{ prefix: ['b'] }, { a: ['b'] }] }, 'prefix is Ruler reserved fieldName which cannot be used inside $or.'],
  ])('%j is refused in EventBridge\'s words', (pattern, expected) => {
    expect(reason(pattern)).toBe(expected)
  })

  it('that is hostile takes no time', () => {
    const text = 'a'.repeat(100_000)
    const begunMs = performance.now()
    expect(detail({ state: [{ wildcard: `${'a*'.repeat(500)}b` }] })).toBe(false)
    expect(matches({ detail: { state: [{ wildcard: `${'a*'.repeat(900)}b` }] } }, { detail: { state: text } })).toBe(false)
    expect(matches({ detail: { state: [{ wildcard: `*${'aa*'.repeat(900)}b*` }] } }, { detail: { state: text } })).toBe(false)
    const or = (depth: number): object => (depth === 0 ? { a: ['x'] } : { $or: [or(depth - 1), or(depth - 1)] })
    expect(reason(or(7))).toBe('it is valid')
    const factors = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`f${index}`, { $or: [{ a: ['x'] }, { b: ['x'] }] }]))
    expect(reason(factors)).toBe('$or makes 1048576 combinations of it, and 1000 are allowed')
    expect(reason(`${'{"a":'.repeat(600)}["x"]${'}'.repeat(600)}`)).toBe('it is valid')
    expect(reason({ a: ['x'.repeat(5000)] })).toBe('Member must have length less than or equal to 4096')
    const wide = { detail: { list: Array.from({ length: 20_000 }, (_, index) => ({ a: { b: index } })) } }
    expect(matches({ detail: { list: { a: { b: [-1], c: [{ exists: false }] } } } }, wide)).toBe(false)
    expect(performance.now() - begunMs).toBeLessThan(2000)
  })
})
