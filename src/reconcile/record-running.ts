import { moveInstance, type InstanceDoc } from '../model/instance.ts'
import { hostBootIdOf } from '../model/zone.ts'
import { attentionOf } from './attend.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import { again, DONE, recording, type Outcome } from './loop.ts'

/** What is written of a machine that was seen to run after a start of whatever kind. */
export function afterStart(
  { hostBootId }: Pick<InstanceReconcilerOptions, 'hostBootId'>,
  { zone }: Pick<LoadedInstance, 'zone'>,
): Partial<InstanceDoc> {
  return { hostBootId: hostBootIdOf(hostBootId, zone.powerCuts), startFailures: 0, recovery: null }
}

/**
 * The machine runs. A reboot that was asked for before the instance stopped has come about with its start, unless
 * the guest has gone on where it was.
 */
export function recordRunning(options: InstanceReconcilerOptions, loaded: LoadedInstance): Outcome {
  const { row } = loaded
  const isStillToReboot = row.reboot_requested > row.reboot_completed && loaded.doc.memory?.state === 'consumed'
  return recording('instance.running', async (db) => {
    const moved = await moveInstance(db, row, 'running', options.clock.now(), {
      hasRun: true, reboot: null, hibernate: false, memory: null, checks: null, ...afterStart(options, loaded),
    })
    if (!moved || row.reboot_requested === row.reboot_completed || isStillToReboot) return
    await db
      .updateTable('instances').set({ reboot_completed: row.reboot_requested }).where('instance_id', '=', row.instance_id).execute()
  },
  // Some interfaces and volumes may have come or gone while it was starting.
  isStillToReboot || attentionOf(loaded).length > 0 ? again(0) : DONE)
}
