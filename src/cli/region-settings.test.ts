import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, insertHost, insertInstance, testContext, ZONES } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { openStore } from '../main.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from '../model/account.ts'
import { createAccount, credentialsOf, withAccountStore } from './accounts.ts'
import { ensureHome } from '../home.ts'
import { realmOf } from '../realm.ts'
import { readSettings } from '../settings.ts'
import { cloudSettingsOf, hearthCommand, settingsOf, settingsOfZone, wholeCloudSettingsOf, withSettings, withStore } from './command.ts'
import { withHomeRegion } from './home-region.ts'
import { announceBuilt } from './image.ts'
import { findInstance, listInstances } from './instances.ts'
import { createKey, listKeys } from './keys.ts'
import { checkLeftRegions, leftOutLines, leftRegions } from './left-regions.ts'
import { prepareZones } from './prepare-zones.ts'
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
    expect(settingsOfZone(commandWith('--region', 'eu-west-1'), 'eu-west-1b').region).toBe('eu-west-1')
    expect(() => settingsOfZone(commandWith('--region', 'eu-west-1'), 'us-east-1b')).toThrow(
      'the zone us-east-1b is not in --region eu-west-1; leave one of them out')
    expect(() => settingsOfZone(commandWith(), 'us-west-2a')).toThrow('there is no region us-west-2')
    // Whoever looks for it there names the zones that there are.
    expect(settingsOfZone(commandWith('--region', 'eu-west-1'), 'euw1-az2').region).toBe('eu-west-1')
    expect(settingsOfZone(commandWith(), 'nowhere').region).toBe('us-east-1')
  })

  it('for the whole cloud refuses to be about one of its regions', () => {
    wasUp('eu-west-1')
    expect(() => wholeCloudSettingsOf(commandWith('--region', 'eu-west-1'))).toThrow(
      `hearth status is about the whole cloud in ${home} (us-east-1, eu-west-1), not about eu-west-1 alone; leave out --region`)
    expect(wholeCloudSettingsOf(commandWith('--region', 'us-east-1')).home).toBe(home)
    expect(wholeCloudSettingsOf(commandWith()).home).toBe(home)
  })

  it('is not about the home of a region as if that were a cloud', async () => {
    await ensureHome(home)
    expect(() => cloudSettingsOf(commandWith('--home', path.join(home, 'regions', 'eu-west-1')))).toThrow(
      `is the region eu-west-1 of the cloud in ${home}; give --home ${home} --region eu-west-1`)
    expect(cloudSettingsOf(commandWith('--home', path.join(home, 'elsewhere', 'regions', 'eu-west-1'))).region).toBe('us-east-1')
  })

  it('that another one is told to call has the home of the cloud and the region', () => {
    wasUp('eu-west-1')
    const words = (...flags: string[]) => hearthCommand('ssh web', settingsOf(commandWith(...flags))).split(' ssh ')[1]
    expect(words('--region', 'eu-west-1')).toBe(`web --home ${home} --region eu-west-1`)
    expect(words()).toBe(`web --home ${home}`)
  })

  it('about one region does not mind that it is named among more regions', () => {
    wasUp('eu-west-1')
    expect(settingsOf(commandWith('--region', 'eu-west-1', '--more-regions', 'eu-west-1')).region).toBe('eu-west-1')
  })

  it('before the first up of a home is about what it says', () => {
    expect(settingsOf(commandWith('--region', 'eu-west-1'))).toMatchObject({ home, region: 'eu-west-1' })
  })
})

describe('the home region', () => {
  const settings = (region: string, moreRegions = '') => readSettings({ home, region, moreRegions }, {})
  const prepare = async (region: string) => {
    await ensureHome(home)
    const store = await openStore(settings(region))
    try {
      return await prepareZones(store, settings(region), { random: seededRandom(1), nowMs: 0 })
    } finally {
      await store.close()
    }
  }

  it('of a new home is the one that is asked for', async () => {
    expect((await withHomeRegion(settings('eu-west-1'), undefined)).region).toBe('eu-west-1')
    await expect(withHomeRegion(settings('eu-west-1', 'eu-west-1'), undefined)).rejects.toThrow(
      '--more-regions names eu-west-1, which is the home region already')
  })

  it('stays what it was, whatever a variable says, and is no other by a flag', async () => {
    await prepare('eu-west-1')
    expect((await withHomeRegion(settings('us-east-1'), undefined)).region).toBe('eu-west-1')
    expect((await withHomeRegion(settings('us-east-1', 'us-east-1'), 'eu-west-1')).moreRegions).toEqual(['us-east-1'])
    const why = `the cloud in ${home} was made with the region eu-west-1, which stays its home region; leave out --region, `
      + 'have us-east-1 beside it with --more-regions us-east-1, or give another --home'
    await expect(withHomeRegion(settings('us-east-1'), 'us-east-1')).rejects.toThrow(why)
    await expect(prepare('us-east-1')).rejects.toThrow(why)
  })

  it('of a home that has not written it down follows from what is in it', async () => {
    await ensureHome(home)
    const store = await openStore(settings('eu-west-1'))
    await store.transaction('test', (db) => ensureAccount(
      db, { clock: fixedClock, random: seededRandom(1), zones: ['eu-west-1a'] }, { accountId: DEFAULT_ACCOUNT, name: 'default' }))
    await store.close()
    expect((await withHomeRegion(settings('us-east-1'), undefined)).region).toBe('eu-west-1')
  })
})

describe('what all regions share', () => {
  const random = seededRandom(1)
  const settings = () => readSettings({ home, moreRegions: 'eu-west-1' }, {})
  const ireland = () => realmOf(settings(), 'eu-west-1')
  beforeEach(async () => {
    wasUp('eu-west-1')
    for (const realm of [settings(), ireland()]) {
      await ensureHome(realm.home)
      const store = await openStore(realm)
      await store.transaction('test', (db) => insertHost(db))
      await store.close()
    }
  })

  it('is the accounts: one that has never called in a region may have keys there', async () => {
    const store = await openStore(settings())
    const made = await createAccount(store, { clock: fixedClock, random, zones: ZONES }, home, 'bob')
    await store.close()
    rmSync(path.join(home, 'accounts'), { recursive: true })
    expect(await credentialsOf(ireland(), 'bob')).toEqual(made)
    const key = await withAccountStore(ireland(), 'bob', (there) => createKey(there, { clock: fixedClock, random, region: 'eu-west-1' }, 'bob', 'web'))
    expect(key.arn).toMatch(new RegExp(`^arn:aws:kms:eu-west-1:${made.accountId}:`))
    expect(await withAccountStore(settings(), 'bob', (here) => listKeys(here, 'us-east-1', 'bob'))).toEqual([])
    await expect(withAccountStore(ireland(), 'eve', () => Promise.resolve())).rejects.toThrow('there is no account "eve"')
  })

  it('is not the instances: one that is in no region asked for may be in another', async () => {
    const find = (of: Parameters<typeof withStore>[0]) => withStore(of, async (store) => findInstance(await listInstances(store), 'web'))
    await expect(find(settings())).rejects.toThrow('there is none (in us-east-1; --region is for what is in eu-west-1)')
    await expect(find(ireland())).rejects.toThrow('there is none (in eu-west-1; --region is for what is in us-east-1)')
    wasUp('')
    await expect(find(settings())).rejects.toThrow(/there is none$/)
  })

  it('is what was built, of which the nodes of all are told', async () => {
    await announceBuilt(settings())
    for (const realm of [settings(), ireland()]) {
      const store = await openStore(realm)
      expect(await store.read((db) => db.selectFrom('work').select('kind').execute())).toEqual([{ kind: 'images' }])
      await store.close()
    }
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
    expect(leftOutLines(without)).toEqual(['eu-west-1 is left out; what is in it waits until --more-regions names it again'])
    expect(leftOutLines(settings)).toEqual([])
    await store.close()
  })
})
