import { describe, expect, test } from 'vitest'
import { parsePpm, plainPpm } from './ppm.ts'

describe('PPM pictures', () => {
  test('are read pixel by pixel', () => {
    const file = Buffer.concat([Buffer.from('P6\n2 1\n255\n'), Buffer.from([1, 2, 3, 10, 20, 30])])
    expect(parsePpm(file)).toEqual({ width: 2, height: 1, data: Buffer.from([1, 2, 3, 255, 10, 20, 30, 255]) })
  })

  test('a pixel that reads like white space belongs to the picture', () => {
    const file = Buffer.concat([Buffer.from('P6\n1 1\n255\n'), Buffer.from([10, 32, 13])])
    expect(parsePpm(file).data).toEqual(Buffer.from([10, 32, 13, 255]))
  })

  test('plain ones have one colour', () => {
    expect(parsePpm(plainPpm(3, 2, [9, 8, 7]))).toEqual({
      width: 3, height: 2, data: Buffer.from(Array.from({ length: 6 }, () => [9, 8, 7, 255]).flat()),
    })
  })

  test.each([
    ['nothing', ''], ['another format', 'P5\n1 1\n255\n123'], ['16 bits a colour', 'P6\n1 1\n65535\n123456'],
    ['an end too early', 'P6\n2 2\n255\n123'], ['no pixels', 'P6\n0 2\n255\n'], ['endless pixels', 'P6\n99999 99999\n255\n123'],
  ])('refuses %s', (_what, text) => {
    expect(() => parsePpm(Buffer.from(text))).toThrow()
  })
})
