import type { InstanceTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'

/** Starts and stops the meter of an instance as its state changes: what is to be paid for is the time that it runs. */
export async function meterInstance(_db: Db, _before: InstanceTable | null, _after: InstanceTable, _nowMs: number): Promise<void> {
  // Nothing is metered yet.
}
