import { mkdtemp, rename, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from './core/random.ts'
import { ensureHome, ensureHostId, homeIdOf, readHostId } from './home.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-home-'))
})
afterEach(() => rm(folder, { recursive: true }))

describe('a home', () => {
  test('has folders that guests may pass and not read, and secrets for its owner alone', async () => {
    await ensureHome(folder)
    await ensureHome(folder)
    const modeOf = async (name: string) => ((await stat(path.join(folder, name))).mode & 0o777).toString(8)
    expect(await modeOf('.')).toBe('711')
    expect(await modeOf('volumes')).toBe('711')
    expect(await modeOf('keys')).toBe('700')
    expect(await modeOf('run')).toBe('700')
  })

  test('that is moved stays the same host, so its disks are not taken for leftovers', async () => {
    const before = path.join(folder, 'before')
    const after = path.join(folder, 'after')
    await ensureHome(before)
    expect(await readHostId(before)).toBeUndefined()
    const hostId = await ensureHostId(before, seededRandom(1))
    await rename(before, after)
    expect(await ensureHostId(after, seededRandom(2))).toBe(hostId)
    expect(await readHostId(after)).toBe(hostId)
    expect(homeIdOf(before)).not.toBe(homeIdOf(after))
  })
})
