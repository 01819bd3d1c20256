import type { InstanceDoc } from '../model/instance.ts'
import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import type { Recovery } from './plan-instance.ts'

/**
 * Whether the instance's machine was lost with its host, or hangs, and what is to become of that. A machine that ended by
 * itself, or was killed, is none of this: that is an instance that has stopped.
 */
export function recoveryOf({ hostBootId }: Pick<InstanceReconcilerOptions, 'hostBootId'>, { row, doc }: Pick<LoadedInstance, 'row' | 'doc'>): Recovery {
  if (row.state !== 'running') return 'none'
  if (doc.recovery) return doc.recovery.cause
  // Rows of earlier versions do not say in which run of the host their machine was started.
  if (doc.hostBootId === undefined || doc.hostBootId === hostBootId) return 'none'
  return doc.options.autoRecovery === 'disabled' ? 'host-failure' : 'restart'
}

/** What is written of a machine that was seen to run after a start of whatever kind. */
export function afterStart({ hostBootId }: Pick<InstanceReconcilerOptions, 'hostBootId'>): Partial<InstanceDoc> {
  return { hostBootId, startFailures: 0, recovery: null }
}
