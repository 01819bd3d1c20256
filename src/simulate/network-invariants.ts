import type { VpcSpec } from '../network/driver.ts'
import type { SimVpc } from '../network/sim.ts'
import type { Db } from '../store/store.ts'
import { loadPorts, loadVpcSpec } from '../vpc/load-spec.ts'
import type { SimulatedCloud } from './simulator.ts'

/** Once everything has settled, what is in force on the host is what the rows say, of every VPC. */
export async function checkNetwork(cloud: SimulatedCloud): Promise<string[]> {
  const wanted = await cloud.store.read(loadAll)
  const { vpcs } = cloud.host.network
  const problems = [...vpcs.keys()].filter((id) => !wanted.has(id)).map((id) => `network: ${id} leaked`)
  for (const [vpcId, spec] of wanted) {
    const inForce = vpcs.get(vpcId)
    if (!inForce) problems.push(`network: ${vpcId} is missing`)
    else problems.push(...differing(spec, inForce).map((what) => `network: ${what} of ${vpcId} are not as their rows say`))
  }
  return [...problems, ...(await cloud.store.read(checkGateways))]
}

/** The specs of all VPCs that must be on the host. */
async function loadAll(db: Db): Promise<Map<string, VpcSpec>> {
  const specs = new Map<string, VpcSpec>()
  const unused = await unusedGroups(db)
  const slots = await db.selectFrom('slots').selectAll().where('kind', '=', 'vpc').execute()
  const vpcs = await db.selectFrom('vpcs').select('vpc_id').execute()
  for (const { vpc_id: vpcId } of vpcs) {
    const slot = slots.find((each) => each.owner_id === vpcId)
    if (!slot) continue
    const rows = await db.selectFrom('interfaces').selectAll().where('vpc_id', '=', vpcId).where('wanted', '=', 1).execute()
    const loaded = await loadVpcSpec(db, vpcId, slot.host_id, slot.slot)
    const groups = loaded.groups.filter((each) => !unused.has(each.groupId))
    const spec = { ...loaded, groups, ports: await loadPorts(db, rows) }
    if (spec.ports.length > 0 || spec.natGateways.length > 0) specs.set(vpcId, spec)
  }
  return specs
}

/** New groups that nothing is in yet: making one wakes nobody, it comes into force with its first member or rule. */
async function unusedGroups(db: Db): Promise<Set<string>> {
  const rows = await db
    .selectFrom('security_groups').select('group_id').where('synced_revision', '=', 0)
    .where('group_id', 'not in', (eb) => eb.selectFrom('interface_groups').select('group_id')).execute()
  return new Set(rows.map((row) => row.group_id))
}

/** Names of the members that differ; order does not count where it means nothing. */
function differing(spec: VpcSpec, inForce: SimVpc): string[] {
  const groups = (list: Iterable<VpcSpec['groups'][number]>) => [...list].toSorted((a, b) => (a.groupId < b.groupId ? -1 : 1))
  const ports = (list: Iterable<VpcSpec['ports'][number]>) => [...list].toSorted((a, b) => (a.interfaceId < b.interfaceId ? -1 : 1))
  const pairs: Record<string, [unknown, unknown]> = {
    blocks: [spec.cidrs, inForce.cidrs],
    subnets: [spec.subnets, inForce.subnets],
    'route tables': [spec.routeTables, inForce.routeTables],
    'network ACLs': [spec.networkAcls, inForce.networkAcls],
    'security groups': [groups(spec.groups), groups(inForce.groups.values())],
    'members of peers': [spec.foreignGroups, inForce.foreignGroups],
    ports: [ports(spec.ports), ports(inForce.ports.values())],
    'internet gateways': [spec.hasInternetGateway, inForce.hasInternetGateway],
    'NAT gateways': [spec.natGateways, inForce.natGateways],
    peerings: [spec.peerings, inForce.peerings],
  }
  return Object.entries(pairs).filter(([, [a, b]]) => JSON.stringify(a) !== JSON.stringify(b)).map(([name]) => name)
}

/** NAT gateways come to rest, and those that have an interface are the living ones. */
async function checkGateways(db: Db): Promise<string[]> {
  const gateways = await db.selectFrom('nat_gateways').selectAll().execute()
  const own = await db.selectFrom('interfaces').select('requester_id').where('requester_id', 'is not', null).execute()
  const living = gateways.filter((row) => row.state === 'available').map((row) => row.nat_gateway_id)
  return [
    ...gateways.filter((row) => row.state === 'pending' || row.state === 'deleting').map((row) => `${row.nat_gateway_id} is still ${row.state}`),
    ...own.filter((row) => !living.includes(row.requester_id ?? '')).map((row) => `${row.requester_id} keeps an interface`),
    ...living.filter((id) => !own.some((row) => row.requester_id === id)).map((id) => `${id} has no interface`),
  ]
}
