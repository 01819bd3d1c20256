import type { InsightsPathDoc } from '../model/network-insights.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { loadWorld, vpcOfPublicAddress, withPeers } from '../vpc/load-world.ts'
import type { Probe, ProbeSource } from '../vpc/reach.ts'
import { telltaleAddresses, telltalePorts } from '../vpc/reach-any.ts'
import { addressesOf, portOf, TCP, UDP, type World } from '../vpc/reach-world.ts'
import type { Context } from './context.ts'

/** One end of a path as it is now. */
export type End =
  | { kind: 'interfaces'; interfaces: InterfaceTable[] }
  /** Without a VPC it is detached. */
  | { kind: 'internet-gateway'; vpcId: string | null }

/** An end by its id: the interfaces of an instance, the primary one first. Undefined when it is gone. */
export async function loadEnd({ db, account }: Context, id: string): Promise<End | undefined> {
  if (id.startsWith('igw-')) {
    const gateway = await db
      .selectFrom('internet_gateways').select('vpc_id').where('account_id', '=', account).where('internet_gateway_id', '=', id)
      .executeTakeFirst()
    return gateway && { kind: 'internet-gateway', vpcId: gateway.vpc_id }
  }
  const interfaces = await db
    .selectFrom('interfaces').selectAll().where('account_id', '=', account)
    .where(id.startsWith('i-') ? 'instance_id' : 'interface_id', '=', id).orderBy('device_index').execute()
  return interfaces.length === 0 ? undefined : { kind: 'interfaces', interfaces }
}

const vpcsOf = (end: End | null): string[] => {
  if (end === null) return []
  if (end.kind === 'interfaces') return end.interfaces.map((each) => each.vpc_id)
  return end.vpcId === null ? [] : [end.vpcId]
}

/** The account's VPCs that a packet between the ends may pass. What is another account's is the world. */
export async function worldBetween(context: Context, source: End, destination: End | null, address: string | null): Promise<World> {
  const { db } = context
  const publicVpc = address === null ? undefined : await vpcOfPublicAddress(db, address)
  const vpcIds = await withPeers(db, [...vpcsOf(source), ...vpcsOf(destination), ...(publicVpc === undefined ? [] : [publicVpc])])
  return { vpcs: await loadWorld(db, await ownVpcs(db, context.account, vpcIds)), publicPool: null }
}

async function ownVpcs(db: Db, account: string, vpcIds: readonly string[]): Promise<string[]> {
  const rows = await db.selectFrom('vpcs').select('vpc_id').where('account_id', '=', account).where('vpc_id', 'in', vpcIds).execute()
  return rows.map((row) => row.vpc_id)
}

/** Every packet that the path may mean: AWS asks whether there is any that gets through. */
export function* probesOf(world: World, path: InsightsPathDoc, source: End, destination: End | null): Generator<Probe> {
  const protocol = path.protocol === 'tcp' ? TCP : UDP
  const ports = path.destinationPort === null ? telltalePorts(world) : [path.destinationPort]
  const addresses = [...destinationsOf(world, path, source, destination)]
  for (const destinationPort of ports) {
    for (const from of sourcesOf(world, path, source)) {
      for (const address of addresses) yield { source: from, destination: address, protocol, destinationPort }
    }
  }
}

function sourcesOf(world: World, path: InsightsPathDoc, source: End): ProbeSource[] {
  if (source.kind === 'internet-gateway') {
    return (path.sourceIp === null ? telltaleAddresses(world) : [path.sourceIp]).map((outside) => ({ outside }))
  }
  return source.interfaces.map((each) => ({
    interfaceId: each.interface_id, ...(path.sourceIp === null ? {} : { address: path.sourceIp }),
  }))
}

/** From an internet gateway an interface is reached by its public addresses, from elsewhere by its private ones. */
function destinationsOf(world: World, path: InsightsPathDoc, source: End, destination: End | null): string[] {
  if (path.destinationIp !== null) return [path.destinationIp]
  if (destination?.kind !== 'interfaces') return telltaleAddresses(world)
  return destination.interfaces.flatMap((each) => {
    const port = portOf(world, each.interface_id)?.port
    const addresses = port ? addressesOf(port) : [{ privateIp: each.private_ip, publicIp: each.public_ip }]
    const published = addresses.flatMap((address) => address.publicIp ?? [])
    return source.kind === 'internet-gateway' && published.length > 0 ? published : addresses.map((address) => address.privateIp)
  })
}
