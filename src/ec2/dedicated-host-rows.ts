import type { DedicatedHostCapacity } from '../scheduler/place.ts'
import type { Context } from './context.ts'

/** The account's dedicated hosts, by the hosts that they are parts of. */
export async function loadDedicatedHosts(_context: Context): Promise<Map<string, DedicatedHostCapacity[]>> {
  return new Map()
}
