import type { InsightsAnalysisDoc, InsightsPathDoc } from '../model/network-insights.ts'
import type { Verdict } from '../vpc/reach.ts'
import { reachAny } from '../vpc/reach-any.ts'
import type { World } from '../vpc/reach-world.ts'
import { inBatches } from '../store/batch.ts'
import type { Db } from '../store/store.ts'
import type { Context } from './context.ts'
import { arnOfId } from '../model/network-insights-wire.ts'
import { hopsToWire, obstacleToWire, type InsightsNames } from './network-insights-components.ts'
import { loadEnd, probesOf, worldBetween, type End } from './network-insights-probes.ts'

/** What an analysis of the path finds now. */
export async function analyse(context: Context, path: InsightsPathDoc): Promise<InsightsAnalysisDoc> {
  const source = await loadEnd(context, path.source)
  if (!source) return failed(path.source)
  const destination = path.destination === null ? null : await loadEnd(context, path.destination)
  if (destination === undefined) return failed(path.destination ?? '')
  for (const [id, end] of [[path.source, source], [path.destination, destination]] as const) {
    if (end?.kind === 'internet-gateway' && end.vpcId === null) return detached(context, id ?? '')
  }
  const world = await worldBetween(context, source, destination, path.destinationIp)
  const verdict = reachAny(world, probesOf(world, path, source, destination))
  if (!verdict) throw new Error(`${path.source} has no interface`)
  return toDoc(endingAt(verdict, source, destination), await loadNames(context, world))
}

function failed(id: string): InsightsAnalysisDoc {
  return {
    status: 'failed', statusMessage: `The request failed due to missing component ${id}`, pathFound: null, forward: [], back: [],
    explanations: [],
  }
}

/** An internet gateway that no VPC has leads nowhere. */
function detached({ region, account }: Context, id: string): InsightsAnalysisDoc {
  const InternetGateway = { Id: id, Arn: arnOfId({ region, account }, id) }
  return {
    status: 'succeeded', statusMessage: null, pathFound: false, forward: [], back: [],
    explanations: [{ ExplanationCode: 'BAD_STATE_ATTACHMENT', InternetGateway }],
  }
}

/** What gets through, but by another gateway or to another interface than was asked, is not found. */
function endingAt(verdict: Verdict, source: End, destination: End | null): Verdict {
  const isBy = (end: End | null, hop: Verdict['forward'][number] | undefined) => {
    if (end === null) return true
    if (end.kind === 'internet-gateway') return hop?.kind === 'internet-gateway' && hop.vpc.vpcId === end.vpcId
    return hop?.kind === 'interface' && end.interfaces.some((each) => each.interface_id === hop.holder.port.interfaceId)
  }
  if (!verdict.isReachable || (isBy(source, verdict.forward[0]) && isBy(destination, verdict.forward.at(-1)))) return verdict
  return {
    ...verdict, isReachable: false, obstacles: [{ code: 'NO_POSSIBLE_DESTINATION', packet: verdict.packet, isReply: false, at: verdict.forward.length }],
  }
}

function toDoc({ isReachable, forward, back, obstacles }: Verdict, names: InsightsNames): InsightsAnalysisDoc {
  return {
    status: 'succeeded', statusMessage: null, pathFound: isReachable,
    forward: isReachable ? hopsToWire(forward, names) : [], back: isReachable ? hopsToWire(back, names) : [],
    explanations: obstacles.map((obstacle) => obstacleToWire(obstacle, names)),
  }
}

async function loadNames({ db, region, account }: Context, world: World): Promise<InsightsNames> {
  const gateways = await gatewaysOf(db, world.vpcs.map((vpc) => vpc.vpcId))
  const instances = await instancesOf(db, world.vpcs.flatMap((vpc) => vpc.ports.map((port) => port.interfaceId)))
  return {
    region, account, internetGatewayOf: (vpcId) => gateways.get(vpcId), instanceOf: (interfaceId) => instances.get(interfaceId),
  }
}

async function gatewaysOf(db: Db, vpcIds: readonly string[]): Promise<Map<string, string>> {
  const rows = await inBatches(vpcIds, (batch) =>
    db.selectFrom('internet_gateways').select(['internet_gateway_id', 'vpc_id']).where('vpc_id', 'in', batch).execute())
  return new Map(rows.map((row) => [row.vpc_id ?? '', row.internet_gateway_id]))
}

async function instancesOf(db: Db, interfaceIds: readonly string[]): Promise<Map<string, string>> {
  const rows = await inBatches(interfaceIds, (batch) =>
    db.selectFrom('interfaces').select(['interface_id', 'instance_id']).where('interface_id', 'in', batch).execute())
  return new Map(rows.flatMap((row) => (row.instance_id === null ? [] : [[row.interface_id, row.instance_id] as const])))
}
