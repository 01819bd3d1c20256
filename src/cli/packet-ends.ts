import { parseIpv4 } from '../core/cidr.ts'
import type { InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { SOMEWHERE } from '../vpc/reach-any.ts'
import { withPeers } from '../vpc/load-world.ts'
import { findInstance, type InstanceView } from './instances.ts'

/** What a person means by a source or a destination of packets. */
export type PacketEnd =
  | { kind: 'interface'; row: InterfaceTable; address: string | null; instance: InstanceView | null }
  /** An address that nobody here has, or several interfaces in VPCs of the same block. */
  | { kind: 'address'; address: string; sharedBy: string[] }

/**
 * An instance as `findInstance` takes it (its primary interface), an interface by the beginning of
 * its id, an address, or `internet`. A source that is somebody's address means that interface.
 *
 * @throws Error that says what there is instead.
 */
export async function findPacketEnd(db: Db, instances: readonly InstanceView[], wanted: string): Promise<PacketEnd> {
  if (wanted === 'internet') return { kind: 'address', address: SOMEWHERE, sharedBy: [] }
  if (parseIpv4(wanted) !== undefined) return ownerOf(db, instances, wanted)
  if (/^eni-[0-9a-f]+$/.test(wanted)) return toEnd(await interfaceBegunBy(db, wanted), instances, null)
  const instance = findInstance(instances, wanted)
  const row = await db
    .selectFrom('interfaces').selectAll().where('instance_id', '=', instance.instanceId).orderBy('device_index').executeTakeFirst()
  if (!row) throw new Error(`${instance.instanceId} is ${instance.state} and has no network interface`)
  return { kind: 'interface', row, address: null, instance }
}

async function interfaceBegunBy(db: Db, wanted: string): Promise<InterfaceTable> {
  const rows = (await db.selectFrom('interfaces').selectAll().orderBy('interface_id').execute())
    .filter((row) => row.interface_id.startsWith(wanted))
  if (rows.length === 1 && rows[0]) return rows[0]
  if (rows.length === 0) throw new Error(`there is no network interface ${wanted}`)
  throw new Error(`"${wanted}" may be any of ${rows.map((row) => row.interface_id).join(', ')}; give the whole id`)
}

/** Who has an address. */
async function ownerOf(db: Db, instances: readonly InstanceView[], address: string): Promise<PacketEnd> {
  const primary = await db
    .selectFrom('interfaces').selectAll().where((eb) => eb.or([eb('private_ip', '=', address), eb('public_ip', '=', address)])).execute()
  const secondary = await db
    .selectFrom('interface_addresses').innerJoin('interfaces', 'interfaces.interface_id', 'interface_addresses.interface_id')
    .selectAll('interfaces')
    .where((eb) => eb.or([eb('interface_addresses.private_ip', '=', address), eb('interface_addresses.public_ip', '=', address)])).execute()
  const [owner, ...others] = [...primary, ...secondary]
  if (owner && others.length === 0) return toEnd(owner, instances, address)
  return { kind: 'address', address, sharedBy: [...primary, ...secondary].map((row) => row.interface_id) }
}

function toEnd(row: InterfaceTable, instances: readonly InstanceView[], address: string | null): PacketEnd {
  return { kind: 'interface', row, address, instance: instances.find((each) => each.instanceId === row.instance_id) ?? null }
}

/**
 * The address by which a source would call a destination: the one that was given, the private one
 * within a VPC and over a peering, else the public one.
 */
export async function addressToCall(db: Db, source: PacketEnd, destination: PacketEnd): Promise<string> {
  if (destination.kind === 'address') return destination.address
  const { row, address } = destination
  if (address !== null) return address
  const isNear = source.kind === 'interface' && (await withPeers(db, [source.row.vpc_id])).includes(row.vpc_id)
  return isNear ? row.private_ip : row.public_ip ?? row.private_ip
}
