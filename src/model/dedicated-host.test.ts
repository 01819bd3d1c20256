import { describe, expect, test } from 'vitest'
import { sizeOfDedicatedHost } from './dedicated-host.ts'

const GIB = 1024
const size = (vcpus: number, gib: number) => ({ vcpus, memoryMib: gib * GIB })

describe('the size of a dedicated host', () => {
  const needs = { family: size(96, 384), least: size(2, 8), total: size(1000, 4000), free: size(1000, 4000) }

  test("is that of EC2's host of the family", () => {
    expect(sizeOfDedicatedHost(needs)).toEqual(size(96, 384))
  })

  test('is a quarter of the host of the zone at most, and no more than is free', () => {
    expect(sizeOfDedicatedHost({ ...needs, total: size(64, 256), free: size(64, 256) })).toEqual(size(16, 64))
    expect(sizeOfDedicatedHost({ ...needs, total: size(64, 256), free: size(10, 256) })).toEqual(size(10, 64))
  })

  test('is enough for one instance', () => {
    expect(sizeOfDedicatedHost({ ...needs, total: size(4, 16), free: size(4, 16) })).toEqual(size(2, 8))
    expect(sizeOfDedicatedHost({ ...needs, free: size(1, 8) })).toBeUndefined()
    expect(sizeOfDedicatedHost({ ...needs, free: size(2, 7) })).toBeUndefined()
  })
})
