import { mkdtempSync, rmSync, statSync, writeFileSync, readFileSync, symlinkSync, linkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { architectureFacts, bootableArchitectures } from './architecture.ts'
import { ensureUefiVariables } from './uefi-variables.ts'
import { parseMachineType } from './version.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-architecture-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

describe('architectures', () => {
  test('that boot here are those whose QEMU is on the path', () => {
    expect(bootableArchitectures(folder)).toEqual([])
    writeFileSync(join(folder, architectureFacts('x86_64').program), '')
    expect(bootableArchitectures(folder)).toEqual(['x86_64'])
  })

  test('each pin the newest version of their own machine', () => {
    const help = [
      'q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)', 'pc-q35-7.2           Standard PC',
      'virt                 QEMU 7.2 ARM Virtual Machine (alias of virt-7.2)',
    ].join('\n')
    expect(parseMachineType(help, 'q35')).toBe('pc-q35-7.2')
    expect(parseMachineType(help, 'virt')).toBe('virt-7.2')
    expect(() => parseMachineType('none  empty machine', 'virt')).toThrow(/has no virt machine/)
  })
})

describe('the firmware variables of a machine', () => {
  test('begin as the template, as long as that but taking only the room they need, and are kept', () => {
    const template = join(folder, 'template')
    writeFileSync(template, Buffer.concat([Buffer.from('_FVH variables'), Buffer.alloc(4 * 1024 * 1024)]))
    const file = join(folder, 'vars')
    ensureUefiVariables(file, template, null)
    expect(readFileSync(file).equals(readFileSync(template))).toBe(true)
    expect(statSync(file).blocks * 512).toBeLessThan(64 * 1024)
    writeFileSync(file, 'what the guest wrote')
    ensureUefiVariables(file, template, null)
    expect(readFileSync(file, 'utf8')).toBe('what the guest wrote')
  })

  test('are a file of its own: a link that its user has put there is not followed', () => {
    const template = join(folder, 'template')
    writeFileSync(template, 'template')
    const foreign = join(folder, 'foreign')
    writeFileSync(foreign, 'of somebody else')
    symlinkSync(foreign, join(folder, 'soft'))
    linkSync(foreign, join(folder, 'hard'))
    expect(() => ensureUefiVariables(join(folder, 'soft'), template, 0)).toThrow()
    expect(() => ensureUefiVariables(join(folder, 'hard'), template, 0)).toThrow(/not a plain file/)
  })
})
