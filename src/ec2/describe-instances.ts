import type { DescribeInstancesRequest, DescribeInstancesResult, Reservation } from '@aws-sdk/client-ec2'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { toReservations } from '../model/instance-wire.ts'
import type { Context } from './context.ts'
import { CHUNK, launchKey, searchInstances, type Chunk } from './instance-search.ts'
import type { InstanceItem } from './instance-filters.ts'
import type { Pages, ReadContext } from './operation.ts'
import { decodeToken, encodeToken, pageSize, refuseIdsWithMaxResults } from './pagination.ts'
import { checkIds, RESOURCE_KINDS } from './resources.ts'

export { loadInstances } from './load-instances.ts'

const OPERATION = 'DescribeInstances'

/** DescribeInstances, in the order of their launch, a reservation's instances together. */
export async function describeInstances(
  context: Context,
  input: DescribeInstancesRequest,
): Promise<DescribeInstancesResult> {
  const size = pageSize({ maxResults: input.MaxResults })
  return pageOf(await collect(search({ ...context, read: (body) => body(context.db) }, input), size), size)
}

/** What the wire takes for a result whose reservations come bit by bit. */
export type DescribeInstancesPages = Omit<DescribeInstancesResult, 'Reservations'> & {
  Reservations: Reservation[] | Pages<Reservation>
}

/**
 * The same as it is served: in short snapshots between which others have their turn. What does not
 * fit into a few milliseconds is answered bit by bit, while it is being read.
 */
export async function readInstances(
  context: ReadContext,
  input: DescribeInstancesRequest,
): Promise<DescribeInstancesPages> {
  const size = pageSize({ maxResults: input.MaxResults })
  const chunks = search(context, input)
  if (size !== undefined) {
    const { Reservations = [], NextToken } = pageOf(await collect(inTurns(chunks), size), size)
    return { Reservations: size > CHUNK ? onePage(Reservations) : Reservations, NextToken }
  }
  // Whatever is wrong with the call is seen here, before anything is answered.
  const { value: first } = await chunks.next()
  if (!first) return { Reservations: [] }
  if (first.isLast) return pageOf(first.found, undefined) as DescribeInstancesPages
  return { Reservations: joined(inTurns(chunks, first)) }
}

function search(context: ReadContext, input: DescribeInstancesRequest): AsyncGenerator<Chunk> {
  const { InstanceIds: ids = [], MaxResults, NextToken, Filters: filters = [] } = input
  refuseIdsWithMaxResults(ids, MaxResults, 'instancesSet')
  checkIds(RESOURCE_KINDS.instance, ids)
  return searchInstances(context.read, {
    account: context.account, region: context.region, filters,
    ids: ids.length > 0 ? [...new Set(ids)] : undefined,
    after: NextToken ? decodeToken(OPERATION, NextToken) : undefined,
  })
}

/** What the steps found; with `size`, only until one more than that is found. */
async function collect(chunks: AsyncIterable<Chunk>, size: number | undefined): Promise<InstanceItem[]> {
  const found: InstanceItem[] = []
  for await (const chunk of chunks) {
    for (const item of chunk.found) found.push(item)
    if (size !== undefined && found.length > size) break
  }
  return found
}

function pageOf(found: readonly InstanceItem[], size: number | undefined): DescribeInstancesResult {
  const page = found.slice(0, size)
  const last = page.at(-1)
  const NextToken = last && page.length < found.length ? encodeToken(OPERATION, launchKey(last.row)) : undefined
  return { Reservations: reservationsOf(page), NextToken }
}

function reservationsOf(items: readonly InstanceItem[]): Reservation[] {
  return toReservations(items.map((item) => item.row), items.map((item) => item.instance))
}

/** Lets everybody else have a turn between steps. */
async function* inTurns(chunks: AsyncGenerator<Chunk>, first?: Chunk): AsyncGenerator<Chunk> {
  for (let chunk = first ?? (await chunks.next()).value; chunk; chunk = (await chunks.next()).value) {
    yield chunk
    if (chunk.isLast) return
    await nextTurn()
  }
}

/** Reservations as they become complete; one may have been found in several steps. */
async function* joined(chunks: AsyncIterable<Chunk>): AsyncGenerator<Reservation[]> {
  let open: Reservation | undefined
  for await (const { found } of chunks) {
    const reservations = reservationsOf(found)
    if (open && reservations[0]?.ReservationId === open.ReservationId) {
      open.Instances?.push(...(reservations.shift()?.Instances ?? []))
    }
    const next = reservations.pop()
    if (!next) continue
    if (open) reservations.unshift(open)
    open = next
    if (reservations.length > 0) yield reservations
  }
  if (open) yield [open]
}

async function* onePage<T>(items: T[]): AsyncGenerator<T[]> {
  yield items
}
