import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, insertHost, insertInstance, testContext, ZONES } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { openStore } from '../main.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from '../model/account.ts'
import { realmOf } from '../realm.ts'
import { readSettings } from '../settings.ts'
import { cloudSettingsOf, settingsOf, settingsOfZone, withSettings } from './command.ts'
import { checkLeftRegions, leftRegions } from './left-regions.ts'
import { settingsInForce, writeUpRecord } from './up-record.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(path.join(os.tmpdir(), 'hearth-regions-'))
  mkdirSync(path.join(home, 'run'))
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

/** As the last `hearth up` of the home noted it. */
function wasUp(moreRegions: string): void {
  writeUpRecord(home, {
    supervisor: { pid: 1, startTicks: 1 }, startedMs: 0, engine: { engine: 'sim', accelerator: 'sim', reason: '' }, children: {}, isReady: true,
    settings: readSettings({ home, moreRegions, port: '9000' }, {}),
  })
}

function commandWith(...words: string[]): Command {
  const command = withSettings(new Command('status').exitOverride())
  command.parse(['--home', home, ...words], { from: 'user' })
  return command
}

describe('a command', () => {
  it('is about the home region, or the one that --region names', () => {
    wasUp('eu-west-1')
    expect(settingsOf(commandWith()).home).toBe(home)
    expect(settingsOf(commandWith('--region', 'us-east-1')).home).toBe(home)
    const ireland = settingsOf(commandWith('--region', 'eu-west-1'))
    expect(ireland).toMatchObject({ home: path.join(home, 'regions', 'eu-west-1'), cloudHome: home, region: 'eu-west-1', port: 9000 })
    expect(settingsInForce(ireland)).toBe(ireland)
    expect(() => settingsOf(commandWith('--region', 'us-west-2'))).toThrow('there is no region us-west-2; this cloud has us-east-1, eu-west-1')
    expect(cloudSettingsOf(commandWith('--region', 'eu-west-1')).home).toBe(home)
  })

  it('that names a zone is about its region', () => {
    wasUp('eu-west-1')
    expect(settingsOfZone(commandWith(), 'us-east-1b').home).toBe(home)
    expect(settingsOfZone(commandWith(), 'eu-west-1b').home).toBe(path.join(home, 'regions', 'eu-west-1'))
    expect(settingsOfZone(commandWith('--region', 'eu-west-1'), 'b').region).toBe('eu-west-1')
    expect(() => settingsOfZone(commandWith(), 'us-west-2a')).toThrow('there is no region us-west-2')
  })

  it('before the first up of a home is about what it says', () => {
    expect(settingsOf(commandWith('--region', 'eu-west-1'))).toMatchObject({ home, region: 'eu-west-1' })
  })
})

describe('a region that is left out', () => {
  it('must have no machines that run', async () => {
    const settings = readSettings({ home, moreRegions: 'eu-west-1' }, {})
    const realm = realmOf(settings, 'eu-west-1')
    mkdirSync(realm.home, { recursive: true })
    const without = { ...settings, moreRegions: [] }
    expect(leftRegions(without).map((each) => each.home)).toEqual([realm.home])
    expect(leftRegions(settings)).toEqual([])
    await checkLeftRegions(without)
    const store = await openStore(realm)
    const random = seededRandom(1)
    await store.transaction('test', async (db) => {
      await ensureAccount(db, { clock: fixedClock, random, zones: ZONES }, { accountId: DEFAULT_ACCOUNT, name: 'default' })
      await insertHost(db)
      await insertInstance(testContext(db, random), { state: 'running' })
    })
    await expect(checkLeftRegions(without)).rejects.toThrow(
      '1 machine of eu-west-1 would be left alone; bring the cloud up with --more-regions eu-west-1, stop or terminate them, and then leave it out')
    await store.transaction('stop', (db) => db.updateTable('instances').set({ state: 'stopped' }).execute())
    await checkLeftRegions(without)
    await store.close()
  })
})
