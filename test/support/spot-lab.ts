import type { RequestSpotInstancesRequest, SpotInstanceRequest } from '@aws-sdk/client-ec2'
import { describeSpotInstanceRequests } from '../../src/ec2/describe-spot-instance-requests.ts'
import { requestSpotInstances } from '../../src/ec2/request-spot-instances.ts'
import { moveInstance, STATE_REASONS } from '../../src/model/instance.ts'
import { giveNotice, type InterruptionCause } from '../../src/model/spot-interruption.ts'
import { NOTICE_MS, type SpotMarketSettings } from '../../src/model/spot-market.ts'
import { wakeSpotRequest } from '../../src/model/spot-request.ts'
import { openRegionalLab, type RegionalLabOptions } from './regional-lab.ts'

export interface SpotLabOptions extends Partial<SpotMarketSettings>, Pick<RegionalLabOptions, 'dieAt' | 'failAt'> {}

export type SpotLab = Awaited<ReturnType<typeof openSpotLab>>

/** Requests for spot instances, and the market that grants them. */
export async function openSpotLab({ dieAt, failAt, ...market }: SpotLabOptions = {}) {
  const lab = await openRegionalLab({ kinds: ['market', 'spot-request'], dieAt, failAt, market })
  const { run, instances, imageId, now } = lab
  const ask = (change: Partial<RequestSpotInstancesRequest> = {}) => run(async (context) =>
    ((await requestSpotInstances(context, { LaunchSpecification: { ImageId: imageId, InstanceType: 't3.micro' }, ...change })).SpotInstanceRequests ?? [])
      .map((each) => each.SpotInstanceRequestId ?? ''))
  const show = (ids: string[] = []): Promise<SpotInstanceRequest[]> =>
    run(async (context) => (await describeSpotInstanceRequests(context, { SpotInstanceRequestIds: ids })).SpotInstanceRequests ?? [])
  const states = async () => (await show()).map((each) => `${each.State} ${each.Status?.Code}`)
  const notice = async (cause: InterruptionCause) => {
    for (const row of (await instances()).filter((each) => each.state === 'running').slice(0, 1)) {
      await run(({ db }) => giveNotice(db, row, { cause, noticeMs: NOTICE_MS, nowMs: now() }))
    }
  }
  const pin = (zone: string, price_micro_usd: number) => run(async ({ db }) => {
    const values = { zone, instance_type: 't3.micro', at_ms: now(), price_micro_usd }
    await db.insertInto('spot_pins').values(values).onConflict((conflict) => conflict.columns(['zone', 'instance_type', 'at_ms']).doUpdateSet({ price_micro_usd })).execute()
  })
  /** The machines of all instances that run end by themselves. */
  const fail = () => run(async ({ db }) => {
    for (const row of await db.selectFrom('instances').selectAll().where('state', '=', 'running').execute()) {
      await moveInstance(db, row, 'stopping', now(), { stateReason: STATE_REASONS.hostFailure })
    }
  })
  const wakeAll = () => run(async ({ db }) => {
    for (const row of await db.selectFrom('spot_requests').select('request_id').execute()) await wakeSpotRequest(db, row.request_id, now())
  })
  return { ...lab, ask, show, states, notice, pin, fail, wakeAll }
}
