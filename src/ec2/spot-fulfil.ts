import type { SpotRequestTable } from '../store/schema.ts'
import type { Context } from './context.ts'

/**
 * Launches the instance of an open request in a zone that the market has given it, in this transaction, and makes the request
 * active. `context` is of the request's account.
 *
 * @throws ApiError where it cannot be launched; the caller rolls back, and tells the request with `noteFulfilmentFailure`.
 */
export async function fulfilSpotRequest(_context: Context, _row: SpotRequestTable, _zone: string): Promise<string> {
  throw new Error('not there yet')
}

/** What a launch that failed is to its request: it waits for room, for a group, or has failed for good. */
export async function noteFulfilmentFailure(_context: Context, _row: SpotRequestTable, _error: Error): Promise<void> {
  throw new Error('not there yet')
}
