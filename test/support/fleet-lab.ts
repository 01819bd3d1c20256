import type { CreateFleetRequest, FleetLaunchTemplateOverridesRequest } from '@aws-sdk/client-ec2'
import { createFleet } from '../../src/ec2/create-fleet.ts'
import { createLaunchTemplate } from '../../src/ec2/launch-templates.ts'
import { fleetDoc } from '../../src/model/fleet.ts'
import { changeInstanceDoc, type InstanceState } from '../../src/model/instance.ts'
import { giveNotice, recommendRebalance, type InterruptionCause } from '../../src/model/spot-interruption.ts'
import { NOTICE_MS } from '../../src/model/spot-market.ts'
import type { InstanceTable } from '../../src/store/schema.ts'
import { openRegionalLab } from './regional-lab.ts'
import { NOW_MS } from './rows.ts'

/** Fleets, with the market and the requests that they buy by. Deaths are counted while fleets are at work: of the others there are tests of their own. */
export async function openFleetLab(dieAt = 0) {
  const lab = await openRegionalLab({ kinds: ['market', 'spot-request', 'fleet'], dieAt, diesIn: 'fleet' })
  const { store, run, instances, imageId, now } = lab
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
    for (const row of rows) await giveNotice(db, row, { cause, noticeMs: NOTICE_MS, nowMs: now() })
  })
  const advise = (rows: readonly InstanceTable[]) => run(async ({ db }) => {
    for (const row of rows) await recommendRebalance(db, row, now())
  })
  const impair = (rows: readonly InstanceTable[]) => run(async ({ db }) => {
    for (const row of rows) await changeInstanceDoc(db, row.instance_id, { checks: { systemSinceMs: null, instanceSinceMs: now() } })
  })
  return {
    ...lab, create, inState, census, requests, fleet, history, notice, advise, impair, templateId: template.LaunchTemplate?.LaunchTemplateId ?? '',
  }
}

export type FleetLab = Awaited<ReturnType<typeof openFleetLab>>
