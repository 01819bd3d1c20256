import type { NicSpec } from '../hypervisor/driver.ts'
import { freeInterface } from '../model/free-interface.ts'
import { interfaceDoc } from '../model/interface.ts'
import type { Network } from '../network/driver.ts'
import type { InstanceTable, InterfaceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/**
 * How often a machine is looked at whose interfaces are not as they should be. A guest's answer is
 * heard at once; asked again within 5 s, some guests take that for a change of mind.
 */
export const INTERFACES_INTERVAL_MS = 10_000

/** Whether it can come and go while the machine runs; the primary one is a part of the machine. */
export function isSecondary(row: InterfaceTable): boolean {
  return row.device_index !== 0
}

/** How soon a machine is looked at again that waits for a port. */
export const PORT_WAIT_MS = 1000

/**
 * Whether a machine that is started now would be without its primary interface: the port was lost with the network of the
 * computer, and is not there again yet. The reconciler of ports marks the instance due when it is.
 */
export function lacksPrimaryPort(interfaces: readonly InterfaceTable[]): boolean {
  return interfaces.some((row) => !isSecondary(row) && row.ready === 0)
}

/** Those that a machine can have now: their port is there, and they are not to be given up. */
export function nicSpecs(network: Pick<Network, 'tapOf'>, interfaces: readonly InterfaceTable[]): NicSpec[] {
  return interfaces.filter((row) => row.ready === 1 && row.status !== 'detaching').map((row) => ({
    interfaceId: row.interface_id, attachmentId: interfaceDoc(row).attachmentId, deviceIndex: row.device_index,
    mac: row.mac, tap: network.tapOf(row.slot ?? 0),
  }))
}

/** Attachments of interfaces that are detached without waiting for the guest. */
export function cutOff(interfaces: readonly InterfaceTable[]): string[] {
  return interfaces.filter((row) => row.status === 'detaching').map(interfaceDoc)
    .filter((doc) => doc.forceDetach).map((doc) => doc.attachmentId)
}

/** What follows from the attachments that a machine was seen to have. */
export interface InterfaceChanges {
  /** Plugged in now, and not yet said to be. */
  attached: InterfaceTable[]
  /** Given up by the guest, or taken from it. */
  detached: InterfaceTable[]
  /** Whether there is nothing to wait for. */
  isSettled: boolean
}

export function interfaceChanges(interfaces: readonly InterfaceTable[], plugged: readonly string[]): InterfaceChanges {
  const has = (row: InterfaceTable) => !isSecondary(row) || plugged.includes(interfaceDoc(row).attachmentId)
  const leaving = interfaces.filter((row) => row.status === 'detaching')
  const detached = leaving.filter((row) => interfaceDoc(row).forceDetach || !has(row))
  // One whose port is not there yet makes the instance due when it is.
  const staying = interfaces.filter((row) => row.ready === 1 && row.status !== 'detaching')
  return {
    attached: staying.filter((row) => row.status === 'pending' && has(row)),
    detached,
    isSettled: detached.length === leaving.length && staying.every(has),
  }
}

/** Writes it down; interfaces that are something else by now are left alone. */
export async function recordInterfaces(
  db: Db,
  instance: InstanceTable,
  { attached, detached }: InterfaceChanges,
  nowMs: number,
): Promise<void> {
  for (const row of attached) {
    await db.updateTable('interfaces').set({ status: 'in-use' })
      .where('interface_id', '=', row.interface_id).where('status', '=', 'pending')
      .where('instance_id', '=', instance.instance_id).execute()
  }
  for (const { interface_id: id } of detached) {
    const row = await db
      .selectFrom('interfaces').selectAll()
      .where('interface_id', '=', id).where('status', '=', 'detaching').where('instance_id', '=', instance.instance_id)
      .executeTakeFirst()
    if (row) await freeInterface({ db, nowMs }, row)
  }
}
