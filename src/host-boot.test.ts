import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { readHostBootId } from './host-boot.ts'

test('a run of the host has one id, and the next run another', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'hearth-boot-'))
  const file = path.join(folder, 'boot_id')
  try {
    expect(await readHostBootId({})).toBe(await readHostBootId({}))
    expect(await readHostBootId({})).toMatch(/^[0-9a-f-]{36}\/\d+$/)
    writeFileSync(file, 'one\n')
    const first = await readHostBootId({ HEARTH_BOOT_ID_FILE: file })
    writeFileSync(file, 'two\n')
    const second = await readHostBootId({ HEARTH_BOOT_ID_FILE: file })
    expect([first.split('/')[0], second.split('/')[0]]).toEqual(['one', 'two'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
