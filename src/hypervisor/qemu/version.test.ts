import { expect, test } from 'vitest'
import { parseMachineType } from './version.ts'

test('the newest q35 is read from the list of machines', () => {
  const help = [
    'Supported machines are:',
    'pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-8.2)',
    'pc-i440fx-8.2        Standard PC (i440FX + PIIX, 1996) (default)',
    'ubuntu-q35           Ubuntu 24.04 PC (Q35 + ICH9, 2009) (alias of pc-q35-noble)',
    'q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-8.2)',
    'pc-q35-8.2           Standard PC (Q35 + ICH9, 2009)',
  ].join('\n')
  expect(parseMachineType(help)).toBe('pc-q35-8.2')
  const without = 'Supported machines are:\nmicrovm  microvm (i386)\n'
  expect(() => parseMachineType(without)).toThrow('install qemu-system-x86')
})
