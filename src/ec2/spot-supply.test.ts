import { beforeEach, afterEach, describe, expect, it } from 'vitest'
import { openCapacityLab, type CapacityLab } from '../../test/support/capacity-lab.ts'
import { NOW_MS, REGION } from '../../test/support/rows.ts'
import { ensureMarket } from '../model/spot-market.ts'
import { moveZone } from '../model/zone.ts'
import { seededRandom } from '../core/random.ts'
import { createCapacityReservation } from './capacity-reservations-create.ts'
import { allocateHosts } from './dedicated-hosts-allocate.ts'
import { leftForSpot, loadSpotSupplies, spotRoom, type ZoneSupply } from './spot-supply.ts'

const ZONE = 'us-east-1a'
const OTHER = 'us-east-1b'
/** Two vCPUs and 8 GiB: a tenth of a zone's vCPUs, a fifth of its memory. */
const TYPE = 'm5.large'
const SIZE = { vcpus: 2, memoryMib: 8192 }
const PART = 200_000

let lab: CapacityLab

beforeEach(async () => {
  lab = await openCapacityLab({ hosts: { h1: ZONE, h2: ZONE, h3: OTHER }, vcpus: 10, memoryMib: 20_480 })
  await lab.store.transaction('test', (db) =>
    ensureMarket(db, { region: REGION, random: seededRandom(1), nowMs: NOW_MS, settings: undefined }))
  await setBuffer(0)
})

afterEach(async () => {
  expect(await lab.problems()).toEqual([])
  await lab.close()
})

async function setBuffer(bufferPpm: number): Promise<void> {
  await lab.store.transaction('test', async (db) => {
    const row = await db.selectFrom('spot_market').selectAll().executeTakeFirstOrThrow()
    await db.updateTable('spot_market').set({ doc: JSON.stringify({ ...JSON.parse(row.doc), bufferPpm }) }).execute()
  })
}

async function supplyOf(zone = ZONE): Promise<ZoneSupply> {
  const supply = (await lab.store.read((db) => loadSpotSupplies(db, REGION))).get(zone)
  if (!supply) throw new Error(`no supply of ${zone}`)
  return supply
}

/** Launched instances that the market knows for its own from now on. */
async function onSpot(count: number, input: object = {}): Promise<string[]> {
  const ids = await lab.launch({ InstanceType: TYPE, MinCount: count, MaxCount: count, Placement: { AvailabilityZone: ZONE }, ...input })
  await lab.store.transaction('test', (db) => db.updateTable('instances').set({ lifecycle: 'spot' }).where('instance_id', 'in', ids).execute())
  return ids
}

describe('the supply of a zone', () => {
  it('is all of a zone that nobody uses', async () => {
    expect(await supplyOf()).toEqual({ zone: ZONE, vcpus: 20, memoryMib: 40_960, supplyUnits: 1_000_000, heldUnits: 0, keptUnits: 0 })
  })

  it('is what instances on demand leave, of vCPUs or memory whichever is less', async () => {
    await lab.launch({ InstanceType: TYPE, Placement: { AvailabilityZone: ZONE } })
    expect((await supplyOf()).supplyUnits).toBe(1_000_000 - PART)
    expect((await supplyOf(OTHER)).supplyUnits).toBe(1_000_000)
  })

  it('is not less for spot instances, which hold parts of it', async () => {
    await onSpot(2)
    const supply = await supplyOf()
    expect(supply).toMatchObject({ supplyUnits: 1_000_000, heldUnits: 2 * PART, keptUnits: 2 * PART })
    expect(spotRoom(supply, SIZE)).toBe(3)
  })

  it('leaves a buffer free', async () => {
    await setBuffer(50_000)
    expect((await supplyOf()).supplyUnits).toBe(950_000)
    await lab.launch({ InstanceType: TYPE, Placement: { AvailabilityZone: ZONE } })
    expect((await supplyOf()).supplyUnits).toBe(950_000 - PART)
  })

  it('counts a reservation once, whether its places are used or not', async () => {
    await lab.call(createCapacityReservation, {
      InstanceType: TYPE, InstancePlatform: 'Linux/UNIX', AvailabilityZone: ZONE, InstanceCount: 2,
    })
    expect((await supplyOf()).supplyUnits).toBe(1_000_000 - 2 * PART)
    await lab.launch({ InstanceType: TYPE, Placement: { AvailabilityZone: ZONE } })
    expect((await supplyOf()).supplyUnits).toBe(1_000_000 - 2 * PART)
  })

  it('has nothing of what spot instances hold within a reservation', async () => {
    await lab.call(createCapacityReservation, {
      InstanceType: TYPE, InstancePlatform: 'Linux/UNIX', AvailabilityZone: ZONE, InstanceCount: 2,
    })
    await onSpot(1)
    expect(await supplyOf()).toMatchObject({ supplyUnits: 1_000_000 - 2 * PART, heldUnits: 0 })
  })

  it('has nothing of a dedicated host, nor of spot instances that run there', async () => {
    await lab.store.transaction('test', (db) => db.updateTable('hosts').set({ vcpus: 200, memory_mib: 800_000 }).where('host_id', '=', 'h1').execute())
    const dedicated = { InstanceType: TYPE, AvailabilityZone: ZONE, Quantity: 1, AutoPlacement: 'on' as const }
    await lab.call(allocateHosts, dedicated)
    const [vcpus = 0, memoryMib = 0] = ((await lab.used()).h1 ?? '').split(' ').map(Number)
    expect(vcpus).toBeGreaterThan(0)
    const without = { supplyUnits: Math.floor(Math.min(1 - vcpus / 210, 1 - memoryMib / 820_480) * 1_000_000), heldUnits: 0 }
    expect(await supplyOf()).toMatchObject(without)
    await onSpot(1, { Placement: { AvailabilityZone: ZONE, Tenancy: 'host' } })
    expect(await supplyOf()).toMatchObject(without)
  })

  it('is at most what set-supply allows, and nothing in a zone that has failed', async () => {
    await lab.store.transaction('test', (db) =>
      db.insertInto('spot_zones').values({ zone: ZONE, clearing_ppm: 0, supply_cap_ppm: 300_000, updated_ms: NOW_MS, doc: '{}' }).execute())
    expect((await supplyOf()).supplyUnits).toBe(300_000)
    expect(spotRoom(await supplyOf(), SIZE)).toBe(1)
    await lab.store.transaction('test', (db) => moveZone({ db, nowMs: NOW_MS }, ZONE, 'impaired'))
    expect((await supplyOf()).supplyUnits).toBe(0)
  })

  it('is held by an instance until that has ended, and not kept by one on its way out', async () => {
    const [id = ''] = await onSpot(2)
    await lab.store.transaction('test', (db) => db.updateTable('instances').set({ state: 'shutting-down' }).where('instance_id', '=', id).execute())
    expect(await supplyOf()).toMatchObject({ heldUnits: 2 * PART, keptUnits: PART })
  })

  it('is never negative', () => {
    const left = leftForSpot({ total: { vcpus: 0, memoryMib: 0 }, used: { vcpus: 2, memoryMib: 2 }, onSpot: { vcpus: 0, memoryMib: 0 }, bufferPpm: 0 })
    expect(left).toBe(0)
    expect(spotRoom(undefined, SIZE)).toBe(0)
  })
})
