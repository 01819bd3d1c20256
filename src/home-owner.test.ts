import { chownSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ensureHome } from './home.ts'
import { sudoUser } from './home-owner.ts'
import { openSqlite } from './store/sqlite.ts'

const ACCOUNTS = 'root:x:0:0:root:/root:/bin/bash\nada:x:1000:1001:Ada:/home/ada:/bin/bash\nodd:x:1002:1002::nowhere:/bin/sh\n'
const as = (environment: Record<string, string | undefined>, isRoot = true) => sudoUser(environment, { isRoot, accounts: () => ACCOUNTS })

describe('the person behind sudo', () => {
  test('is whom sudo names', () => {
    expect(as({ SUDO_UID: '1000' })).toEqual({ uid: 1000, gid: 1001, folder: '/home/ada' })
  })

  test.each([{}, { SUDO_UID: '0' }, { SUDO_UID: 'x' }, { SUDO_UID: '999' }, { SUDO_UID: '1002' }, { SUDO_UID: '' }])(
    'is nobody for %j', (environment) => {
      expect(as(environment)).toBeUndefined()
    })

  test('is nobody where root is not in play', () => {
    expect(as({ SUDO_UID: '1000' }, false)).toBeUndefined()
  })
})

describe.skipIf(process.getuid?.() !== 0)('a home that root keeps for somebody', () => {
  const ADA = 12_345
  let folder: string

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'hearth-owner-'))
    chownSync(folder, ADA, ADA)
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  const ownerOf = (...names: string[]) => statSync(path.join(folder, ...names)).uid

  test('is its owner\'s, with everything that they need without root', async () => {
    await ensureHome(folder, {})
    writeFileSync(path.join(folder, 'run', 'known_hosts'), 'left as root by an earlier command')
    const store = await openSqlite({ file: path.join(folder, 'hearth.db'), durability: 'normal' })
    await store.transaction('test', (db) => db.insertInto('meta').values({ key: 'k', value: 'v' }).execute())
    await ensureHome(folder, {})
    for (const name of ['keys', 'logs', 'run', 'run/known_hosts', 'hearth.db', 'hearth.db-wal', 'hearth.db-shm', 'hearth.db-wake']) {
      expect([name, ownerOf(name)]).toEqual([name, ADA])
    }
    await store.close()
  })

  test('lets its owner put disks where they are imported from, and takes over none', async () => {
    await ensureHome(folder, {})
    writeFileSync(path.join(folder, 'imports', 'disk.img'), '')
    await ensureHome(folder, {})
    expect([ownerOf('imports'), ownerOf('imports', 'disk.img')]).toEqual([ADA, 0])
  })

  test('keeps the folders of the machines for root', async () => {
    await ensureHome(folder, {})
    for (const name of ['instances', 'volumes', 'layers', 'images', 'tmp']) expect([name, ownerOf(name)]).toEqual([name, 0])
  })

  test('follows no link out of it', async () => {
    const outside = mkdtempSync(path.join(tmpdir(), 'hearth-outside-'))
    try {
      await ensureHome(folder, {})
      writeFileSync(path.join(outside, 'secret'), '')
      symlinkSync(path.join(outside, 'secret'), path.join(folder, 'run', 'trap'))
      await ensureHome(folder, {})
      expect(statSync(path.join(outside, 'secret')).uid).toBe(0)
      expect(existsSync(path.join(folder, 'run', 'trap'))).toBe(true)
    } finally {
      rmSync(outside, { recursive: true })
    }
  })
})
