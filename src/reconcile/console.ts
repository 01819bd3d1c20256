import type { Clock } from '../core/clock.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import { createCaptureReconciler } from './capture.ts'
import type { Reconciler } from './loop.ts'

/** EC2 keeps the last 64 KB of a console. */
const CONSOLE_LIMIT_BYTES = 64 * 1024

/** Captures an instance's console into the database, where GetConsoleOutput finds it. */
export function createConsoleReconciler({ clock, hypervisor }: { clock: Clock; hypervisor: Hypervisor }): Reconciler {
  return createCaptureReconciler({
    clock,
    name: 'console.captured',
    instanceOf: (workId) => workId,
    take: (instanceId) => hypervisor.consoleOutput(instanceId, CONSOLE_LIMIT_BYTES),
    keep: (db, { instanceId, capturedMs, content }) =>
      db
        .insertInto('console_outputs')
        .values({ instance_id: instanceId, captured_ms: capturedMs, output: content })
        .onConflict((conflict) =>
          conflict.column('instance_id').doUpdateSet({ captured_ms: capturedMs, output: content }))
        .execute(),
  })
}
