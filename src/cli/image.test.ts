import { expect, it } from 'vitest'
import type { BuiltImage } from '../images/build.ts'
import { formatImages } from './image.ts'

const built: BuiltImage = {
  name: 'hearth-tiny-01234567-x86_64', description: 'Tiny', recipe: 'tiny', recipeHash: '0'.repeat(16), file: '/h/images/tiny.qcow2',
  sha256: '0'.repeat(64), sizeGib: 1, architecture: 'x86_64', rootDeviceName: '/dev/xvda', bootMode: 'legacy-bios', user: 'root',
  packages: {}, builtAtMs: Date.UTC(2026, 0, 2, 3, 4),
}

it('images are listed with those that can be built and were not', () => {
  const [head, first, second, ...rest] = formatImages([built]).split('\n')
  expect(head).toMatch(/^NAME +BUILT +DISK +DESCRIPTION$/)
  expect(first).toMatch(/^hearth-tiny-01234567-x86_64 +2026-01-02 03:04 +1 GiB +Tiny$/)
  expect(second).toMatch(/^debian-12 +not yet .*hearth image build debian-12$/)
  expect(rest.map((line) => line.split(' ')[0])).toEqual(['tiny-arm64'])
  expect(formatImages([]).split('\n').map((line) => line.split(' ')[0])).toEqual(['NAME', 'tiny', 'debian-12', 'tiny-arm64'])
})
