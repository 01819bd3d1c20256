import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HOST_ID, insertInstance, insertVolume, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import { seededRandom } from '../core/random.ts'
import { deleteSubnet } from '../ec2/delete-subnet.ts'
import { ensureHome, readHosts } from '../home.ts'
import { hostsInUse } from '../model/zone-hosts.ts'
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

const prepare = (zones: string, hostsPerZone = 1) =>
  prepareZones(test.store, readSettings({ home, zones, hostsPerZone, engine: 'sim' }, {}), { random, nowMs: NOW_MS })

const subnetsIn = (zone: string) => test.run(({ db }) =>
  db.selectFrom('subnets').select(['subnet_id', 'account_id', 'cidr', 'default_for_az']).where('zone', '=', zone).execute())

async function insertHosts(): Promise<string[]> {
  const { hosts = {} } = (await readHosts(home)) ?? {}
  await test.run(async ({ db, region }) => {
    for (const [zone, ids] of Object.entries(hosts)) {
      for (const hostId of ids) {
        await db.insertInto('hosts').values({
          host_id: hostId, node_id: HOST_ID, zone, zone_revision: 0, epoch: 1, region, vcpus: 32, memory_mib: 8192,
          vcpus_used: 4, memory_mib_used: 2048, heartbeat_ms: NOW_MS, doc: '{}',
        }).execute()
      }
    }
    await db.updateTable('hosts').set({ vcpus: 0, memory_mib: 0 }).where('host_id', '=', HOST_ID).execute()
  })
  return Object.values(hosts).flat()
}

describe('the zones of a home', () => {
  it('get hosts of their own before anything runs', async () => {
    expect(await prepare('a,b', 2)).toEqual([])
    expect(await readHosts(home)).toEqual({
      nodeId: HOST_ID, hosts: { 'us-east-1a': [expect.any(String), expect.any(String)], 'us-east-1b': [expect.any(String), expect.any(String)] },
    })
  })

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

  it('that are left out promise nothing more, and their hosts are the same when they come back', async () => {
    await prepare('a,b')
    const ids = await insertHosts()
    await test.run(({ db }) => db.updateTable('hosts').set({ vcpus_used: 0, memory_mib_used: 0 }).execute())
    await prepare('a')
    const [zone, ...others] = await test.run(({ db }) => readZones(db, HOST_ID))
    expect(zone).toMatchObject({ zone: 'us-east-1a', nominal: { vcpus: 32, memoryMib: 8192 } })
    expect(others).toEqual([])
    await prepare('a,b')
    expect(Object.values((await readHosts(home))?.hosts ?? {}).flat()).toEqual(ids)
  })
})

describe('a host that is wanted no more', () => {
  it('has an agent as long as it holds a volume', async () => {
    await prepare('a', 2)
    const [first = '', second = ''] = await insertHosts()
    const inUse = () => test.run(({ db }) => hostsInUse(db, [first, second], 1))
    expect(await inUse()).toEqual([{ hostId: first, isWanted: true }])
    await test.run(async (context) => {
      const { volume_id: id } = await insertVolume(context, await insertInstance(context, {}, {}))
      await context.db.updateTable('volumes').set({ host_id: second }).where('volume_id', '=', id).execute()
    })
    expect(await inUse()).toEqual([{ hostId: first, isWanted: true }, { hostId: second, isWanted: false }])
  })
})

describe('what a node promises', () => {
  it('is told for each zone and for all of them', async () => {
    await prepare('a,b')
    await insertHosts()
    await test.run(({ db }) => db.insertInto('zones')
      .values({ zone: 'us-east-1b', state: 'impaired', revision: 1, power_cuts: 0, since_ms: NOW_MS, doc: '{}' }).execute())
    const zones = await test.run(({ db }) => readZones(db, HOST_ID))
    expect(zoneLines(zones)).toEqual([
      '  us-east-1a  4 of 32 vCPUs, 2 GiB of 8 GiB; 28 vCPUs, 6 GiB are left',
      '  us-east-1b  impaired; 4 of 32 vCPUs, 2 GiB of 8 GiB; 28 vCPUs, 6 GiB are left',
    ])
    expect(await test.run(({ db }) => readCapacity(db, HOST_ID))).toEqual({
      nominal: { vcpus: 64, memoryMib: 16_384 }, used: { vcpus: 8, memoryMib: 4096 }, left: { vcpus: 56, memoryMib: 12_288 },
    })
  })
})
