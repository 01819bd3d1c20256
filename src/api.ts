import type { Clock } from './core/clock.ts'
import type { Logger } from './core/logger.ts'
import type { Random } from './core/random.ts'
import { createDispatch, supports, type DispatchOptions } from './dispatch.ts'
import { DEFAULT_ACCOUNT, ensureAccount } from './model/account.ts'
import { ensureVpcObjects } from './model/vpc-objects.ts'
import type { Credentials } from './credentials.ts'
import { permissiveAuthenticator, strictAuthenticator } from './protocol/authenticator.ts'
import { createApiServer, type ApiServer } from './protocol/server.ts'
import { Regions, type Region } from './regions.ts'

/** The home region, and how the endpoint is. */
export interface ApiOptions extends Region {
  /** Regions beside it. */
  moreRegions?: readonly Region[]
  clock: Clock
  random: Random
  log: Logger
  placement: DispatchOptions['placement']
  auth: 'strict' | 'permissive'
  /** The home's own key, which is good in strict mode. */
  credentials: Credentials
  /** Names besides loopback that the Host header may have. */
  allowedHosts?: string[]
}

/** The API of the cloud: makes the default account if need be, and serves all services. */
export async function createApi(options: ApiOptions): Promise<ApiServer> {
  const { store, clock, random, log, zones, placement, credentials, moreRegions = [] } = options
  await store.transaction('api.start', async (db) => {
    await ensureAccount(db, { clock, random, zones }, { accountId: DEFAULT_ACCOUNT, name: 'default' })
    // VPCs of a home that an earlier version made have no route tables yet.
    for (const vpc of await db.selectFrom('vpcs').selectAll().execute()) {
      await ensureVpcObjects({ db, random, nowMs: clock.now() }, vpc)
    }
    await db
      .insertInto('access_keys')
      .values({
        access_key_id: credentials.accessKeyId, account_id: credentials.accountId,
        secret: credentials.secretAccessKey, created_ms: clock.now(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  })
  const regions = new Regions(options, moreRegions, { clock, random })
  await regions.checkAddresses()
  await regions.ensureAccounts()
  const lookup = (accessKeyId: string) =>
    store.read(async (db) => {
      const row = await db
        .selectFrom('access_keys').selectAll().where('access_key_id', '=', accessKeyId).executeTakeFirst()
      if (!row) return undefined
      const { session_token: token, expires_ms: expiresMs } = row
      const session = token !== null && expiresMs !== null ? { token, expiresMs } : undefined
      return { secret: row.secret, account: row.account_id, session }
    })
  return createApiServer({
    authenticator:
      options.auth === 'permissive' ? permissiveAuthenticator : strictAuthenticator(clock, lookup),
    dispatch: createDispatch({ regions, clock, random, placement }),
    supports, clock, random, log,
    ...(options.allowedHosts ? { allowedHosts: options.allowedHosts } : {}),
  })
}
