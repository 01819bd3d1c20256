import { pick, type Random } from '../core/random.ts'
import { DEFAULT_ACCOUNT } from '../model/account.ts'
import { instanceDoc } from '../model/instance.ts'
import { giveNotice } from '../model/spot-interruption.ts'
import { loadMarket, wakeMarket } from '../model/spot-market.ts'
import type { HostTable, InstanceTable } from '../store/schema.ts'
import type { DrawnCall } from './interface-calls.ts'
import { drawHibernatable } from './memory-calls.ts'
import type { SimulatedCloud } from './simulator.ts'

const TYPES = ['t3.micro', 't3.small', 'm5.large']
const NOTICES_MS = [1000, 5000, 120_000]
/** An interruption that is over is carried out within this time, while nothing crashes. */
const LATE_MS = 60_000

/**
 * A random call about spot instances or their requests; undefined where what was drawn is not a call but something that is done to
 * the market: a price that is pinned, a supply that is capped, a notice that is given.
 */
export async function drawSpotCall(cloud: SimulatedCloud): Promise<DrawnCall | undefined> {
  const { random, store } = cloud
  const { images, requests, instances } = await store.read(async (db) => ({
    images: await db.selectFrom('images').select(['image_id', 'root_device_name']).orderBy('image_id').execute(),
    requests: await db
      .selectFrom('spot_requests').select('request_id').where('state', 'in', ['open', 'active', 'disabled']).orderBy('request_id').execute(),
    instances: await db
      .selectFrom('instances').select('instance_id').where('lifecycle', '=', 'spot').where('account_id', '=', DEFAULT_ACCOUNT)
      .where('state', '<>', 'terminated').orderBy('instance_id').execute(),
  }))
  const image = pick(random, images)
  const dice = random.int(14)
  if (dice >= 12) return drawFleetCall(cloud, image.image_id)
  if (dice < 3) return { action: 'RunInstances', input: launch(random, image) }
  if (dice < 5) return { action: 'RequestSpotInstances', input: request(random, image.image_id) }
  if (dice < 8) return doToMarket(cloud)
  if (dice === 8 && requests.length > 0) {
    return { action: 'CancelSpotInstanceRequests', input: { SpotInstanceRequestIds: [pick(random, requests).request_id] } }
  }
  if (instances.length === 0) return undefined
  const InstanceIds = [pick(random, instances).instance_id]
  return { action: pick(random, ['StopInstances', 'StartInstances', 'TerminateInstances', 'TerminateInstances']), input: { InstanceIds } }
}

/** Few and small ones, of which every other call deletes one: what is theirs comes again. */
async function drawFleetCall({ random, store }: SimulatedCloud, ImageId: string): Promise<DrawnCall> {
  const { templates, fleets } = await store.read(async (db) => ({
    templates: await db.selectFrom('launch_templates').select('template_id').orderBy('template_id').execute(),
    fleets: await db.selectFrom('fleets').select('fleet_id').where('state', 'in', ['submitted', 'active', 'modifying']).orderBy('fleet_id').execute(),
  }))
  if (templates.length === 0) {
    return { action: 'CreateLaunchTemplate', input: { LaunchTemplateName: 'of-fleets', LaunchTemplateData: { ImageId, InstanceType: 't3.micro' } } }
  }
  if (fleets.length > 0 && random.int(2) === 0) {
    return { action: 'DeleteFleets', input: { FleetIds: [pick(random, fleets).fleet_id], TerminateInstances: random.int(4) > 0 } }
  }
  return {
    action: 'CreateFleet', input: {
      Type: pick(random, ['maintain', 'maintain', 'request']), ExcessCapacityTerminationPolicy: 'termination',
      LaunchTemplateConfigs: [{ LaunchTemplateSpecification: { LaunchTemplateId: pick(random, templates).template_id, Version: '1' } }],
      TargetCapacitySpecification: { TotalTargetCapacity: 1 + random.int(2), DefaultTargetCapacityType: pick(random, ['spot', 'spot', 'on-demand']) },
      SpotOptions: {
        InstanceInterruptionBehavior: pick(random, ['stop', 'terminate']),
        ...(random.int(2) === 0 ? { MaintenanceStrategies: { CapacityRebalance: { ReplacementStrategy: 'launch' } } } : {}),
      },
    },
  }
}

const MARKETS = [
  { SpotInstanceType: 'one-time' }, { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'stop' },
  { SpotInstanceType: 'persistent', InstanceInterruptionBehavior: 'hibernate' },
] as const

function launch(random: Random, image: { image_id: string; root_device_name: string }): object {
  const options = pick(random, MARKETS)
  const hibernates = 'InstanceInterruptionBehavior' in options && options.InstanceInterruptionBehavior === 'hibernate'
  return {
    ImageId: image.image_id, InstanceType: pick(random, TYPES), MinCount: 1, MaxCount: 1 + random.int(2),
    InstanceMarketOptions: { MarketType: 'spot', SpotOptions: options }, ...(hibernates ? drawHibernatable(image) : {}),
  }
}

function request(random: Random, ImageId: string): object {
  const Type = pick(random, ['one-time', 'persistent'])
  const behavior = Type === 'persistent' && random.int(2) === 0 ? { InstanceInterruptionBehavior: 'stop' } : {}
  return {
    InstanceCount: 1 + random.int(2), Type, ...behavior, ...(random.int(4) === 0 ? { LaunchGroup: `group-${random.int(2)}` } : {}), ...(random.int(3) === 0 ? { SpotPrice: String(0.005 + random.int(20) / 1000) } : {}),
    LaunchSpecification: { ImageId, InstanceType: pick(random, TYPES) },
  }
}

/** What `hearth market` does. */
async function doToMarket({ store, random, clock, settings }: SimulatedCloud): Promise<undefined> {
  await store.transaction('simulated.market', async (db) => {
    const nowMs = clock.now()
    const hosts = await db.selectFrom('hosts').select('zone').distinct().where('zone', 'is not', null).orderBy('zone').execute()
    const zone = pick(random, hosts).zone ?? ''
    const running = await db
      .selectFrom('instances').selectAll().where('lifecycle', '=', 'spot').where('state', 'in', ['pending', 'running']).orderBy('instance_id').execute()
    const dice = random.int(4)
    if (dice === 0) {
      await db.insertInto('spot_pins').values({
        zone, instance_type: pick(random, TYPES), at_ms: nowMs, price_micro_usd: random.int(2) === 0 ? null : 1000 + random.int(90_000),
      }).onConflict((conflict) => conflict.doNothing()).execute()
    } else if (dice === 1) {
      const supply_cap_ppm = random.int(2) === 0 ? null : random.int(1_000_000)
      await db.insertInto('spot_zones').values({ zone, clearing_ppm: 0, supply_cap_ppm, updated_ms: nowMs, doc: '{}' })
        .onConflict((conflict) => conflict.column('zone').doUpdateSet({ supply_cap_ppm })).execute()
    } else if (dice === 2) {
      const market = await loadMarket(db, settings.region)
      if (market) {
        const doc = { ...market, noticeMs: pick(random, NOTICES_MS) }
        await db.updateTable('spot_market').set({ doc: JSON.stringify(doc) }).where('region', '=', settings.region).execute()
      }
    } else if (running.length > 0) {
      const cause = pick(random, ['by-price', 'no-capacity'] as const)
      await giveNotice(db, pick(random, running), { cause, noticeMs: pick(random, NOTICES_MS), nowMs })
    }
    await wakeMarket(db, nowMs)
  })
}

/** What must hold at any moment: what runs on a host has room there, also while some of it is being left to others. */
export async function checkRoom({ store, host: { world } }: SimulatedCloud): Promise<string[]> {
  const { hosts, instances } = await store.read(async (db) => ({
    hosts: await db.selectFrom('hosts').selectAll().where('zone', 'is not', null).execute(),
    instances: await db.selectFrom('instances').selectAll().where('state', 'not in', ['stopped', 'terminated']).execute(),
  }))
  const withMachine = instances.filter((row) => world.machines.get(row.instance_id)?.process)
  return [
    ...hosts.flatMap((host) => overfull(host, withMachine.filter((row) => row.host_id === host.host_id))),
    ...instances.flatMap((row) => waitingProblems(row, instances, withMachine.includes(row))),
  ]
}

function overfull(host: HostTable, there: readonly InstanceTable[]): string[] {
  const vcpus = there.reduce((sum, row) => sum + row.vcpus, 0)
  const memoryMib = there.reduce((sum, row) => sum + row.memory_mib, 0)
  if (vcpus <= host.vcpus && memoryMib <= host.memory_mib) return []
  return [`${host.host_id} has ${host.vcpus} vCPUs and ${host.memory_mib} MiB, and ${vcpus} and ${memoryMib} run there`]
}

function waitingProblems(row: InstanceTable, all: readonly InstanceTable[], hasMachine: boolean): string[] {
  const waitsFor = instanceDoc(row).waitsFor ?? []
  if (waitsFor.length > 0 && hasMachine) return [`${row.instance_id} runs, and waits for ${waitsFor.join(', ')}`]
  return waitsFor.flatMap((id) => {
    const leaving = all.find((each) => each.instance_id === id)
    const isKnown = leaving && instanceDoc(leaving).spot?.promisedTo?.includes(row.instance_id)
    return isKnown ? [] : [`${row.instance_id} waits for ${id}, which nobody expects to leave`]
  })
}

/** Once everything has settled: requests and instances say the same, and every notice has come to something, once. */
export async function checkSpot({ store, clock }: SimulatedCloud): Promise<string[]> {
  const { requests, instances, events } = await store.read(async (db) => ({
    requests: await db.selectFrom('spot_requests').selectAll().execute(),
    instances: await db.selectFrom('instances').selectAll().where('lifecycle', '=', 'spot').execute(),
    events: await db.selectFrom('cloud_events').select(['detail_type', 'detail']).execute(),
  }))
  const stateOf = new Map(instances.map((row) => [row.instance_id, row.state]))
  const count = (of: (detailType: string, detail: string) => boolean) => events.filter((each) => of(each.detail_type, each.detail)).length
  return [
    ...requests.flatMap(({ request_id: id, state, instance_id: instanceId }) => {
      const is = stateOf.get(instanceId ?? '')
      if (state === 'active' && is !== 'running') return [`${id} is active, and its instance is ${is}`]
      return state === 'disabled' && is !== 'stopped' ? [`${id} is disabled, and its instance is ${is}`] : []
    }),
    ...instances.flatMap((row) => {
      const interruption = instanceDoc(row).spot?.interruption
      const isLate = row.state === 'running' && interruption != null && interruption.actionMs + LATE_MS < clock.now()
      const isOf = (detail: string) => detail.includes(row.instance_id)
      const warnings = count((type, detail) => type === 'EC2 Spot Instance Interruption Warning' && isOf(detail))
      const starts = count((type, detail) => type === 'EC2 Instance State-change Notification' && isOf(detail) && detail.includes('"pending"'))
      return [
        ...(isLate ? [`${row.instance_id} should have been interrupted`] : []),
        ...(warnings > starts ? [`${row.instance_id} has had ${warnings} notices in ${starts} runs`] : []),
      ]
    }),
  ]
}
