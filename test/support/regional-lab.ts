import { parseCidr } from '../../src/core/cidr.ts'
import { CrashError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Context } from '../../src/ec2/context.ts'
import { createRegional } from '../../src/market/index.ts'
import { moveInstance, type InstanceDoc, type InstanceState } from '../../src/model/instance.ts'
import { DEFAULT_SPOT_MARKET, wakeMarket, type SpotMarketSettings } from '../../src/model/spot-market.ts'
import { withCommitCrashPoints } from '../../src/store/crash-points.ts'
import type { WorkTable } from '../../src/store/schema.ts'
import { completeWork, postponeWork } from '../../src/store/work.ts'
import { HOST_ID, insertImage, NOW_MS, openTestStore, REGION, testContext, ZONES } from './rows.ts'

/** What of the regional part's work a lab works off. */
export type RegionalKind = 'market' | 'spot-request' | 'fleet'

export interface RegionalLabOptions {
  kinds: readonly RegionalKind[]
  market?: Partial<SpotMarketSettings>
  /** At which commit, counted from the first, the agent dies; 0 for never. */
  dieAt?: number | undefined
  /** Only commits of this work count; those of all, and of the beginning, unless given. */
  diesIn?: RegionalKind | undefined
  /** What goes wrong at a crash point; nothing unless given. */
  failAt?: ((point: string) => Error | undefined) | undefined
}

/** The regional part of an agent, which may die at any commit, a clock of its own, and instances that come and go as their states say. */
export async function openRegionalLab({ kinds, market = {}, dieAt = 0, diesIn, failAt = () => undefined }: RegionalLabOptions) {
  const { store, random } = await openTestStore()
  let nowMs = NOW_MS
  let hits = 0
  let atWork: string | undefined
  const own = withCommitCrashPoints(store, {
    hit(point) {
      if ((diesIn === undefined || diesIn === atWork) && ++hits === dieAt) throw new CrashError(point)
      const error = failAt(point)
      if (error) throw error
    },
  })
  const clock = { now: () => nowMs, after: never, soon: never, sleep: never }
  const options = {
    region: REGION, zones: ZONES, placement: 'spread' as const, publicPool: parseCidr('198.18.0.0/24') ?? { base: 0, prefix: 24 },
    settings: { ...DEFAULT_SPOT_MARKET, background: false, ...market }, store: own, clock, random, log: silentLogger, delivery: { post: never, append: never },
  }
  let regional = createRegional(options)
  const run = <T>(body: (context: Context) => Promise<T>) => store.transaction('test', (db) => body({ ...testContext(db, random), nowMs }))

  async function begin(): Promise<void> {
    regional = createRegional(options)
    await regional.begin().catch((error: unknown) => {
      if (!(error instanceof CrashError)) throw error
      return begin()
    })
  }

  async function work(row: WorkTable): Promise<void> {
    atWork = row.kind
    try {
      const outcome = await regional.reconcilers[row.kind as RegionalKind].reconcile(row.id)
      await own.transaction(outcome.observed?.name ?? 'work', async (db) => {
        await outcome.observed?.write(db)
        if (outcome.kind === 'again') await postponeWork(db, row, nowMs + outcome.afterMs, null)
        else await completeWork(db, row)
      })
    } catch (error) {
      if (!(error instanceof CrashError)) throw error
      await begin()
    } finally {
      atWork = undefined
    }
  }

  /** Machines do at once what the states of their instances say, and guests are up as soon as they run. */
  async function followStates(): Promise<boolean> {
    const rows = await store.read((db) => db.selectFrom('instances').selectAll().where('state', 'in', ['pending', 'stopping', 'shutting-down']).execute())
    const next: Partial<Record<InstanceState, InstanceState>> = { pending: 'running', stopping: 'stopped', 'shutting-down': 'terminated' }
    for (const row of rows) {
      const up: Partial<InstanceDoc> = row.state === 'pending' ? { hasRun: true, contactMs: nowMs } : {}
      await run(({ db }) => moveInstance(db, row, next[row.state] ?? row.state, nowMs, up))
    }
    return rows.length > 0
  }

  /** Works off what is due until then. @throws Error where that goes round in circles. */
  async function pass(ms = 0): Promise<void> {
    const untilMs = nowMs + ms
    for (let runs = 0; runs < 5000; runs++) {
      const [next] = await store.read((db) => db
        .selectFrom('work').selectAll().where('host_id', '=', HOST_ID).where('kind', 'in', kinds).orderBy('due_ms').limit(1).execute())
      if (next && next.due_ms <= nowMs) await work(next)
      else if (await followStates()) continue
      else if (next && next.due_ms <= untilMs) nowMs = next.due_ms
      else {
        nowMs = untilMs
        return
      }
    }
    throw new Error('goes round in circles')
  }

  const instances = () => store.read((db) => db.selectFrom('instances').selectAll().orderBy('created_ms').orderBy('instance_id').execute())
  /** What spot may have of some zones, parts per million; the market is told of it as by `hearth market set-supply`. */
  const cap = (ppm: number, zones: readonly string[] = ZONES) => run(async ({ db }) => {
    for (const zone of zones) {
      await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: ppm, updated_ms: nowMs, doc: '{}' })
        .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm: ppm })).execute()
    }
    await wakeMarket(db, nowMs)
  })
  await begin()
  const { image_id: imageId } = await run((context) => insertImage(context))
  return { options, store, run, begin, pass, instances, cap, imageId, hits: () => hits, now: () => nowMs }
}

function never(): never {
  throw new Error('a reconciler may not wait')
}
