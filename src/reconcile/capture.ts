import type { Clock } from '../core/clock.ts'
import type { Db } from '../store/store.ts'
import { DONE, recording, type Reconciler } from './loop.ts'

/** Something of a machine as it was when somebody asked: its console output, its screen. */
export interface Capture {
  instanceId: string
  capturedMs: number
  /** Base64. */
  content: string
}

export interface CaptureOptions {
  clock: Clock
  /** Name of the transaction that keeps the capture. */
  name: string
  /** Which instance a work id means. */
  instanceOf: (workId: string) => string
  /** Undefined when there is nothing to capture. */
  take: (workId: string) => Promise<Buffer | undefined>
  /** Replaces the instance's last capture. */
  keep: (db: Db, capture: Capture) => Promise<unknown>
}

/** Takes captures for callers of the API, who find them in the database; see src/ec2/capture.ts. */
export function createCaptureReconciler({ clock, name, instanceOf, take, keep }: CaptureOptions): Reconciler {
  return {
    async reconcile(workId) {
      // Whoever asked earlier than this sees at least this.
      const capturedMs = clock.now()
      const content = await take(workId)
      if (!content) return DONE
      const instanceId = instanceOf(workId)
      return recording(name, async (db) => {
        const row = await db
          .selectFrom('instances').select('instance_id').where('instance_id', '=', instanceId).executeTakeFirst()
        if (row) await keep(db, { instanceId, capturedMs, content: content.toString('base64') })
      })
    },
  }
}
