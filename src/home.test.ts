import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seededRandom } from './core/random.ts'
import { ensureHome, ensureHostId, ensureHosts, homeIdOf, readHosts } from './home.ts'

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
    const hostId = await ensureHostId(before, seededRandom(1))
    await rename(before, after)
    expect(await ensureHostId(after, seededRandom(2))).toBe(hostId)
    expect(homeIdOf(before)).not.toBe(homeIdOf(after))
  })

  test('of an earlier version, which knew one host, stays the same node', async () => {
    await writeFile(path.join(folder, 'host.json'), '{"hostId":"h-0123456789abcdef0"}\n')
    const { nodeId, hosts } = await ensureHosts(folder, seededRandom(1), { zones: ['us-east-1a'], hostsPerZone: 1 })
    expect(nodeId).toBe('h-0123456789abcdef0')
    expect(await ensureHostId(folder, seededRandom(2))).toBe(nodeId)
    expect(hosts['us-east-1a']).toHaveLength(1)
    expect(await readHosts(folder)).toEqual({ nodeId, hosts })
  })

  test('has the same hosts again in a zone that comes back, and new ones beside them where more are wanted', async () => {
    const random = seededRandom(1)
    const before = await ensureHosts(folder, random, { zones: ['us-east-1a', 'us-east-1b'], hostsPerZone: 2 })
    expect(new Set([before.nodeId, ...Object.values(before.hosts).flat()]).size).toBe(5)
    expect(await ensureHosts(folder, random, { zones: ['us-east-1a'], hostsPerZone: 1 })).toEqual(before)
    const { hosts } = await ensureHosts(folder, random, { zones: ['us-east-1b', 'us-east-1c'], hostsPerZone: 3 })
    expect(hosts['us-east-1a']).toEqual(before.hosts['us-east-1a'])
    expect(hosts['us-east-1b']?.slice(0, 2)).toEqual(before.hosts['us-east-1b'])
    expect(hosts['us-east-1b']).toHaveLength(3)
  })

  test('knows of no hosts before they are needed', async () => {
    expect(await readHosts(folder)).toBeUndefined()
  })
})
