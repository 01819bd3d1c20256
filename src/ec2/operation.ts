import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import type { Context } from './context.ts'

/**
 * One row of the table of operations. `prepare` does slow work that needs no database (making a
 * key) before the transaction; `handle` is the transaction or snapshot; `finish` waits, after the
 * commit, for what only the agent can tell.
 */
export interface Operation {
  mutates: boolean
  prepare?: (input: object) => Promise<unknown>
  handle: (context: Context, input: object, prepared: unknown) => Promise<object | void>
  finish?: (ambient: { store: Store; clock: Clock }, nowMs: number, input: object) => Promise<object>
}

/** An operation that writes; the codec has made `input` what its schema says, so the cast is sound. */
export function mutation<Input extends object, Prepared>(
  handle: (context: Context, input: Input, prepared: Prepared) => Promise<object | void>,
  prepare?: (input: Input) => Promise<Prepared>,
  finish?: (ambient: { store: Store; clock: Clock }, nowMs: number, input: Input) => Promise<object>,
): Operation {
  return {
    mutates: true,
    handle: (context, input, prepared) => handle(context, input as Input, prepared as Prepared),
    ...(prepare ? { prepare: (input) => prepare(input as Input) } : {}),
    ...(finish ? { finish: (ambient, nowMs, input) => finish(ambient, nowMs, input as Input) } : {}),
  }
}

/** An operation that only reads. */
export function query<Input extends object>(handle: (context: Context, input: Input) => Promise<object>): Operation {
  return { mutates: false, handle: (context, input) => handle(context, input as Input) }
}
