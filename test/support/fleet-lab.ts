import type { CreateFleetRequest, FleetLaunchTemplateOverridesRequest } from '@aws-sdk/client-ec2'
import { parseCidr } from '../../src/core/cidr.ts'
import { CrashError } from '../../src/core/errors.ts'
import { silentLogger } from '../../src/core/logger.ts'
import type { Context } from '../../src/ec2/context.ts'
import { createFleet } from '../../src/ec2/create-fleet.ts'
import { createLaunchTemplate } from '../../src/ec2/launch-templates.ts'
import { createRegional } from '../../src/market/index.ts'
import { fleetDoc } from '../../src/model/fleet.ts'
import { changeInstanceDoc, moveInstance, type InstanceDoc, type InstanceState } from '../../src/model/instance.ts'
import { giveNotice, recommendRebalance, type InterruptionCause } from '../../src/model/spot-interruption.ts'
import { DEFAULT_SPOT_MARKET, wakeMarket } from '../../src/model/spot-market.ts'
import { withCommitCrashPoints } from '../../src/store/crash-points.ts'
import type { InstanceTable, WorkTable } from '../../src/store/schema.ts'
import { completeWork, postponeWork } from '../../src/store/work.ts'
import { HOST_ID, insertImage, NOW_MS, openTestStore, REGION, testContext, ZONES } from './rows.ts'

const KINDS = ['market', 'spot-request', 'fleet'] as const

/** The regional part of an agent, which may die at any commit, a clock of its own, and instances that come and go as their states say. */
export async function openFleetLab(dieAt = 0) {
  const { store, random } = await openTestStore()
  let nowMs = NOW_MS
  let hits = 0
  /** Deaths are counted while fleets are at work: of the others there are tests of their own. */
  let kind: string | undefined
  const own = withCommitCrashPoints(store, {
    hit(point) {
      if (kind === 'fleet' && ++hits === dieAt) throw new CrashError(point)
    },
  })
  const clock = { now: () => nowMs, after: never, soon: never, sleep: never }
  const options = {
    region: REGION, zones: ZONES, placement: 'spread' as const, publicPool: parseCidr('198.18.0.0/24') ?? { base: 0, prefix: 24 },
    settings: { ...DEFAULT_SPOT_MARKET, background: false }, store: own, clock, random, log: silentLogger, delivery: { post: never, append: never },
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
    kind = row.kind
    try {
      const outcome = await regional.reconcilers[row.kind as (typeof KINDS)[number]].reconcile(row.id)
      await own.transaction(outcome.observed?.name ?? 'work', async (db) => {
        await outcome.observed?.write(db)
        if (outcome.kind === 'again') await postponeWork(db, row, nowMs + outcome.afterMs, null)
        else await completeWork(db, row)
      })
    } catch (error) {
      if (!(error instanceof CrashError)) throw error
      await begin()
    } finally {
      kind = undefined
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
    for (let runs = 0; runs < 3000; runs++) {
      const [next] = await store.read((db) => db
        .selectFrom('work').selectAll().where('host_id', '=', HOST_ID).where('kind', 'in', KINDS).orderBy('due_ms').limit(1).execute())
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
  const template = await run((context) => createLaunchTemplate(context, {
    LaunchTemplateName: 'lab', LaunchTemplateData: { ImageId: imageId, InstanceType: 't3.micro' },
  }))
  const create = (spot: number, change: Partial<CreateFleetRequest> = {}, overrides: FleetLaunchTemplateOverridesRequest[] = []) => run(async (context) =>
    (await createFleet(context, {
      Type: 'maintain', TargetCapacitySpecification: { TotalTargetCapacity: spot, DefaultTargetCapacityType: 'spot' },
      LaunchTemplateConfigs: [{
        LaunchTemplateSpecification: { LaunchTemplateId: template.LaunchTemplate?.LaunchTemplateId, Version: '1' }, Overrides: overrides,
      }], ...change,
    })).FleetId ?? '')
  const instances = () => store.read((db) => db.selectFrom('instances').selectAll().orderBy('created_ms').orderBy('instance_id').execute())
  const inState = async (...states: InstanceState[]) => (await instances()).filter((each) => states.includes(each.state))
  /** How many instances are in which state. */
  const census = async () => {
    const counts: Partial<Record<InstanceState, number>> = {}
    for (const { state } of await instances()) counts[state] = (counts[state] ?? 0) + 1
    return counts
  }
  const requests = async () => (await store.read((db) => db.selectFrom('spot_requests').selectAll().orderBy('created_ms').orderBy('request_id').execute()))
    .map((each) => `${each.state} ${each.status_code}`)
  const fleet = async (id: string) => {
    const row = await store.read((db) => db.selectFrom('fleets').selectAll().where('fleet_id', '=', id).executeTakeFirstOrThrow())
    const { progress } = fleetDoc(row)
    return { state: row.state, activity: progress.activity, fulfilled: progress.fulfilledOnDemand + progress.fulfilledSpot, retryMs: progress.backoff?.untilMs ?? null }
  }
  const history = async (id: string) => (await store.read((db) =>
    db.selectFrom('fleet_history').selectAll().where('fleet_id', '=', id).orderBy('seq').execute()))
    .map((each) => ({ atMs: each.at_ms - NOW_MS, subType: (JSON.parse(each.doc) as { subType: string }).subType }))
  const notice = (rows: readonly InstanceTable[], cause: InterruptionCause = 'no-capacity') => run(async ({ db }) => {
    for (const row of rows) await giveNotice(db, row, { cause, noticeMs: 120_000, nowMs })
  })
  const advise = (rows: readonly InstanceTable[]) => run(async ({ db }) => {
    for (const row of rows) await recommendRebalance(db, row, nowMs)
  })
  const impair = (rows: readonly InstanceTable[]) => run(async ({ db }) => {
    for (const row of rows) await changeInstanceDoc(db, row.instance_id, { checks: { systemSinceMs: null, instanceSinceMs: nowMs } })
  })
  /** What spot may have of some zones, parts per million; the market is told of it as by `hearth market set-supply`. */
  const cap = (ppm: number, zones: readonly string[] = ZONES) => run(async ({ db }) => {
    for (const zone of zones) {
      await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm: ppm, updated_ms: nowMs, doc: '{}' })
        .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm: ppm })).execute()
    }
    await wakeMarket(db, nowMs)
  })
  return {
    store, run, pass, begin, create, instances, inState, census, requests, fleet, history, notice, advise, impair, cap, templateId: template.LaunchTemplate?.LaunchTemplateId ?? '',
    hits: () => hits, now: () => nowMs,
  }
}

export type FleetLab = Awaited<ReturnType<typeof openFleetLab>>

function never(): never {
  throw new Error('a reconciler may not wait')
}
