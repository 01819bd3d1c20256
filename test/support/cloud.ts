import { EC2Client, type EC2ClientConfig } from '@aws-sdk/client-ec2'
import { STSClient } from '@aws-sdk/client-sts'
import { createApi } from '../../src/api.ts'
import { systemClock, type Clock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { ImportFiles } from '../../src/disk-formats/import-folder.ts'
import type { SimWorld } from '../../src/hypervisor/sim-world.ts'
import { regionOf } from '../../src/main.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from '../../src/model/account.ts'
import { zonesOf } from '../../src/model/zone.ts'
import { realmsOf, type Realm } from '../../src/realm.ts'
import { readSettings } from '../../src/settings.ts'
import { createSimHost, createSimNode, INSTANT, type SimDelays, type SimHost } from '../../src/sim-host.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { newDatabase, openTestPostgres } from './postgres.ts'
import { OTHER_ACCOUNT } from './rows.ts'

export const TEST_KEY = { accessKeyId: 'AKIATESTTESTTESTTEST', secretAccessKey: 'test-secret' }
/** The key of the second account that a test cloud has as soon as a client of it calls. */
const OTHER_KEY = { accessKeyId: 'AKIATESTTESTTESTOTHR', secretAccessKey: 'other-secret' }

/** A whole simulated cloud behind a real port, `--instant`, with the real SDK's clients for it. */
export interface TestCloud {
  endpoint: string
  ec2: EC2Client
  sts: STSClient
  store: Store
  host: SimHost
  /** By name, us-east-1 too. */
  regions: ReadonlyMap<string, TestRegion>
  settle: () => Promise<void>
  /** Another client; of the account OTHER_ACCOUNT where that is named. */
  client: (overrides?: EC2ClientConfig & { account?: typeof OTHER_ACCOUNT }) => EC2Client
  close: () => Promise<void>
}

export interface TestCloudOptions {
  auth?: 'strict' | 'permissive'
  /** The system's by default. */
  clock?: Clock
  /** Nominal capacity of each zone; endless by default. */
  capacity?: { cpus: number; memoryMib: number; guestLimits: { vcpus: number; memoryMib: number } }
  /** One by default. */
  hostsPerZone?: number
  /** How long things take; no time by default. */
  delays?: SimDelays
  /** Files that can be imported; none by default. */
  imports?: ImportFiles
  /** From the notice to the end of a spot instance; two minutes by default. */
  spotNoticeMs?: number
  /** Regions beside us-east-1; none by default. */
  moreRegions?: string[]
}

/** One region of a test cloud. */
export interface TestRegion {
  store: Store
  host: SimHost
}

/** New databases of the kind that the vitest project is for: SQLite in memory, or schemas of a PostgreSQL, the first its usual one. */
async function openCloudStores(realms: readonly Realm[]): Promise<Store[]> {
  if (process.env.HEARTH_TEST_DATABASE !== 'postgres') {
    return Promise.all(realms.map(() => openSqlite({ file: ':memory:', durability: 'normal' })))
  }
  const url = await newDatabase()
  const schemaOf = ({ region, isHome }: Realm) => (isHome ? null : `hearth_${region.replaceAll('-', '_')}`)
  return Promise.all(realms.map((realm) => openTestPostgres(url, 'normal', schemaOf(realm))))
}

export async function startTestCloud(options: TestCloudOptions = {}): Promise<TestCloud> {
  const ambient = { clock: options.clock ?? systemClock, random: systemRandom, log: silentLogger }
  const settings = readSettings({
    engine: 'sim', instant: true, home: '/nowhere', overcommitVcpus: 1, overcommitMemory: 1, hostsPerZone: options.hostsPerZone ?? 1,
    moreRegions: (options.moreRegions ?? []).join(','),
  }, {})
  const realms = realmsOf({ ...settings, spotNoticeMs: options.spotNoticeMs ?? settings.spotNoticeMs })
  const stores = await openCloudStores(realms)
  const regions = new Map<string, TestRegion & { world: SimWorld }>()
  const fatal: unknown[] = []
  const [home, ...others] = realms.map((realm, index) => {
    const store = stores[index]
    if (!store) throw new Error(`${realm.region} has no store`)
    const host = createSimHost(ambient, INSTANT)
    regions.set(realm.region, { store, host, world: host.world })
    const { agent } = createSimNode({
      ...ambient, settings: realm, store, host, delays: options.delays ?? INSTANT, onFatal: (error) => void fatal.push(error), regions,
      ...(options.capacity ? { capacity: options.capacity } : {}),
      ...(options.imports ? { imports: options.imports } : {}),
    })
    const settle = async () => {
      await agent.settled(10_000)
      if (fatal.length > 0) throw fatal[0]
    }
    return { agent, host, store, settle, region: { ...regionOf(realm, store), settle } }
  })
  if (!home) throw new Error('a cloud has one region at least')
  const { store, host } = home
  const api = await createApi({
    ...ambient, ...home.region, moreRegions: others.map(({ region }) => region), placement: settings.placement, auth: options.auth ?? 'strict',
    credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT },
  })
  const all = [home, ...others]
  const settle = async () => {
    for (const each of all) await each.settle()
  }
  for (const { agent } of all) await agent.start()
  await settle()
  const endpoint = `http://127.0.0.1:${await api.listen(0, '127.0.0.1')}`
  let added: Promise<void> | undefined
  const otherKey = async () => {
    await (added ??= addOtherAccount(store, zonesOf(settings)))
    return OTHER_KEY
  }
  const client: TestCloud['client'] = ({ account, ...overrides } = {}) =>
    new EC2Client({
      endpoint, region: 'us-east-1', maxAttempts: 1, credentials: account === OTHER_ACCOUNT ? otherKey : TEST_KEY, ...overrides,
    })
  const ec2 = client()
  const sts = new STSClient({ endpoint, region: 'us-east-1', credentials: TEST_KEY, maxAttempts: 1 })
  return {
    endpoint, ec2, sts, store, host, regions, settle, client,
    async close() {
      ec2.destroy()
      sts.destroy()
      await api.close()
      for (const each of all) {
        await each.agent.stop()
        await each.store.close()
      }
    },
  }
}

async function addOtherAccount(store: Store, zones: readonly string[]): Promise<void> {
  const ambient = { clock: systemClock, random: systemRandom, zones }
  await store.transaction('test.account', async (db) => {
    await ensureAccount(db, ambient, { accountId: OTHER_ACCOUNT, name: 'second' })
    await db
      .insertInto('access_keys')
      .values({
        access_key_id: OTHER_KEY.accessKeyId, account_id: OTHER_ACCOUNT, secret: OTHER_KEY.secretAccessKey,
        created_ms: systemClock.now(), session_token: null, expires_ms: null, principal: null,
      })
      .execute()
  })
}

/** The AMI that simulated clouds have. */
export async function tinyImageId(cloud: TestCloud): Promise<string> {
  const row = await cloud.store.read((db) => db.selectFrom('images').select('image_id').executeTakeFirstOrThrow())
  return row.image_id
}
