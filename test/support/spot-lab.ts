import type { RequestSpotInstancesRequest, SpotInstanceRequest } from '@aws-sdk/client-ec2'
import { parseCidr } from '../../src/core/cidr.ts'
import { CrashError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Context } from '../../src/ec2/context.ts'
import { describeSpotInstanceRequests } from '../../src/ec2/describe-spot-instance-requests.ts'
import { requestSpotInstances } from '../../src/ec2/request-spot-instances.ts'
import { createRegional } from '../../src/market/index.ts'
import { moveInstance, STATE_REASONS, type InstanceState } from '../../src/model/instance.ts'
import { giveNotice, type InterruptionCause } from '../../src/model/spot-interruption.ts'
import { DEFAULT_SPOT_MARKET, type SpotMarketSettings } from '../../src/model/spot-market.ts'
import { wakeSpotRequest } from '../../src/model/spot-request.ts'
import { withCommitCrashPoints } from '../../src/store/crash-points.ts'
import type { WorkTable } from '../../src/store/schema.ts'
import { completeWork, postponeWork } from '../../src/store/work.ts'
import { HOST_ID, insertImage, NOW_MS, openTestStore, REGION, testContext, ZONES } from './rows.ts'

export const NOTICE_MS = 120_000

export interface SpotLabOptions extends Partial<SpotMarketSettings> {
  /** At which commit, counted from the first, the agent dies. */
  dieAt?: number
  /** What goes wrong at a crash point; nothing unless given. */
  failAt?: (point: string) => Error | undefined
}

export type SpotLab = Awaited<ReturnType<typeof openSpotLab>>

/** The regional part of an agent, which may die at any commit, and instances that come and go as their states say. */
export async function openSpotLab({ dieAt = 0, failAt = () => undefined, ...market }: SpotLabOptions = {}) {
  const { store, random } = await openTestStore()
  let nowMs = NOW_MS
  let hits = 0
  const own = withCommitCrashPoints(store, {
    hit(point) {
      if (++hits === dieAt) throw new CrashError(point)
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
    const kind = row.kind as 'market' | 'spot-request'
    try {
      const outcome = await regional.reconcilers[kind].reconcile(row.id)
      await own.transaction(outcome.observed?.name ?? 'work', async (db) => {
        await outcome.observed?.write(db)
        if (outcome.kind === 'again') await postponeWork(db, row, nowMs + outcome.afterMs, null)
        else await completeWork(db, row)
      })
    } catch (error) {
      if (!(error instanceof CrashError)) throw error
      await begin()
    }
  }

  /** Machines do at once what the states of their instances say. */
  async function followStates(): Promise<boolean> {
    const rows = await store.read((db) => db.selectFrom('instances').selectAll().where('state', 'in', ['pending', 'stopping', 'shutting-down']).execute())
    const next: Partial<Record<InstanceState, InstanceState>> = { pending: 'running', stopping: 'stopped', 'shutting-down': 'terminated' }
    for (const row of rows) {
      await run(({ db }) => moveInstance(db, row, next[row.state] ?? row.state, nowMs, row.state === 'pending' ? { hasRun: true } : {}))
    }
    return rows.length > 0
  }

  /** Works off what is due until then. */
  async function pass(ms = 0): Promise<void> {
    const untilMs = nowMs + ms
    for (let runs = 0; runs < 5000; runs++) {
      const [next] = await store.read((db) => db
        .selectFrom('work').selectAll().where('host_id', '=', HOST_ID).where('kind', 'in', ['market', 'spot-request']).orderBy('due_ms').limit(1).execute())
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

  await begin()
  const { image_id: imageId } = await run((context) => insertImage(context))
  const ask = (change: Partial<RequestSpotInstancesRequest> = {}) => run(async (context) =>
    ((await requestSpotInstances(context, { LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro' }, ...change })).SpotInstanceRequests ?? [])
      .map((each) => each.SpotInstanceRequestId ?? ''))
  const show = (ids: string[] = []): Promise<SpotInstanceRequest[]> =>
    run(async (context) => (await describeSpotInstanceRequests(context, { SpotInstanceRequestIds: ids })).SpotInstanceRequests ?? [])
  const states = async () => (await show()).map((each) => `${each.State} ${each.Status?.Code}`)
  const instances = () => store.read((db) => db.selectFrom('instances').selectAll().orderBy('created_ms').orderBy('instance_id').execute())
  const notice = async (cause: InterruptionCause) => {
    for (const row of (await instances()).filter((each) => each.state === 'running').slice(0, 1)) {
      await run(({ db }) => giveNotice(db, row, { cause, noticeMs: NOTICE_MS, nowMs }))
    }
  }
  const cap = (ppm: number) => run(async ({ db }) => {
    for (const zone of ZONES) {
      await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: ppm, updated_ms: nowMs, doc: '{}' })
        .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm: ppm })).execute()
    }
  })
  const pin = (zone: string, price_micro_usd: number) => run(async ({ db }) => {
    const values = { zone, instance_type: 't3.micro', at_ms: nowMs, price_micro_usd }
    await db.insertInto('spot_pins').values(values).onConflict((conflict) => conflict.columns(['zone', 'instance_type', 'at_ms']).doUpdateSet({ price_micro_usd })).execute()
  })
  /** The machines of all instances that run end by themselves. */
  const fail = () => run(async ({ db }) => {
    for (const row of await db.selectFrom('instances').selectAll().where('state', '=', 'running').execute()) {
      await moveInstance(db, row, 'stopping', nowMs, { stateReason: STATE_REASONS.hostFailure })
    }
  })
  const wakeAll = () => run(async ({ db }) => {
    for (const row of await db.selectFrom('spot_requests').select('request_id').execute()) await wakeSpotRequest(db, row.request_id, nowMs)
  })
  return { options, store, run, pass, ask, show, states, instances, notice, cap, pin, fail, wakeAll, hits: () => hits, now: () => nowMs }
}

function never(): never {
  throw new Error('a reconciler may not wait')
}
