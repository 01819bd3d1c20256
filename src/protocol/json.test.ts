import { describe, expect, it } from 'vitest'
import { decodeJsonInput, encodeJsonOutput, jsonAction } from './json.ts'
import { loadServiceModel, type Operation, type Shape } from './model.ts'

const structure = (members: [name: string, shape: Shape][], requiredCount = 0): Operation['input'] => ({
  kind: 'structure',
  members: members.map(([name, shape], index) => (
    { name, queryName: name, xmlName: name, required: index < requiredCount, shape })),
})
const list = (item: Shape): Shape => ({ kind: 'list', item, xmlName: 'member', queryName: 'member' })

const everything = structure([
  ['Name', 'string'], ['Count', 'number'], ['IsOn', 'boolean'], ['At', 'timestamp'], ['Data', 'blob'],
  ['Tags', { kind: 'map', key: 'string', value: 'string' }],
  ['Filters', list(structure([['Key', 'string']], 1) ?? 'string')],
], 1)
const operation: Operation = { name: 'Try', hasShapes: true, input: everything, output: everything }

const decode = (text: string | Buffer) => decodeJsonInput(operation, Buffer.from(text))
const value = {
  Name: 'a', Count: 3, IsOn: false, At: new Date(1500), Data: new Uint8Array([104, 105]), Tags: { x: 'y' },
  Filters: [{ Key: 'k' }],
}
const text = '{"Name":"a","Count":3,"IsOn":false,"At":1.5,"Data":"aGk=","Tags":{"x":"y"},"Filters":[{"Key":"k"}]}'

describe('JSON', () => {
  it('is read and written in the types of the SDK', () => {
    expect(decode(text)).toEqual(value)
    expect(encodeJsonOutput(operation, value)).toBe(text)
  })

  it('has absent members for null ones, and an empty body for an empty object', () => {
    expect(decode('{"Name":"a","Count":null,"Unknown":null}')).toEqual({ Name: 'a' })
    expect(encodeJsonOutput(operation, { Name: undefined, Count: null, Filters: [] })).toBe('{"Filters":[]}')
    expect(decodeJsonInput({ ...operation, input: undefined }, Buffer.alloc(0))).toEqual({})
  })

  it('reads a key that means something to JavaScript as any other', () => {
    const { Tags } = decode('{"Name":"a","Tags":{"__proto__":"x","constructor":"y"}}')
    expect(Object.entries(Tags as object)).toEqual([['__proto__', 'x'], ['constructor', 'y']])
  })

  it.each([
    ['{', 'SerializationException', 'The body is not JSON in UTF-8.'],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'SerializationException', 'The body is not JSON in UTF-8.'],
    ['[]', 'SerializationException', 'The body must be a JSON object.'],
    ['null', 'SerializationException', 'The body must be a JSON object.'],
    ['{"Name":1}', 'SerializationException', 'The value of the parameter Name must be a string.'],
    ['{"Name":"a","Count":"3"}', 'SerializationException', 'The value of the parameter Count must be a whole number.'],
    ['{"Name":"a","Count":1e400}', 'SerializationException', 'The value of the parameter Count must be a whole number.'],
    ['{"Name":"a","Data":"*"}', 'SerializationException', 'The value of the parameter Data must be base64 text.'],
    ['{"Name":"a","Filters":{}}', 'SerializationException', 'The value of the parameter Filters must be a list.'],
    ['{"Name":"a","Filters":[null]}', 'SerializationException', 'The value of the parameter Filters[0] must be an object.'],
    ['{"Name":"a","Filters":[{}]}', 'ValidationException', 'The request must contain the parameter Filters[0].Key'],
    ['{"Name":"a","Filters":[{"Key":"k","X":1}]}', 'ValidationException', 'The parameter Filters[0].X is not recognized'],
    ['{"Name":"a","__proto__":{}}', 'ValidationException', 'The parameter __proto__ is not recognized'],
    ['{}', 'ValidationException', 'The request must contain the parameter Name'],
  ])('%s is refused', (text, code, message) => {
    expect(() => decode(text)).toThrow(expect.objectContaining({ code, message, httpStatus: 400 }))
  })

  it('refuses a body beyond the limit', () => {
    expect(() => decode(Buffer.alloc(1024 * 1024 + 1, 0x20))).toThrow(expect.objectContaining({ httpStatus: 413 }))
  })

  it('throws where an output does not fit', () => {
    expect(() => encodeJsonOutput(operation, { Count: 'three' })).toThrow('Try.Count must be a number, not string')
    expect(() => encodeJsonOutput(operation, { Filters: [3] })).toThrow('Try.Filters[] must be a structure, not number')
  })
})

describe('jsonAction', () => {
  it.each([
    ['AmazonSSM.GetParameter', 'GetParameter'],
    ['AmazonSSM', ''],
    ['AmazonSSMX.GetParameter', ''],
    [undefined, ''],
  ])('%j names %j', (target, expected) => {
    const request = { method: 'POST', url: '/', headers: { 'x-amz-target': target }, body: Buffer.alloc(0) }
    expect(jsonAction(loadServiceModel('ssm'), request)).toBe(expected)
  })
})
