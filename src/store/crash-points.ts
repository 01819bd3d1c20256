import type { CrashPoints } from '../core/crash-points.ts'
import type { Store } from './store.ts'

/**
 * A store whose every transaction can crash its process just before and just after it commits:
 * points `commit:<name>:before` (nothing is written) and `commit:<name>:after` (everything is, and
 * nobody was told).
 */
export function withCommitCrashPoints(store: Store, points: CrashPoints): Store {
  return {
    async transaction(name, body) {
      const result = await store.transaction(name, async (db) => {
        const value = await body(db)
        points.hit(`commit:${name}:before`)
        return value
      })
      points.hit(`commit:${name}:after`)
      return result
    },
    read: (body) => store.read(body),
    onCommit: (listener) => store.onCommit(listener),
    close: () => store.close(),
  }
}
