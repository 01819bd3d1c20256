import { expect, it } from 'vitest'
import { createNames } from './names.ts'

it('keeps every device name within the kernel\'s 15 characters', () => {
  const names = createNames('beef')
  // The largest slot that is ever given out has seven digits.
  for (const name of [names.tap(9_999_999), names.hostLink(9_999_999)]) expect(name.length).toBeLessThanOrEqual(15)
  expect(() => names.hostLink(1e9)).toThrow('bad slot')
  expect(() => names.tap(-1)).toThrow('bad slot')
})

it('refuses a home id that could be part of a command', () => {
  for (const bad of ['', 'abc', 'ABCD', 'ab;d', '12345']) expect(() => createNames(bad)).toThrow('home id')
})
