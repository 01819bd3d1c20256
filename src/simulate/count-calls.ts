import { settlePromises } from '../core/virtual-clock.ts'
import type { Store } from '../store/store.ts'

/**
 * A store, and a promise that it is quiet: nobody has a call under way, and nobody is about to make
 * one. Virtual time stands still until then; a database outside this process takes real time, which
 * would otherwise be no time at all, or any amount of it.
 */
export function countCalls(store: Store): { store: Store; settled: () => Promise<void> } {
  const calls = { underWay: 0 }
  let waiters: (() => void)[] = []
  const count = async <T>(call: Promise<T>): Promise<T> => {
    calls.underWay += 1
    try {
      return await call
    } finally {
      calls.underWay -= 1
      if (calls.underWay === 0) {
        for (const wake of waiters) wake()
        waiters = []
      }
    }
  }
  return {
    store: {
      transaction: (name, body) => count(store.transaction(name, body)),
      read: (body) => count(store.read(body)),
      onCommit: (listener) => store.onCommit(listener),
      close: () => store.close(),
    },
    async settled() {
      await settlePromises()
      while (calls.underWay > 0) {
        await new Promise<void>((resolve) => waiters.push(resolve))
        // What waited for the answer goes on now, often with another call.
        await settlePromises()
      }
    },
  }
}
