import type { DedicatedHostTable, ZoneTable } from '../store/schema.ts'
import type { Size } from './placement.ts'

/** How long a dedicated host that was released is still shown. */
const SHOWN_FOR_MS = 3_600_000

/** Of what a zone's host can promise, one dedicated host is at most this part, unless the type it is for needs more. */
const MOST_OF_HOST = 1 / 4

/** What of a dedicated host SQL never looks into. */
export interface DedicatedHostDoc {
  /** The one type that may run there; null for any of its family. */
  instanceType: string | null
  instanceFamily: string
  autoPlacement: 'on' | 'off'
  clientToken: string | null
  /** The first of those that were allocated by one call; a repeated call answers all of them. */
  firstId: string
}

/** The doc of a dedicated host's row. */
export function dedicatedHostDoc(row: Pick<DedicatedHostTable, 'doc'>): DedicatedHostDoc {
  return JSON.parse(row.doc) as DedicatedHostDoc
}

/** Whether it is still shown: a released one is for an hour. */
export function isDedicatedHostShown(row: Pick<DedicatedHostTable, 'released_ms'>, nowMs: number): boolean {
  return row.released_ms === null || row.released_ms > nowMs - SHOWN_FOR_MS
}

/** Its state as EC2 words it, in a zone of that state. */
export function stateOfDedicatedHost(
  row: Pick<DedicatedHostTable, 'state'>,
  zoneState: ZoneTable['state'],
): 'available' | 'under-assessment' | 'released' {
  return row.state === 'available' && zoneState !== 'available' ? 'under-assessment' : row.state
}

/** What the size of a dedicated host follows from. */
export interface DedicatedHostNeeds {
  /** The largest size of its family: as much as EC2's host of that family has, as far as the catalogue tells. */
  family: Size
  /** What must fit in any case: one instance of its type, or of the smallest of its family. */
  least: Size
  /** What the zone's host can promise in all, and what of it is free. */
  total: Size
  free: Size
}

/**
 * How large a dedicated host is: as EC2's, but at most a quarter of the zone's host and no more than is free there; and never
 * less than one instance needs. Pure.
 *
 * @returns undefined where not even that is free.
 */
export function sizeOfDedicatedHost({ family, least, total, free }: DedicatedHostNeeds): Size | undefined {
  if (least.vcpus > free.vcpus || least.memoryMib > free.memoryMib) return undefined
  const size = (read: (size: Size) => number) =>
    Math.max(read(least), Math.min(read(family), Math.floor(read(total) * MOST_OF_HOST), read(free)))
  return { vcpus: size((each) => each.vcpus), memoryMib: size((each) => each.memoryMib) }
}

/** How many instances of a size fit into so much. */
export function roomFor(room: Size, size: Size): number {
  return Math.max(0, Math.min(Math.floor(room.vcpus / size.vcpus), Math.floor(room.memoryMib / size.memoryMib)))
}
