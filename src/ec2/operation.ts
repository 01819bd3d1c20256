import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import type { Context } from './context.ts'

/** What an operation has that reads in several snapshots, one after another. */
export type ReadContext = Omit<Context, 'db'> & { read: Store['read'] }

/** A list that is answered page by page while it is being read; a failure ends the connection. */
export type Pages<T> = AsyncIterable<T[]>

/** What work before the transaction may use. */
export interface PrepareAmbient {
  account: string
  /** Where the call was sent to. */
  region: string
  /** Names of all regions of this cloud. */
  regions: readonly string[]
  /** When the call began, milliseconds since the epoch. */
  nowMs: number
  /** Who signed the call; null in permissive mode without a key. */
  accessKeyId: string | null
  /** The home region, where keys and whom they stand for are known. */
  home: Pick<Store, 'read'>
  /** Another region of this cloud, to read in; undefined for one that it does not have, and for that one itself. */
  elsewhere(region: string): Pick<Store, 'read'> | undefined
}

/** What waiting for the agent takes. */
export interface FinishAmbient {
  store: Store
  clock: Clock
}

/**
 * One row of the table of operations. `prepare` does slow work that needs no database of the region (making a
 * key, reading in another region) before the transaction; `handle` is the transaction or snapshot; `finish` waits, after the
 * commit, for what only the agent can tell. It is given what `handle` answered, which stays the answer
 * unless it has one of its own.
 */
export interface Operation {
  mutates: boolean
  /** Instead of `handle`, for answers too large for one snapshot: it takes as many short ones as it needs. */
  read?: (context: ReadContext, input: object) => Promise<object>
  prepare?: (input: object, ambient: PrepareAmbient) => Promise<unknown>
  handle: (context: Context, input: object, prepared: unknown) => Promise<object | void>
  finish?: (ambient: FinishAmbient, nowMs: number, input: object, output: object) => Promise<object | void>
}

/** An operation that writes; the codec has made `input` what its schema says, so the cast is sound. */
export function mutation<Input extends object, Prepared, Output extends object | void>(
  handle: (context: Context, input: Input, prepared: Prepared) => Promise<Output>,
  prepare?: (input: Input, ambient: PrepareAmbient) => Promise<Prepared>,
  finish?: (ambient: FinishAmbient, nowMs: number, input: Input, output: Output) => Promise<object | void>,
): Operation {
  return {
    mutates: true,
    handle: (context, input, prepared) => handle(context, input as Input, prepared as Prepared),
    ...(prepare ? { prepare: (input, ambient) => prepare(input as Input, ambient) } : {}),
    ...(finish ? { finish: (ambient, nowMs, input, output) => finish(ambient, nowMs, input as Input, output as Output) } : {}),
  }
}

/** An operation that only reads. */
export function query<Input extends object, Prepared>(
  handle: (context: Context, input: Input, prepared: Prepared) => Promise<object>,
  prepare?: (input: Input, ambient: PrepareAmbient) => Promise<Prepared>,
): Operation {
  return {
    mutates: false,
    handle: (context, input, prepared) => handle(context, input as Input, prepared as Prepared),
    ...(prepare ? { prepare: (input, ambient) => prepare(input as Input, ambient) } : {}),
  }
}

/**
 * An operation that only reads, and may answer more than one snapshot should hold: its output's
 * members may be Pages. `handle` answers the same as a whole, from one snapshot.
 */
export function pagedQuery<Input extends object>(
  handle: (context: Context, input: Input) => Promise<object>,
  read: (context: ReadContext, input: Input) => Promise<object>,
): Operation {
  return { ...query(handle), read: (context, input) => read(context, input as Input) }
}
