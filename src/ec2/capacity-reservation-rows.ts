import type { ReservedCapacity } from '../scheduler/place.ts'
import type { Context } from './context.ts'

/** The account's reservations for a type that have room, by the hosts that the room is on. */
export async function loadReservations(_context: Context, _instanceType: string): Promise<Map<string, ReservedCapacity[]>> {
  return new Map()
}
