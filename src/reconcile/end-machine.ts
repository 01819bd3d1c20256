import { instanceDoc, moveInstance, type InstanceDoc } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import type { InstanceReconcilerOptions } from './load-instance.ts'
import { again, recording, type Outcome } from './loop.ts'
import { releaseAttachments } from './release-instance.ts'

/**
 * Ends the machine, then in one transaction everything that ends with it. Memory that was being saved, or was consumed, is
 * forgotten; what a hibernated instance could not be started with stays.
 */
export async function destroyThen(
  { clock, hypervisor, random }: InstanceReconcilerOptions,
  row: InstanceTable,
  to: 'stopped' | 'terminated',
  change: Partial<InstanceDoc> = {},
): Promise<Outcome> {
  await hypervisor.ensureStopped(row.instance_id)
  const keepsMemory = to === 'stopped' && instanceDoc(row).memory?.state === 'saved'
  if (!keepsMemory) await hypervisor.ensureForgotten(row.instance_id)
  if (row.state === to) return again(0)
  return recording(`instance.${to}`, async (db) => {
    const nowMs = clock.now()
    // What its guest froze is frozen still when it goes on.
    const ends = keepsMemory ? {} : { freezing: false, memory: null }
    const moved = await moveInstance(db, row, to, nowMs, { force: false, hibernate: false, recovery: null, ...ends, ...change })
    if (moved) await releaseAttachments({ db, random, nowMs }, moved)
  }, again(0))
}
