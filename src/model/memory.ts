import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { changeInstanceDoc, instanceDoc, type InstanceDoc, type SavedMemory } from './instance.ts'

/**
 * What saved memory is good for: this instance, its disks as they were left, these volumes. The hypervisor authenticates
 * it with the memory, so that old memory never meets newer disks.
 */
export function memoryBinding(row: Pick<InstanceTable, 'instance_id' | 'doc'>, memory: SavedMemory, volumeIds: readonly string[]): string {
  return JSON.stringify([row.instance_id, memory.memoryId, instanceDoc(row).generation ?? 0, volumeIds.toSorted()])
}

/**
 * Whether what is in the guest's memory is kept, or about to be, while it has no machine of its own that runs: then what its
 * memory knows of the machine, as its disks and their sizes, must stay as it is.
 */
export function keepsMemory(row: Pick<InstanceTable, 'state' | 'doc'>): boolean {
  const { hibernate, force, memory } = instanceDoc(row)
  if (row.state === 'stopping') return hibernate === true && !force
  return row.state === 'pending' ? Boolean(memory) && memory?.state !== 'given-up' : isHibernated(row)
}

/**
 * Whether the guest of a running instance has come up since it was launched, so that there is something to keep; a simulated one
 * is up as soon as it runs.
 */
export function isReadyToHibernate({ contactMs, platform }: Pick<InstanceDoc, 'contactMs' | 'platform'>): boolean {
  return platform?.accelerator === 'sim' || contactMs !== null
}

/** Whether the instance is hibernated: stopped, and its memory is kept. */
export function isHibernated(row: Pick<InstanceTable, 'state' | 'doc'>): boolean {
  return row.state === 'stopped' && instanceDoc(row).memory?.state === 'saved'
}

/**
 * A hibernated instance is not hibernated any more: it boots when it is started next. Its memory's file is deleted before
 * that, or, where no start comes, soon.
 */
export async function giveUpMemory({ db, nowMs }: { db: Db; nowMs: number }, instanceId: string): Promise<void> {
  const row = await db.selectFrom('instances').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
  const memory = row && isHibernated(row) ? instanceDoc(row).memory : undefined
  if (!row || !memory) return
  await changeInstanceDoc(db, instanceId, { memory: { ...memory, state: 'given-up' } })
  await enqueue(db, { kind: 'instance', id: instanceId, hostId: row.host_id }, nowMs)
}
