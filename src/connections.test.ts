import { describe, expect, it } from 'vitest'
import { connectionsOf, mostConnections } from './connections.ts'

const THREE = ['a', 'b', 'c']
const SIX = [...THREE, 'd', 'e', 'f']
const others = (count: number) => Array.from({ length: count }, (_each, index) => `eu-west-${index + 1}`)
const most = (zones: string[], regions: number, engine: 'auto' | 'sim' = 'auto') =>
  mostConnections({ zones, moreRegions: others(regions - 1), engine })

/** What a PostgreSQL that nobody has configured allows, beside three for its superuser; copies between regions want some, too. */
const BY_DEFAULT = 97

describe('connections to a PostgreSQL', () => {
  it('are few enough for one that nobody has configured, with up to four regions of three zones, or two of six', () => {
    expect([1, 2, 3, 4].map((regions) => most(THREE, regions))).toEqual([33, 66, 87, 92])
    expect([1, 2].map((regions) => most(SIX, regions))).toEqual([48, 82])
  })

  it('are as many as ever for the API of up to three regions, with fewer for the agents of three', () => {
    const inEach = (regions: number) => connectionsOf({ zones: THREE, regionShare: 1 / regions })
    expect([inEach(1), inEach(2)]).toEqual([{ api: 10, agents: 4, other: 2 }, { api: 10, agents: 4, other: 2 }])
    expect(inEach(3)).toMatchObject({ api: 10, agents: 3 })
    expect(inEach(4)).toMatchObject({ api: 4, agents: 3 })
  })

  it('are never fewer than two writers and a reader need, and more than the server allows then', () => {
    expect(connectionsOf({ zones: SIX, regionShare: 1 / 16 })).toEqual({ api: 3, agents: 3, other: 2 })
    expect(most(THREE, 5)).toBeGreaterThan(BY_DEFAULT)
  })

  it('are those of one process for each region of a simulated cloud', () => {
    expect(most(THREE, 1, 'sim')).toBe(13)
  })
})
