import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { checkOwnDatabase } from './main.ts'
import { describeDatabase, importFolderOf, readSettings } from './settings.ts'
import { openSqlite } from './store/sqlite.ts'

const databaseOf = (value: string | undefined) => readSettings({ database: value, home: '/h' }, {}).database

test('the database is SQLite in the home, unless a URL of PostgreSQL is given', () => {
  expect(databaseOf(undefined)).toBeNull()
  expect(readSettings({}, { HEARTH_DATABASE: '' }).database).toBeNull()
  expect(readSettings({}, { HEARTH_DATABASE: 'postgres://db/x' }).database).toBe('postgres://db/x')
  for (const url of ['postgresql://u:p@h:5432/n?sslmode=require', 'postgresql:///n?host=/run/postgresql', 'postgresql://u@/n']) {
    expect(databaseOf(url)).toBe(url)
  }
  for (const url of ['sqlite:x', 'h:5432/n', 'postgresql://u:p@h:secret/n']) {
    expect(() => databaseOf(url)).toThrow(/^--database must be a URL of the form postgresql:\/\/user@host:5432\/name$/)
  }
})

test("the serial consoles' port is the one after the API's, or is picked as that one is", () => {
  const portOf = (flags: object, environment = {}) => readSettings(flags, environment).serialConsolePort
  expect([portOf({}), portOf({ port: '9000' }), portOf({ port: '0' }), portOf({ port: '65535' })]).toEqual([8774, 9001, 0, 0])
  expect(portOf({ port: '0' }, { HEARTH_SERIAL_CONSOLE_PORT: '2222' })).toBe(2222)
  expect(() => portOf({ serialConsolePort: 'off' })).toThrow('--serial-console-port must be a whole number from 0 to 65535, not off')
})

test('a public interface is named as the kernel names one, and is none unless given', () => {
  expect(readSettings({}, {}).publicInterface).toBeNull()
  expect(readSettings({ publicInterface: 'eth0.100' }, {}).publicInterface).toBe('eth0.100')
  expect(readSettings({}, { HEARTH_PUBLIC_INTERFACE: 'br-lan' }).publicInterface).toBe('br-lan')
  for (const name of ['eth0"', 'eth*', 'a-name-that-is-too-long']) {
    expect(() => readSettings({ publicInterface: name }, {})).toThrow(/^--public-interface .* is not the name of a network interface$/)
  }
})

test('the notice of an interruption is two minutes unless given, as a length of time from a second to an hour', () => {
  const noticeOf = (flags: object, environment = {}) => readSettings(flags, environment).spotNoticeMs
  expect([noticeOf({}), noticeOf({ notice: '20s' }), noticeOf({}, { HEARTH_SPOT_NOTICE: '1h' }), noticeOf({ notice: '1s' }, { HEARTH_SPOT_NOTICE: '1h' })])
    .toEqual([120_000, 20_000, 3_600_000, 1000])
  // Whether these are seconds or milliseconds nobody can tell.
  for (const notice of ['20', '5000', '0s', '61m', '5x', '-2s']) {
    expect(() => noticeOf({}, { HEARTH_SPOT_NOTICE: notice })).toThrow(`--notice must be from 1s to 1h, such as 20s or 2m, not ${notice}`)
  }
})

test('a budget of the recycle bin is a number of GiB, and none unless given', () => {
  expect(readSettings({}, {}).recycleBudgetGib).toBeNull()
  expect(readSettings({ recycleBudgetGib: '0.5' }, {}).recycleBudgetGib).toBe(0.5)
  expect(readSettings({}, { HEARTH_RECYCLE_BUDGET_GIB: '0' }).recycleBudgetGib).toBe(0)
  for (const value of ['-1', 'all', '1e9']) {
    expect(() => readSettings({ recycleBudgetGib: value }, {})).toThrow(/^--recycle-budget-gib must be a number from 0 to 1000000/)
  }
})

test('disks are imported from a folder of the home, unless another is given', () => {
  const folderOf = (flags: object, environment = {}) => importFolderOf(readSettings({ home: '/h', ...flags }, environment))
  expect(folderOf({})).toBe('/h/imports')
  expect(folderOf({ importFolder: '/srv/disks/' })).toBe('/srv/disks')
  expect(folderOf({}, { HEARTH_IMPORT_FOLDER: '/srv/disks' })).toBe('/srv/disks')
})

test('of a database is told where it is, not how to get in', () => {
  const told = (database: string | null) => describeDatabase({ database, home: '/h' })
  expect(told(null)).toBe('/h/hearth.db')
  expect(told('postgresql://u:secret@db.local:5433/clouds?password=secret')).toBe('the PostgreSQL database "clouds" at db.local:5433')
  expect(told('postgresql:///clouds?host=/run/postgresql&password=secret')).toBe('the PostgreSQL database "clouds" at /run/postgresql')
})

test('disks are not left to a database that knows nothing of their host', async () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'hearth-own-'))
  const settings = readSettings({ home }, {})
  const store = await openSqlite({ file: ':memory:', durability: 'normal' })
  for (const folder of ['volumes', 'layers', 'images']) mkdirSync(path.join(home, folder))
  writeFileSync(path.join(home, 'images', 'tiny.qcow2'), '')
  linkSync(path.join(home, 'images', 'tiny.qcow2'), path.join(home, 'layers', 'lay-1.qcow2'))
  await checkOwnDatabase(store, settings, 'h-1')
  for (const disk of ['volumes/vol-1.qcow2', 'layers/lay-2.qcow2']) {
    writeFileSync(path.join(home, disk), '')
    await expect(checkOwnDatabase(store, settings, 'h-1')).rejects.toThrow(/holds disks that .*hearth\.db knows nothing of/)
    rmSync(path.join(home, disk))
  }
  writeFileSync(path.join(home, 'layers', 'lay-2.qcow2'), '')
  await store.transaction('host', (db) =>
    db.insertInto('hosts').values({
      host_id: 'h-1', node_id: 'h-1', zone_revision: 0, epoch: 1, region: 'r', vcpus: 1, memory_mib: 1, vcpus_used: 0, memory_mib_used: 0, heartbeat_ms: 0, doc: '{}',
    }).execute())
  await checkOwnDatabase(store, settings, 'h-1')
  await store.close()
  rmSync(home, { recursive: true })
})
