import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { formatCidr, overlaps } from './core/cidr.ts'
import { KNOWN_REGIONS } from './model/region.ts'
import { zoneIdOf, zonesOf } from './model/zone.ts'
import { realmOf, realmOfZone, realmsOf } from './realm.ts'
import { publicBlocksOf, publicPoolOf, readSettings } from './settings.ts'

const settingsOf = (moreRegions: string, flags: object = {}) => readSettings({ home: '/h', moreRegions, ...flags }, {})
const blocksOf = (moreRegions: string, flags: object = {}, homeId = '00a5') =>
  [...publicBlocksOf(settingsOf(moreRegions, flags), homeId)].map(([region, block]) => `${region} ${formatCidr(block)}`)

describe('more regions', () => {
  test.each<[string, RegExp]>([
    ['eu-west-1,eu-west-1', /^--more-regions must be up to 15 different names of the form eu-west-1, not /],
    ['europe', /^--more-regions must be/],
    ['eu-west-1/../..', /^--more-regions must be/],
    [`eu-${'west'.repeat(16)}-1,eu-${'west'.repeat(16)}-2`, /^--more-regions must be/],
    [KNOWN_REGIONS.slice(1, 17).join(','), /^--more-regions must be up to 15/],
  ])('cannot be %s', (names, reason) => {
    expect(() => settingsOf(names)).toThrow(reason)
  })

  it('have homes and databases of their own within the cloud, and everything else in common', () => {
    const settings = settingsOf('eu-west-1, us-west-2', { database: 'postgresql:///n', zones: 'a,b', importFolder: '/srv' })
    const [home, ireland, oregon] = realmsOf(settings)
    expect(home).toMatchObject({ region: 'us-east-1', home: '/h', schema: null, isHome: true, serialConsolePort: 8774, firstInstance: true })
    expect(ireland).toMatchObject({
      region: 'eu-west-1', home: '/h/regions/eu-west-1', cloudHome: '/h', schema: 'hearth_eu_west_1', isHome: false,
      zones: ['a', 'b'], importFolder: '/srv', moreRegions: [], serialConsolePort: 8775, firstInstance: false,
    })
    expect(oregon).toMatchObject({ region: 'us-west-2', serialConsolePort: 8776 })
    expect([home, ireland, oregon].reduce((sum, realm) => sum + (realm?.regionShare ?? 0), 0)).toBeCloseTo(1)
    expect(realmsOf(settingsOf('eu-west-1'))[1]).toMatchObject({ schema: null, importFolder: '/h/imports' })
  })

  it('are found by their names and those of their zones', () => {
    const settings = settingsOf('eu-west-1')
    expect(realmOf(settings, 'us-east-1').home).toBe('/h')
    expect(realmOfZone(settings, 'eu-west-1b').home).toBe('/h/regions/eu-west-1')
    expect(() => realmOfZone(settings, 'us-west-2a')).toThrow('there is no region us-west-2; this cloud has us-east-1, eu-west-1')
  })

  it('give no region of AWS the zone ids of another one', () => {
    const ids = KNOWN_REGIONS.flatMap((region) => zonesOf({ region, zones: ['a', 'b', 'c', 'd', 'e', 'f'] }).map(zoneIdOf))
    expect(new Set(ids).size).toBe(ids.length)
    expect(['ap-southeast-2c', 'mx-central-1b'].map(zoneIdOf)).toEqual(['apse2-az3', 'mxc1-az2'])
  })

  test.each(['cn-north-1', 'us-gov-west-1', 'us-iso-east-1', 'us-isob-east-1', 'eu-isoe-west-1'])('are none of another partition, as %s is', (name) => {
    const why = `${name} is of another partition of AWS, whose ARNs and endpoints there are none of here; take a region such as us-east-1`
    expect(() => settingsOf(name)).toThrow(why)
    expect(() => settingsOf('', { region: name })).toThrow(why)
  })
})

describe('public addresses', () => {
  it('of a region stay what they are when others come beside it', () => {
    expect(blocksOf('')).toEqual(['us-east-1 198.18.148.0/22'])
    expect(blocksOf('eu-west-1')).toEqual(['us-east-1 198.18.148.0/22', 'eu-west-1 198.19.0.0/22'])
    expect(blocksOf('us-west-2,eu-west-1')).toEqual([
      'us-east-1 198.18.148.0/22', 'us-west-2 198.18.164.0/22', 'eu-west-1 198.19.0.0/22',
    ])
  })

  it('of a simulated region stay what they are, too', () => {
    expect(blocksOf('', { engine: 'sim' })).toEqual(['us-east-1 198.18.0.0/16'])
    expect(blocksOf('eu-west-1', { engine: 'sim' })).toEqual(['us-east-1 198.18.0.0/16', 'eu-west-1 198.19.104.0/22'])
  })

  test.each(['sim', 'qemu'])('of a region that AWS does not have depend on no other (%s)', (engine) => {
    const of = (names: string) => blocksOf(names, { engine }).find((line) => line.startsWith('xx-moon-2'))
    expect(of('xx-moon-2')).toBeDefined()
    expect(of('xx-moon-1,xx-moon-2')).toBe(of('xx-moon-2'))
  })

  it('of two regions that AWS does not have may not be the same', () => {
    const names = Array.from({ length: 15 }, (_, index) => `xx-${'abcdefghijklmno'[index]}-1`).join(',')
    expect(() => settingsOf(names, { engine: 'sim' })).toThrow(/^xx-\w-1 and xx-\w-1, which AWS does not have, would have the same public addresses;/)
    expect(settingsOf(names, { engine: 'sim', publicPool: '10.0.0.0/16' }).moreRegions).toHaveLength(15)
  })

  it('of a block that is given are divided, and what is left of them in each region has to be worth it', () => {
    expect(blocksOf('eu-west-1,us-west-2', { publicPool: '192.168.7.0/26' })).toEqual([
      'us-east-1 192.168.7.0/28', 'eu-west-1 192.168.7.16/28', 'us-west-2 192.168.7.32/28',
    ])
    expect(realmsOf(settingsOf('eu-west-1', { publicPool: '192.168.7.0/28' })).map((realm) => formatCidr(publicPoolOf(realm, '0000'))))
      .toEqual(['192.168.7.0/29', '192.168.7.8/29'])
    expect(() => settingsOf('eu-west-1,us-west-2', { publicPool: '192.168.7.0/28' }))
      .toThrow('--public-pool 192.168.7.0/28 is too small for 3 regions of at least 8 addresses')
  })

  const regionName = fc.oneof(
    fc.constantFrom(...KNOWN_REGIONS),
    fc.tuple(fc.constantFrom('eu', 'xx', 'us'), fc.constantFrom('moon', 'north-pole', 'west'), fc.integer({ min: 1, max: 9 }))
      .map(([area, place, number]) => `${area}-${place}-${number}`),
  )
  it('never overlap', () => {
    fc.assert(fc.property(
      fc.uniqueArray(regionName, { minLength: 1, maxLength: 16 }), fc.integer({ min: 0, max: 0xffff }),
      fc.constantFrom('sim', 'qemu'), fc.option(fc.integer({ min: 16, max: 24 }), { nil: undefined }),
      ([region = '', ...more], homeId, engine, prefix) => {
        // Of those that AWS does not have two may be refused.
        const others = prefix === undefined ? more.filter((name, index) => KNOWN_REGIONS.includes(name) || index === 0) : more
        const settings = readSettings({
          home: '/h', region, moreRegions: others.join(','), engine, ...(prefix === undefined ? {} : { publicPool: `10.0.0.0/${prefix}` }),
        }, {})
        const blocks = [...publicBlocksOf(settings, homeId.toString(16).padStart(4, '0')).values()]
        expect(blocks).toHaveLength(others.length + 1)
        for (const [index, block] of blocks.entries()) {
          for (const other of blocks.slice(index + 1)) expect(overlaps(block, other)).toBe(false)
        }
      },
    ))
  })
})
