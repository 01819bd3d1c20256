import { changeInstanceDoc } from '../model/instance.ts'
import { hostZone } from '../model/zone.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'

/**
 * Counts a start that has failed, after some of which the instance is given up. One that was cut short by the failure of its
 * zone says nothing of the instance, and is tried again when that is healed.
 */
export async function noteStartFailure({ store }: Pick<InstanceReconcilerOptions, 'store'>, { row, doc }: LoadedInstance): Promise<void> {
  await store.transaction('instance.start-failed', async (db) => {
    if (!(await hostZone(db, row.host_id)).isSettled) return
    await changeInstanceDoc(db, row.instance_id, { startFailures: doc.startFailures + 1 })
  })
}
