import type { InstanceReconcilerOptions, LoadedInstance } from './load-instance.ts'
import type { Outcome } from './loop.ts'

/** Saves a guest's memory and ends its machine; when that cannot be, it becomes a normal stop that says so. */
export async function hibernate(_options: InstanceReconcilerOptions, _loaded: LoadedInstance): Promise<Outcome> {
  throw new Error('to come')
}

/** Starts a machine with the memory that was saved, and writes down that it is consumed before its guest may go on. */
export async function loadMemory(_options: InstanceReconcilerOptions, _loaded: LoadedInstance): Promise<Outcome> {
  throw new Error('to come')
}

/** Lets a guest go on that stands still. */
export async function release(_options: InstanceReconcilerOptions, _loaded: LoadedInstance): Promise<Outcome> {
  throw new Error('to come')
}
