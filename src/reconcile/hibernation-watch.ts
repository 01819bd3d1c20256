import { messageOf } from '../core/errors.ts'
import { instanceDoc } from '../model/instance.ts'
import type { Db } from '../store/store.ts'
import type { InstanceReconcilerOptions } from './load-instance.ts'

/** How often it is asked whether a hibernation that is under way is still wanted. */
const INTERVAL_MS = 1000

/** Whether the instance is still to be hibernated: not stopped by force, and not terminated. */
export async function isHibernationWanted(db: Db, instanceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('instances').select('doc').where('instance_id', '=', instanceId).where('state', '=', 'stopping').executeTakeFirst()
  if (!row) return false
  const { hibernate: isAsked, force } = instanceDoc(row)
  return isAsked === true && !force
}

/** Aborts `signal` when nobody wants the instance to be hibernated any more, until `end`. */
export function watchHibernation(
  { clock, log, store }: Pick<InstanceReconcilerOptions, 'clock' | 'log' | 'store'>,
  instanceId: string,
): { signal: AbortSignal; end(): void } {
  const givenUp = new AbortController()
  let isOver = false
  const look = async () => {
    try {
      const isWanted = await store.read((db) => isHibernationWanted(db, instanceId))
      if (!isWanted && !isOver) givenUp.abort(new Error(`nobody wants ${instanceId} to be hibernated any more`))
    } catch (error) {
      log.warn('cannot tell whether a hibernation is still wanted', { id: instanceId, error: messageOf(error) })
    }
    if (!isOver && !givenUp.signal.aborted) timer = clock.after(INTERVAL_MS, look)
  }
  let timer = clock.after(INTERVAL_MS, look)
  return {
    signal: givenUp.signal,
    end() {
      isOver = true
      timer.cancel()
    },
  }
}
