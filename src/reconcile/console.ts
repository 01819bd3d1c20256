import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import type { Store } from '../store/store.ts'
import { DONE, type Reconciler } from './loop.ts'

/** EC2 keeps the last 64 KB of a console. */
const CONSOLE_LIMIT_BYTES = 64 * 1024

/** Captures an instance's console into the database, where GetConsoleOutput finds it. */
export function createConsoleReconciler(options: { store: Store; clock: Clock; hypervisor: Hypervisor }): Reconciler {
  const { store, clock, hypervisor } = options
  return {
    async reconcile(instanceId) {
      const capturedMs = clock.now()
      const output = (await hypervisor.consoleOutput(instanceId, CONSOLE_LIMIT_BYTES)).toString('base64')
      await store.transaction('console.captured', async (db) => {
        const row = await db
          .selectFrom('instances').select('instance_id').where('instance_id', '=', instanceId).executeTakeFirst()
        if (!row) return
        await db
          .insertInto('console_outputs')
          .values({ instance_id: instanceId, captured_ms: capturedMs, output })
          .onConflict((conflict) => conflict.column('instance_id').doUpdateSet({ captured_ms: capturedMs, output }))
          .execute()
      })
      return DONE
    },
  }
}
