import type { AddressTable, InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/**
 * Elastic IPs per region of an account whose quota nobody raised.
 * https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
 */
export const ELASTIC_IP_LIMIT = 5

/** An Elastic IP that belongs to a private address of an interface. */
export type AssociatedAddress = AddressTable & { interface_id: string; private_ip: string; association_id: string }

/** Whether the address belongs to an interface now. */
export function isAssociated(row: AddressTable): row is AssociatedAddress {
  return row.interface_id !== null && row.private_ip !== null && row.association_id !== null
}

/**
 * Gives a private address of the interface that Elastic IP, which nothing has at the time. An automatic
 * address that the primary one had is gone with it. The port is another then: who calls marks it due.
 */
export async function associate(
  db: Db,
  address: AddressTable,
  target: { row: InterfaceTable; privateIp: string; associationId: string },
): Promise<void> {
  const { row, privateIp, associationId } = target
  await db
    .updateTable('addresses')
    .set({ interface_id: row.interface_id, private_ip: privateIp, association_id: associationId })
    .where('allocation_id', '=', address.allocation_id).execute()
  await setPublicIp(db, row, privateIp, address.public_ip)
}

/** Takes an Elastic IP from the interface that it belongs to, which has no public address there then. */
export async function disassociate(db: Db, address: AssociatedAddress): Promise<void> {
  await db
    .updateTable('addresses').set({ interface_id: null, private_ip: null, association_id: null })
    .where('allocation_id', '=', address.allocation_id).execute()
  await db
    .updateTable('interfaces').set({ public_ip: null })
    .where('interface_id', '=', address.interface_id).where('public_ip', '=', address.public_ip).execute()
  await db
    .updateTable('interface_addresses').set({ public_ip: null })
    .where('interface_id', '=', address.interface_id).where('public_ip', '=', address.public_ip).execute()
}

/** Takes all Elastic IPs from an interface that is going away. */
export async function disassociateAll(db: Db, interfaceId: string): Promise<void> {
  for (const address of await elasticIpsOf(db, interfaceId)) await disassociate(db, address)
}

/** The Elastic IPs of an interface, those of its secondary addresses included. */
export async function elasticIpsOf(db: Db, interfaceId: string): Promise<AssociatedAddress[]> {
  const rows = await db.selectFrom('addresses').selectAll().where('interface_id', '=', interfaceId).execute()
  return rows.filter(isAssociated)
}

/** Whether the public address of the interface's primary private address is an Elastic IP. */
export async function hasElasticIp(db: Db, row: Pick<InterfaceTable, 'interface_id' | 'private_ip'>): Promise<boolean> {
  const found = await db
    .selectFrom('addresses').select('allocation_id')
    .where('interface_id', '=', row.interface_id).where('private_ip', '=', row.private_ip).executeTakeFirst()
  return found !== undefined
}

async function setPublicIp(db: Db, row: InterfaceTable, privateIp: string, publicIp: string): Promise<void> {
  if (privateIp === row.private_ip) {
    await db.updateTable('interfaces').set({ public_ip: publicIp }).where('interface_id', '=', row.interface_id).execute()
    return
  }
  await db
    .updateTable('interface_addresses').set({ public_ip: publicIp })
    .where('interface_id', '=', row.interface_id).where('private_ip', '=', privateIp).execute()
}
