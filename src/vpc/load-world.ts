import type { PeeringSpec, VpcSpec } from '../network/driver.ts'
import { inBatches } from '../store/batch.ts'
import type { Db } from '../store/store.ts'
import { cidrsOf, loadRouteTables } from './load-routing.ts'
import { loadForeignGroups, loadPorts, loadVpcSpec } from './load-spec.ts'

/**
 * VPCs as they would be if all their instances ran, and no zone had failed: whoever asks what a packet may do means the
 * rules, and not who is up. Peerings count whether or not both VPCs have a network on a host now.
 */
export async function loadWorld(db: Db, vpcIds: readonly string[]): Promise<VpcSpec[]> {
  const specs: VpcSpec[] = []
  for (const [slot, vpcId] of [...new Set(vpcIds)].toSorted().entries()) specs.push(await loadAsIfRunning(db, vpcId, slot))
  return specs
}

/** `slot` is a number like any other: nothing here becomes a kernel's. */
async function loadAsIfRunning(db: Db, vpcId: string, slot: number): Promise<VpcSpec> {
  const gatewayHost = await db
    .selectFrom('nat_gateways').select('host_id')
    .where('vpc_id', '=', vpcId).where('state', 'in', ['pending', 'available']).executeTakeFirst()
  const spec = await loadVpcSpec(db, vpcId, gatewayHost?.host_id ?? '', slot)
  const gateway = await db
    .selectFrom('internet_gateways').select('internet_gateway_id').where('vpc_id', '=', vpcId).executeTakeFirst()
  const peerings = await loadActivePeerings(db, vpcId)
  const interfaces = await db
    .selectFrom('interfaces').selectAll().where('vpc_id', '=', vpcId).where('instance_id', 'is not', null).orderBy('interface_id').execute()
  const ports = await loadPorts(db, interfaces.map((row) => ({ ...row, wanted: 1, slot: row.slot ?? 0 })))
  return {
    ...spec, peerings, natGateways: spec.natGateways.map(joined), ports: ports.map(joined),
    foreignGroups: await loadForeignGroups(db, spec.groups, peerings.map((each) => each.peerVpcId)),
    routeTables: await loadRouteTables(db, vpcId, {
      internetGatewayId: gateway?.internet_gateway_id,
      natGatewayIds: spec.natGateways.map((each) => each.natGatewayId), peeringIds: peerings.map((each) => each.peeringId),
    }),
  }
}

function joined<Owner extends { isCut?: true }>(owner: Owner): Owner {
  const whole = { ...owner }
  delete whole.isCut
  return whole
}

async function loadActivePeerings(db: Db, vpcId: string): Promise<PeeringSpec[]> {
  const rows = await db
    .selectFrom('vpc_peerings').selectAll()
    .where((eb) => eb.or([eb('requester_vpc_id', '=', vpcId), eb('accepter_vpc_id', '=', vpcId)]))
    .where('status', '=', 'active').orderBy('peering_id').execute()
  const peerings: PeeringSpec[] = []
  for (const row of rows) {
    const side = row.requester_vpc_id === vpcId ? 'requester' : 'accepter'
    const peerVpcId = side === 'requester' ? row.accepter_vpc_id : row.requester_vpc_id
    const peerCidrs = await cidrsOf(db, peerVpcId)
    peerings.push({ peeringId: row.peering_id, slot: 0, peerVpcId, peerVpcSlot: 0, peerCidrs, side })
  }
  return peerings
}

/** The VPCs and those that are peered with them; packets pass no more than one peering. */
export async function withPeers(db: Db, vpcIds: readonly string[]): Promise<string[]> {
  const rows = await inBatches([...new Set(vpcIds)], (batch) => db
    .selectFrom('vpc_peerings').select(['requester_vpc_id', 'accepter_vpc_id'])
    .where((eb) => eb.or([eb('requester_vpc_id', 'in', batch), eb('accepter_vpc_id', 'in', batch)]))
    .where('status', '=', 'active').execute())
  return [...new Set([...vpcIds, ...rows.flatMap((row) => [row.requester_vpc_id, row.accepter_vpc_id])])]
}

/** The VPC in which a public address belongs to somebody. */
export async function vpcOfPublicAddress(db: Db, publicIp: string): Promise<string | undefined> {
  const primary = await db.selectFrom('interfaces').select('vpc_id').where('public_ip', '=', publicIp).executeTakeFirst()
  if (primary) return primary.vpc_id
  return (await db.selectFrom('interface_addresses').select('vpc_id').where('public_ip', '=', publicIp).executeTakeFirst())?.vpc_id
}
