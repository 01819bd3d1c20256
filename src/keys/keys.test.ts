import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createKeyService } from './key-service.ts'
import type { Keys } from './keys.ts'
import { createMemoryKeys } from './memory-keys.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hearth-keys-'))
  file = join(folder, 'master.key')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function contract(make: () => Keys): void {
  test('what was wrapped under a key is had back under that key, by a later process too', async () => {
    const { key, wrapped } = await make().newDataKey('key-1')
    expect(Buffer.from(key, 'base64')).toHaveLength(32)
    expect(await make().unwrap('key-1', wrapped)).toBe(key)
  })

  test('under another key it is not', async () => {
    const { wrapped } = await make().newDataKey('key-1')
    await expect(make().unwrap('key-2', wrapped)).rejects.toThrow('damaged, or was made under another key')
  })

  test('every data key is another one', async () => {
    const keys = make()
    const made = await Promise.all(Array.from({ length: 20 }, () => keys.newDataKey('key-1')))
    expect(new Set(made.map(({ key }) => key)).size).toBe(20)
    expect(new Set(made.map(({ wrapped }) => wrapped)).size).toBe(20)
  })
}

describe('the keys of a simulated host', () => {
  contract(createMemoryKeys)
})

describe('the key service', () => {
  contract(() => createKeyService(file))

  test('makes one master key when the first data key is wanted, for its owner alone', async () => {
    const services = Array.from({ length: 8 }, () => createKeyService(file))
    expect(readdirSync(folder)).toEqual([])
    const made = await Promise.all(services.map((keys) => keys.newDataKey('key-1')))
    expect(readdirSync(folder)).toEqual(['master.key'])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(Buffer.from(readFileSync(file, 'latin1'), 'base64')).toHaveLength(32)
    for (const { key, wrapped } of made) expect(await createKeyService(file).unwrap('key-1', wrapped)).toBe(key)
  })

  test('neither key is in what is kept beside the layer', async () => {
    const { key, wrapped } = await createKeyService(file).newDataKey('key-1')
    const kept = Buffer.from(wrapped, 'base64')
    expect(kept.includes(Buffer.from(key, 'base64'))).toBe(false)
    expect(kept.includes(Buffer.from(readFileSync(file, 'latin1'), 'base64'))).toBe(false)
  })

  test('says of a missing master key, of another one and of none that they are to come from a backup', async () => {
    const { key, wrapped } = await createKeyService(file).newDataKey('key-1')
    const master = readFileSync(file)
    rmSync(file)
    await expect(createKeyService(file).unwrap('key-1', wrapped)).rejects.toThrow(`the master key ${file} is missing`)
    expect(readdirSync(folder)).toEqual([])
    await createKeyService(file).newDataKey('key-1')
    await expect(createKeyService(file).unwrap('key-1', wrapped)).rejects.toThrow('made with another master key')
    writeFileSync(file, 'secret')
    await expect(createKeyService(file).newDataKey('key-1')).rejects.toThrow('is not a master key')
    writeFileSync(file, master)
    expect(await createKeyService(file).unwrap('key-1', wrapped)).toBe(key)
  })

  test('a key that was changed anywhere is refused', async () => {
    const { wrapped } = await createKeyService(file).newDataKey('key-1')
    const bytes = Buffer.from(wrapped, 'base64')
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      await expect(createKeyService(file).unwrap('key-1', changed.toString('base64'))).rejects.toThrow(/key-1/)
    }
    await expect(createKeyService(file).unwrap('key-1', '')).rejects.toThrow('damaged')
    await expect(createKeyService(file).unwrap('key-1', bytes.subarray(1).toString('base64'))).rejects.toThrow('damaged')
  })

  test('what a newer Hearth wrapped is refused with its version', async () => {
    const { wrapped } = await createKeyService(file).newDataKey('key-1')
    const bytes = Buffer.from(wrapped, 'base64')
    bytes[0] = 2
    await expect(createKeyService(file).unwrap('key-1', bytes.toString('base64'))).rejects.toThrow('version 2')
  })

  test('a master key that cannot be written is an error, and leaves nothing', async () => {
    const nowhere = join(folder, 'missing', 'master.key')
    await expect(createKeyService(nowhere).newDataKey('key-1')).rejects.toThrow('ENOENT')
    expect(readdirSync(folder)).toEqual([])
  })
})
