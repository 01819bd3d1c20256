import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { completeImage, deleteImages, hasImage, partFile } from './memory-images.ts'

let home: string
let folder: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'hearth-images-'))
  folder = join(home, 'machine')
  mkdirSync(folder)
})
afterEach(() => rmSync(home, { recursive: true }))

describe('saved memory in a machine\'s folder', () => {
  test('is there once it is complete, and until it is deleted', async () => {
    writeFileSync(partFile(folder, 'mem-1'), '')
    expect(await hasImage(folder, 'mem-1')).toBe(false)
    await completeImage(folder, 'mem-1')
    expect(await hasImage(folder, 'mem-1')).toBe(true)
    writeFileSync(partFile(folder, 'mem-2'), '')
    await deleteImages(folder, 'mem-1')
    expect(readdirSync(folder)).toEqual(['memory-mem-1'])
    await deleteImages(folder)
    expect(await hasImage(folder, 'mem-1')).toBe(false)
  })

  test('is none in a folder that is not there', async () => {
    await deleteImages(join(home, 'other'))
    expect(await hasImage(join(home, 'other'), 'mem-1')).toBe(false)
  })

  test('is no folder or link of the machine\'s user, and nothing that they lead to is deleted', async () => {
    const precious = join(home, 'precious')
    mkdirSync(precious)
    writeFileSync(join(precious, 'file'), '')
    mkdirSync(join(folder, 'memory-mem-1'))
    symlinkSync(precious, join(folder, 'memory-mem-1', 'link'))
    symlinkSync(join(precious, 'file'), join(folder, 'memory-mem-2'))
    expect([await hasImage(folder, 'mem-1'), await hasImage(folder, 'mem-2')]).toEqual([false, false])
    await deleteImages(folder)
    expect(readdirSync(folder)).toEqual(['memory-mem-1'])
    expect(existsSync(join(precious, 'file'))).toBe(true)
  })
})
