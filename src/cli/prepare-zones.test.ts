import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { deleteSubnet } from '../ec2/delete-subnet.ts'
import { ensureHome } from '../home.ts'
import { sharesOf } from '../registration.ts'
import { readSettings } from '../settings.ts'
import { readCapacity, readZones, zoneLines } from './capacity.ts'
import { prepareZones } from './prepare-zones.ts'

let home: string
let test: TestStore
const random = seededRandom(1)

beforeEach(async () => {
  home = mkdtempSync(path.join(tmpdir(), 'hearth-zones-'))
  await ensureHome(home)
  writeFileSync(path.join(home, 'host.json'), JSON.stringify({ hostId: HOST_ID }))
  test = await openTestStore()
})
afterEach(() => rmSync(home, { recursive: true }))

const prepare = (zones: string) =>
  prepareZones(test.store, readSettings({ home, zones, hostsPerZone: 1, engine: 'sim' }, {}), { random, nowMs: NOW_MS })

const subnetsIn = (zone: string) => test.run(({ db }) =>
  db.selectFrom('subnets').select(['subnet_id', 'account_id', 'cidr', 'default_for_az']).where('zone', '=', zone).execute())

/** As the agents of those zones have registered them. */
async function insertHosts(zones: string, used: { vcpus: number; memoryMib: number }, hostsPerZone = 1): Promise<void> {
  await test.run(async ({ db, region }) => {
    await db.deleteFrom('hosts').where('host_id', '!=', HOST_ID).execute()
    for (const { hostId, nodeId, zone } of sharesOf(HOST_ID, readSettings({ zones, hostsPerZone, engine: 'sim' }, {})).hosts) {
      await db.insertInto('hosts').values({
        host_id: hostId, node_id: nodeId, zone, zone_revision: 0, epoch: 1, region, vcpus: 32, memory_mib: 8192,
        vcpus_used: used.vcpus, memory_mib_used: used.memoryMib, heartbeat_ms: NOW_MS, doc: '{}',
      }).execute()
    }
  })
}

describe('the zones of a home', () => {
  it('that are new have a default subnet in every default VPC, once', async () => {
    await prepare('a,b,c')
    const said = await prepare('a,b,c,d')
    expect(said.filter((line) => /^us-east-1d is new; its default subnet in vpc-\w+ is subnet-\w+, 172\.31\.48\.0\/20$/.test(line)).length).toBe(said.length)
    const made = await subnetsIn('us-east-1d')
    expect(made).toHaveLength(said.length)
    expect(made[0]).toMatchObject({ cidr: '172.31.48.0/20', default_for_az: 1 })
    // One that its owner has deleted does not come back.
    for (const { subnet_id: SubnetId, account_id: account } of made) await test.run((context) => deleteSubnet(context, { SubnetId }), account)
    expect(await prepare('a,b,c,d')).toEqual([])
    expect(await subnetsIn('us-east-1d')).toEqual([])
  })

  it('cannot be left out while they hold something', async () => {
    const { instance_id: id } = await test.run((context) => insertInstance(context, { zone: 'us-east-1c' }, {}))
    await expect(prepare('a,b')).rejects.toThrow(
      `us-east-1c still holds 1 instance (${id}). A zone can be left out when it is empty: bring the cloud up with --zones a,b,c, `
      + 'terminate, delete and release those, and then leave it out')
    await test.run(({ db }) => db.updateTable('instances').set({ state: 'terminated' }).execute())
    expect(await prepare('a,b')).toEqual([])
  })

  it('that are left out promise nothing more', async () => {
    await insertHosts('a,b', { vcpus: 0, memoryMib: 0 })
    expect(await prepare('a')).toEqual([])
    const [zone, ...others] = await test.run(({ db }) => readZones(db, HOST_ID))
    expect(zone).toMatchObject({ zone: 'us-east-1a', nominal: { vcpus: 32, memoryMib: 8192 } })
    expect(others).toEqual([])
  })
})

describe('a zone with fewer hosts than before', () => {
  it('says what goes over to its first one, and once only', async () => {
    await insertHosts('a,b', { vcpus: 0, memoryMib: 0 }, 2)
    const row = await test.run((context) => insertInstance(context, { zone: 'us-east-1a', host_id: `${HOST_ID}-a2` }))
    await test.run((context) => insertInstance(context, { zone: 'us-east-1a', host_id: `${HOST_ID}-a1` }))
    await test.run((context) => insertInstance(context, { zone: 'us-east-1a', host_id: `${HOST_ID}-a2`, state: 'terminated' }))
    const said = 'us-east-1a has fewer hosts than before (--hosts-per-zone 1); 1 instance of the others goes over to its first one, and runs on'
    expect(await prepare('a,b')).toEqual([said])
    await test.run(({ db }) => db.updateTable('instances').set({ placement_group_id: 'pg-1' }).where('instance_id', '=', row.instance_id).execute())
    expect(await prepare('a,b')).toEqual([`${said}. Members of spread and partition groups that are together there stay so until they are stopped`])
    // Its agent has taken over.
    await test.run(({ db }) => db.updateTable('instances').set({ host_id: `${HOST_ID}-a1` }).where('instance_id', '=', row.instance_id).execute())
    expect(await prepare('a,b')).toEqual([])
  })
})

describe('what a node promises', () => {
  it('is told for each zone and for all of them', async () => {
    await insertHosts('a,b', { vcpus: 4, memoryMib: 2048 })
    await test.run(({ db }) => db.insertInto('zones')
      .values({ zone: 'us-east-1b', state: 'impaired', revision: 1, power_cuts: 0, since_ms: NOW_MS, doc: '{}' }).execute())
    const zones = await test.run(({ db }) => readZones(db, HOST_ID))
    expect(zoneLines(zones)).toEqual([
      '  us-east-1a  4 of 32 vCPUs, 2 GiB of 8 GiB; 28 vCPUs, 6 GiB are left',
      '  us-east-1b  impaired (hearth zone heal us-east-1b brings it back); 4 of 32 vCPUs, 2 GiB of 8 GiB; 28 vCPUs, 6 GiB are left',
    ])
    expect(await test.run(({ db }) => readCapacity(db, HOST_ID))).toEqual({
      nominal: { vcpus: 64, memoryMib: 16_384 }, used: { vcpus: 8, memoryMib: 4096 }, left: { vcpus: 56, memoryMib: 12_288 },
    })
  })
})
