import { EC2Client, type EC2ClientConfig } from '@aws-sdk/client-ec2'
import { STSClient } from '@aws-sdk/client-sts'
import { createApi } from '../../src/api.ts'
import { parseCidr } from '../../src/core/cidr.ts'
import { systemClock, type Clock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { systemRandom } from '../../src/core/random.ts'
import type { ImportFiles } from '../../src/disk-formats/import-folder.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from '../../src/model/account.ts'
import { zonesOf } from '../../src/model/zone.ts'
import { readSettings } from '../../src/settings.ts'
import { createSimHost, createSimNode, INSTANT, type SimHost } from '../../src/sim-host.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { openTestPostgres } from './postgres.ts'
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
  /** Files that can be imported; none by default. */
  imports?: ImportFiles
}

/** A new database of the kind that the vitest project is for: SQLite in memory, or PostgreSQL. */
function openCloudStore(): Promise<Store> {
  if (process.env.HEARTH_TEST_DATABASE === 'postgres') return openTestPostgres()
  return openSqlite({ file: ':memory:', durability: 'normal' })
}

export async function startTestCloud(options: TestCloudOptions = {}): Promise<TestCloud> {
  const ambient = { clock: options.clock ?? systemClock, random: systemRandom, log: silentLogger }
  const settings = readSettings({ engine: 'sim', instant: true, home: '/nowhere', overcommitVcpus: 1, overcommitMemory: 1, hostsPerZone: options.hostsPerZone ?? 1 }, {})
  const store = await openCloudStore()
  const host = createSimHost(ambient, INSTANT)
  const fatal: unknown[] = []
  const { agent } = createSimNode({
    ...ambient, settings, store, host, delays: INSTANT, onFatal: (error) => void fatal.push(error),
    ...(options.capacity ? { capacity: options.capacity } : {}),
    ...(options.imports ? { imports: options.imports } : {}),
  })
  const settle = async () => {
    await agent.settled(10_000)
    if (fatal.length > 0) throw fatal[0]
  }
  const api = await createApi({
    ...ambient, store, region: settings.region, zones: zonesOf(settings), placement: settings.placement, auth: options.auth ?? 'strict', settle,
    publicPool: parseCidr('198.18.0.0/15') ?? { base: 0, prefix: 0 },
    credentials: { ...TEST_KEY, accountId: DEFAULT_ACCOUNT },
  })
  await agent.start()
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
    endpoint, ec2, sts, store, host, settle, client,
    async close() {
      ec2.destroy()
      sts.destroy()
      await api.close()
      await agent.stop()
      await store.close()
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
