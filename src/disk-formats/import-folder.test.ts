import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync, existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createImportFolder, type ImportFiles } from './import-folder.ts'

let home: string
let imports: ImportFiles
const at = (...names: string[]) => path.join(home, ...names)
const failure = (file: string, format: Parameters<ImportFiles['inspect']>[1] = null) =>
  imports.inspect(file, format).then(() => 'none', (error: Error) => `${error.name}: ${error.message}`)

beforeAll(() => {
  home = mkdtempSync(path.join(tmpdir(), 'hearth-imports-'))
  mkdirSync(at('real', 'below'), { recursive: true })
  mkdirSync(at('elsewhere'))
  symlinkSync(at('real'), at('imports'))
  for (const file of ['real/disk.img', 'real/below/disk.img', 'real/disk.vhd', 'elsewhere/secret']) writeFileSync(at(file), Buffer.alloc(1024))
  symlinkSync(at('elsewhere'), at('real', 'out'))
  symlinkSync(at('elsewhere', 'secret'), at('real', 'link'))
  imports = createImportFolder(at('imports'))
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

describe('the folder that disks are imported from', () => {
  it('gives its files and those in its folders, by where they really are', async () => {
    expect(await imports.inspect(at('imports', 'disk.img'), null)).toMatchObject({
      path: at('real', 'disk.img'), format: 'raw', virtualSizeBytes: 1024,
    })
    expect(await imports.inspect(at('imports', 'below', 'disk.img'), 'raw')).toMatchObject({
      path: at('real', 'below', 'disk.img'),
    })
  })

  it('gives nothing else, and tells nothing of it', async () => {
    const outside = /^DiskFormatError: there is no file .* in the folder that disks are imported from/
    for (const file of ['elsewhere/secret', 'elsewhere/absent', 'imports/../elsewhere/secret', 'imports/out/secret', 'imports']) {
      expect(await failure(at(file)), file).toMatch(outside)
    }
    expect(await failure('/etc/passwd')).toMatch(outside)
    expect(await failure(at('imports', 'link'))).toMatch(/symbolic link/)
    expect(await failure(at('imports', 'absent'))).toMatch(/there is no file/)
  })

  it('refuses what is not what it is said to be', async () => {
    expect(await failure(at('imports', 'disk.img'), 'vmdk')).toMatch(/disk.img is said to be VMDK, and is none$/)
    expect(await failure(at('imports', 'disk.vhd'))).toMatch(/disk.vhd is said to be VHD, and is none$/)
    expect(await failure(at('imports', 'disk.vhd'), 'raw')).toBe('none')
  })

  it('that is not there has no files', async () => {
    await expect(createImportFolder(at('absent')).inspect(at('absent', 'disk.img'), null)).rejects.toThrow(/there is no file/)
  })

  it('deletes copies of its own only', async () => {
    writeFileSync(at('real', 'copy'), '')
    await imports.discard(at('imports', 'copy'))
    await imports.discard(at('imports', 'copy'))
    await imports.discard(at('elsewhere', 'secret'))
    expect([existsSync(at('real', 'copy')), existsSync(at('elsewhere', 'secret'))]).toEqual([false, true])
  })
})
