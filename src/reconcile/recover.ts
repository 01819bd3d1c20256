import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import type { Outcome } from './loop.ts'
import type { Recovery } from './plan-instance.ts'

/** Whether the instance's machine was lost with its host, or hangs, and what is to become of that. */
export function recoveryOf(_options: InstanceReconcilerOptions, _loaded: LoadedInstance): Recovery {
  return 'none'
}

/** Ends the machine, where there is one, and starts it again in the same place: same id and addresses, memory lost. */
export async function recover(_options: InstanceReconcilerOptions, _loaded: LoadedInstance): Promise<Outcome> {
  throw new Error('to come')
}
