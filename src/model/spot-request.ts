import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import type { SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { leadingNode } from './spot-market.ts'

export type SpotRequestState = SpotRequestTable['state']
export type InterruptionBehavior = 'terminate' | 'stop' | 'hibernate'

/** What of a request SQL never looks into. */
export interface SpotRequestDoc {
  /** What its instance is launched with, but for its market, and with one instance. */
  launch: Omit<RunInstancesRequest, 'InstanceMarketOptions' | 'MinCount' | 'MaxCount' | 'ClientToken' | 'TagSpecifications'>
  /** Tags for its instance and what comes with that; those of the request itself are in `tags`. */
  launchTags: RunInstancesRequest['TagSpecifications']
  /** As asked for, "" where the default (the price on demand) was taken. */
  spotPrice: string
  behavior: InterruptionBehavior
  statusMessage: string
  productDescription: string
  /** The zone that its instance is, or was, in. */
  launchedZone: string | null
  /** Zones that will do, where several were named; else null. */
  zones: string[] | null
  /** Why it failed. */
  fault: { code: string; message: string } | null
  /** Its user cancelled it; its instance may run on. */
  isCancelled: boolean
  /** When it closed, was cancelled or failed. */
  endedMs: number | null
}

/** Moves of a request: AWS, "Spot request status", https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html */
export const SPOT_REQUEST_TRANSITIONS: Readonly<Record<SpotRequestState, readonly SpotRequestState[]>> = {
  open: ['open', 'active', 'cancelled', 'closed', 'failed'],
  active: ['active', 'disabled', 'open', 'closed', 'cancelled'],
  disabled: ['disabled', 'active', 'open', 'closed', 'cancelled'],
  closed: [],
  // One that was cancelled while its instance ran is told of the instance's end.
  cancelled: ['cancelled', 'closed'],
  failed: [],
}

export function spotRequestDoc(row: Pick<SpotRequestTable, 'doc'>): SpotRequestDoc {
  return JSON.parse(row.doc) as SpotRequestDoc
}

/** Its reconciler and the market are to look at it, at `dueMs`. Whatever changes a request calls this. */
export async function wakeSpotRequest(db: Db, requestId: string, dueMs: number): Promise<void> {
  const nodeId = await leadingNode(db)
  if (nodeId !== undefined) await enqueue(db, { kind: 'spot-request', id: requestId, hostId: nodeId }, dueMs)
}

/** What of a row a move may change. */
export type SpotRequestChange = Partial<Pick<SpotRequestTable, 'instance_id'>> & { doc?: Partial<SpotRequestDoc> }

/**
 * Moves a request to a state and status, where it may go there from where it is now, and tells the market.
 *
 * @returns the row as it is after; undefined, with nothing changed, where it has left `row.state` meanwhile.
 * @throws Error on a move that the table of transitions does not have.
 */
export async function moveSpotRequest(
  db: Db,
  row: SpotRequestTable,
  to: { state: SpotRequestState; status: string; message: string },
  nowMs: number,
  { doc: docChange = {}, ...change }: SpotRequestChange = {},
): Promise<SpotRequestTable | undefined> {
  if (!SPOT_REQUEST_TRANSITIONS[row.state].includes(to.state)) throw new Error(`${row.request_id}: no way from ${row.state} to ${to.state}`)
  const current = await db
    .selectFrom('spot_requests').selectAll().where('request_id', '=', row.request_id).where('state', '=', row.state).executeTakeFirst()
  if (!current) return undefined
  const isEnd = ['closed', 'cancelled', 'failed'].includes(to.state)
  const doc = { ...spotRequestDoc(current), ...(isEnd ? { endedMs: nowMs } : {}), ...docChange, statusMessage: to.message }
  const columns = { ...change, state: to.state, status_code: to.status, status_ms: nowMs, doc: JSON.stringify(doc) }
  await db.updateTable('spot_requests').set(columns).where('request_id', '=', row.request_id).execute()
  await wakeSpotRequest(db, row.request_id, nowMs)
  return { ...current, ...columns }
}
