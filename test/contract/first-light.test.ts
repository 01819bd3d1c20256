import {
  DescribeImagesCommand, DescribeInstancesCommand, DescribeKeyPairsCommand, DescribeNetworkInterfacesCommand,
  DescribeSecurityGroupsCommand, DescribeSpotInstanceRequestsCommand, DescribeSpotPriceHistoryCommand, DescribeSubnetsCommand, DescribeTagsCommand,
  DescribeVolumesCommand, DescribeVpcsCommand,
  EC2Client, RunInstancesCommand, StartInstancesCommand, TerminateInstancesCommand,
} from '@aws-sdk/client-ec2'
import BetterSqlite3 from 'better-sqlite3'
import { Kysely, sql } from 'kysely'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApi } from '../../src/api.ts'
import { readPeriod } from '../../src/billing/bill.ts'
import { readBill } from '../../src/cli/bill.ts'
import { systemClock, waitFor } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import { openStore } from '../../src/main.ts'
import { DEFAULT_ACCOUNT } from '../../src/model/account.ts'
import { zonesOf } from '../../src/model/zone.ts'
import { publicPoolOf, readSettings, type Settings } from '../../src/settings.ts'
import { startSimulated } from '../../src/sim-main.ts'
import { migrate } from '../../src/store/migrations.ts'
import { postgresDialect } from '../../src/store/postgres-dialect.ts'
import type { Database } from '../../src/store/schema.ts'
import { TEST_KEY } from '../support/cloud.ts'
import { wholeFeed } from '../support/feed.ts'
import { hasPostgres, newDatabase } from '../support/postgres.ts'

// A cloud of the first version: instances running, stopped and terminated, what belongs to them, and
// what that version answered of all of it.

const fixture = (name: string) => readFileSync(path.join(import.meta.dirname, '..', 'fixtures', name), 'utf8')
const dump = fixture('first-light.sql')
const { ids, described } = JSON.parse(fixture('first-light.json')) as {
  ids: Record<'running' | 'stopped' | 'terminated' | 'other' | 'group', string>
  described: Record<keyof typeof DESCRIBES, object>
}

const DESCRIBES = {
  DescribeInstances: (ec2: EC2Client) => ec2.send(new DescribeInstancesCommand({})),
  DescribeVolumes: (ec2: EC2Client) => ec2.send(new DescribeVolumesCommand({})),
  DescribeKeyPairs: (ec2: EC2Client) => ec2.send(new DescribeKeyPairsCommand({})),
  DescribeSecurityGroups: (ec2: EC2Client) => ec2.send(new DescribeSecurityGroupsCommand({})),
  DescribeTags: (ec2: EC2Client) => ec2.send(new DescribeTagsCommand({})),
  DescribeNetworkInterfaces: (ec2: EC2Client) => ec2.send(new DescribeNetworkInterfacesCommand({})),
  DescribeImages: (ec2: EC2Client) => ec2.send(new DescribeImagesCommand({})),
  DescribeVpcs: (ec2: EC2Client) => ec2.send(new DescribeVpcsCommand({})),
  DescribeSubnets: (ec2: EC2Client) => ec2.send(new DescribeSubnetsCommand({})),
}

/** Puts the old cloud into the home, or beside it; answers the URL of its database where it has one. */
const kinds: { name: string; restore: (home: string) => Promise<string | undefined> }[] = [
  {
    name: 'SQLite',
    async restore(home) {
      const database = new BetterSqlite3(path.join(home, 'hearth.db'))
      database.exec(dump)
      database.close()
      return undefined
    },
  },
  ...(hasPostgres() ? [{
    name: 'PostgreSQL',
    async restore() {
      const url = await newDatabase('empty')
      const db = new Kysely<Database>({ dialect: postgresDialect({ url, session: {}, connections: 1 }) })
      await migrate(db, 'postgres', 1)
      for (const line of dump.split('\n').filter((each) => each.startsWith('INSERT') && !each.includes("'schema'"))) {
        await sql.raw(line).execute(db)
      }
      await db.destroy()
      return url
    },
  }] : []),
]

describe.each(kinds)('a cloud of the first version, on $name', ({ restore }) => {
  let settings: Settings
  beforeEach(async () => {
    const home = mkdtempSync(path.join(os.tmpdir(), 'hearth-first-'))
    writeFileSync(path.join(home, 'credentials.json'), JSON.stringify({ ...TEST_KEY, accountId: DEFAULT_ACCOUNT }))
    writeFileSync(path.join(home, 'host.json'), JSON.stringify({ hostId: 'h-00000000000000001' }))
    settings = readSettings({ engine: 'sim', instant: true, home, port: 0, database: await restore(home) }, {})
  })
  afterEach(() => rmSync(settings.home, { recursive: true, force: true }))

  const withClient = async (port: number, use: (ec2: EC2Client) => Promise<void>) => {
    const ec2 = new EC2Client({ endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', credentials: TEST_KEY, maxAttempts: 1 })
    await use(ec2).finally(() => ec2.destroy())
  }

  test('is described as before', async () => {
    const store = await openStore(settings)
    const api = await createApi({
      store, clock: systemClock, random: systemRandom, log: silentLogger, region: settings.region, zones: zonesOf(settings), placement: 'spread', auth: 'strict',
      publicPool: publicPoolOf(settings, '0000'), credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT },
    })
    await withClient(await api.listen(0, '127.0.0.1'), async (ec2) => {
      for (const [name, send] of Object.entries(DESCRIBES)) {
        const { $metadata: _, ...answer } = await send(ec2)
        // What was not told then may be told now; what was told is the same.
        expect({ [name]: JSON.parse(JSON.stringify(answer)) }).toMatchObject({ [name]: described[name as keyof typeof DESCRIBES] })
      }
    })
    await api.close()
    await store.close()
  })

  test('goes on', async () => {
    const onFatal = (error: unknown) => {
      throw error
    }
    const cloud = await startSimulated(settings, onFatal, silentLogger)
    await withClient(cloud.ports.port, async (ec2) => {
      const stateOf = async (id: string) => {
        const { Reservations } = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
        return Reservations?.[0]?.Instances?.[0]?.State?.Name
      }
      expect([await stateOf(ids.running), await stateOf(ids.other), await stateOf(ids.stopped)]).toEqual(['running', 'running', 'stopped'])
      await ec2.send(new StartInstancesCommand({ InstanceIds: [ids.stopped] }))
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [ids.other] }))
      expect([await stateOf(ids.stopped), await stateOf(ids.other)]).toEqual(['running', 'terminated'])
      const { Images } = await ec2.send(new DescribeImagesCommand({}))
      const launched = await ec2.send(new RunInstancesCommand({
        ImageId: Images?.[0]?.ImageId, InstanceType: 't3.micro', MinCount: 1, MaxCount: 1, KeyName: 'laptop', SecurityGroupIds: [ids.group],
      }))
      const id = launched.Instances?.[0]?.InstanceId ?? ''
      expect(await stateOf(id)).toBe('running')
    })
    await cloud.stop()
  })

  test('has a market from then on, meters what runs, and tells what happens', async () => {
    const cloud = await startSimulated(settings, (error) => { throw error }, silentLogger)
    const store = await openStore(settings)
    await withClient(cloud.ports.port, async (ec2) => {
      const { SpotPriceHistory } = await ec2.send(new DescribeSpotPriceHistoryCommand({
        InstanceTypes: ['t3.micro'], ProductDescriptions: ['Linux/UNIX'], StartTime: new Date(),
      }))
      expect(SpotPriceHistory?.map(({ AvailabilityZone }) => AvailabilityZone).toSorted()).toEqual(['us-east-1a', 'us-east-1b', 'us-east-1c'])
      for (const { SpotPrice } of SpotPriceHistory ?? []) expect(Number(SpotPrice)).toBeGreaterThan(0.001)
      const { SpotInstanceRequests } = await ec2.send(new DescribeSpotInstanceRequestsCommand({}))
      expect(SpotInstanceRequests).toEqual([])
      const nowMs = systemClock.now()
      const bill = () => readBill(store, settings.region, { by: 'instance', period: readPeriod({}, nowMs) }, nowMs)
      await waitFor(systemClock, 'the meters', 10_000, async () => (await bill()).lines.length > 0)
      expect((await bill()).lines.map(({ key, instance, isRunning }) => [key, instance?.lifecycle, isRunning]).toSorted())
        .toEqual([[ids.running, 'on-demand', true], [ids.other, 'on-demand', true]].toSorted())
      await ec2.send(new TerminateInstancesCommand({ InstanceIds: [ids.other] }))
      expect((await bill()).lines.find(({ key }) => key === ids.other)?.isRunning).toBe(false)
      const told = await wholeFeed(store)
      expect(told.map((event) => JSON.parse(event.detail) as object).filter((detail) => 'state' in detail)).toEqual([
        { 'instance-id': ids.other, state: 'shutting-down' }, { 'instance-id': ids.other, state: 'terminated' },
      ])
    })
    await store.close()
    await cloud.stop()
  })

  test('has its instances on hosts of their zones from then on, and counts them there', async () => {
    const store = await openStore(settings)
    const places = () => store.read(async (db) => ({
      instances: await db.selectFrom('instances').select(['instance_id', 'host_id', 'node_id']).where('state', '<>', 'terminated').execute(),
      volumes: await db.selectFrom('volumes').select('host_id').execute(),
      open: await db.selectFrom('layers').select('host_id').where('state', '=', 'open').execute(),
      sealed: await db.selectFrom('layers').select('host_id').where('state', '=', 'sealed').execute(),
      used: await db.selectFrom('hosts').select(['host_id', 'vcpus_used', 'memory_mib_used']).where('vcpus_used', '>', 0).execute(),
    }))
    const before = await places()
    const [node] = before.used
    expect(before.used).toHaveLength(1)
    // Down and up again, with more hosts in each zone and with fewer.
    for (const hostsPerZone of [2, 1, 3]) {
      const cloud = await startSimulated({ ...settings, hostsPerZone }, (error) => { throw error }, silentLogger)
      await cloud.stop()
      const after = await places()
      const isFirst = /^h-00000000000000001-[abc]1$/
      for (const row of [...after.instances, ...after.volumes, ...after.open]) expect(row.host_id).toMatch(isFirst)
      expect(new Set(after.instances.map((row) => row.node_id))).toEqual(new Set(['h-00000000000000001']))
      expect(new Set(after.sealed.map((row) => row.host_id))).toEqual(new Set(['h-00000000000000001']))
      const sum = (of: 'vcpus_used' | 'memory_mib_used') => after.used.reduce((total, row) => total + row[of], 0)
      expect([sum('vcpus_used'), sum('memory_mib_used')]).toEqual([node?.vcpus_used, node?.memory_mib_used])
      for (const row of after.used) expect(row.host_id).toMatch(isFirst)
      expect(await store.read((db) => db.selectFrom('hosts').select('host_id').execute())).toHaveLength(1 + 3 * hostsPerZone)
    }
    await store.close()
  })
})
