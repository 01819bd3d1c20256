import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { instanceType, instanceTypeNames, memoryMibOf, suggestType, vcpusOf } from './instance-types.ts'
import { projectFile } from './project-file.ts'

/** Of the source that data/instance-types.json was made from, as canonical JSON. */
const SOURCE_SHA256 = 'bfb264922503b73304e5f5b19b65d71f9a5db045f20cb3162e3b9f683aa6639b'

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  const members = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`).join(',')}}`
}

const expandAll = () => Object.fromEntries(instanceTypeNames().map((name) => [name, instanceType(name)]))

describe('the catalogue of instance types', () => {
  it('expands to the source, without loss', () => {
    const expanded = expandAll()
    expect(Object.keys(expanded)).toHaveLength(1373)
    expect(createHash('sha256').update(canonicalJson(expanded)).digest('hex')).toBe(SOURCE_SHA256)
  })

  const source = process.env.HEARTH_INSTANCE_TYPES_SOURCE
  it.runIf(source && existsSync(source))('equals the source, where it is at hand', () => {
    expect(expandAll()).toEqual(JSON.parse(readFileSync(source ?? '', 'utf8')))
  })

  it('is compact', () => {
    expect(readFileSync(projectFile('data/instance-types.json')).length).toBeLessThan(250_000)
  })

  it('knows vCPUs and memory', () => {
    expect([vcpusOf('t3.micro'), memoryMibOf('t3.micro')]).toEqual([2, 1024])
    expect([vcpusOf('m5.24xlarge'), memoryMibOf('m5.24xlarge')]).toEqual([96, 393_216])
    expect(instanceType('t3.nano')).toMatchObject({
      InstanceType: 't3.nano', BurstablePerformanceSupported: true, MemoryInfo: { SizeInMiB: 512 },
      ProcessorInfo: { SupportedArchitectures: ['x86_64'] },
    })
  })

  it('hands out what nobody can change', () => {
    const type = instanceType('t3.micro')
    expect(instanceType('t3.micro')).toBe(type)
    expect(() => Object.assign(type?.VCpuInfo ?? {}, { DefaultVCpus: 64 })).toThrow(TypeError)
    expect(type?.VCpuInfo?.DefaultVCpus).toBe(2)
  })

  it.each(['', 't3', 't3.', '.micro', 't3.micro.x', 'T3.micro', '__proto__.large', 'm5.constructor', 'constructor.name'])(
    'has no type "%s"',
    (name) => {
      expect(instanceType(name)).toBeUndefined()
      expect(vcpusOf(name)).toBeUndefined()
      expect(memoryMibOf(name)).toBeUndefined()
    },
  )
})

describe('suggestType', () => {
  it.each([
    ['t3.mirco', 't3.micro'],
    ['T3.MICRO', 't3.micro'],
    [' m5.large ', 'm5.large'],
    ['m5large', 'm5.large'],
    ['c7g.xlarg', 'c7g.xlarge'],
  ])('takes %s for %s', (name, meant) => {
    expect(suggestType(name)).toBe(meant)
  })

  it('does not guess wildly, nor for long on long input', () => {
    expect(suggestType('enormous')).toBeUndefined()
    expect(suggestType('x'.repeat(1_000_000))).toBeUndefined()
  })
})
