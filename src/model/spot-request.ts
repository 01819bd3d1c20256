import type { RunInstancesRequest } from '@aws-sdk/client-ec2'
import { insertRow } from '../store/prepared.ts'
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
  /** Of the first request of a call that had one: it is forgotten with it. */
  clientToken?: string
  /** Tags that EC2 itself gives to its instance. */
  ownTags?: { key: string; value: string }[]
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

/**
 * What a request's status may be, the states that it goes with, and what it tells. Codes and states: AWS, "Spot request status"
 * (spot-request-status.html in the user guide); sentences as EC2 has been seen to write them, or else as the guide explains the code.
 */
export const SPOT_STATUSES = {
  'pending-evaluation': { states: ['open'], message: 'Your Spot request has been submitted for review, and is pending evaluation.' },
  'not-scheduled-yet': {
    states: ['open'], message: "Your Spot request will not be evaluated until its scheduled date due to your 'Valid From' constraint.",
  },
  'capacity-not-available': { states: ['open'], message: 'There is no Spot capacity available that matches your request.' },
  'price-too-low': { states: ['open'], message: 'Your Spot request price is lower than the minimum required Spot request fulfillment price.' },
  'launch-group-constraint': {
    states: ['open'], message: 'Your Spot request cannot be fulfilled yet: all instances of its launch group have to be launched at the same time.',
  },
  'az-group-constraint': {
    states: ['open'], message: 'Your Spot request cannot be fulfilled yet: all instances of its Availability Zone group have to be in the same Availability Zone.',
  },
  'placement-group-constraint': {
    states: ['open'], message: 'Your Spot request cannot be fulfilled yet: an instance cannot be added to the placement group at this time.',
  },
  'constraint-not-fulfillable': { states: ['open'], message: 'Your Spot request cannot be fulfilled because one or more constraints are not valid.' },
  'limit-exceeded': { states: ['open'], message: 'Your Spot request cannot be fulfilled yet: a limit of your account was exceeded.' },
  'pending-fulfillment': { states: ['open'], message: 'Your Spot request is pending fulfillment.' },
  fulfilled: { states: ['active'], message: 'Your spot request is fulfilled.' },
  'marked-for-stop': { states: ['active'], message: 'Your Spot Instance is marked for stopping.' },
  'marked-for-termination': { states: ['active'], message: 'Your Spot Instance is marked for termination.' },
  'instance-stopped-by-user': { states: ['disabled', 'cancelled'], message: 'Spot Instance stopped due to user-initiated stop.' },
  'instance-stopped-by-price': {
    states: ['disabled'], message: 'Your Spot Instance was stopped because your Spot request price was lower than required fulfillment price.',
  },
  'instance-stopped-no-capacity': {
    states: ['disabled'], message: 'Your Spot Instance was stopped because there is no Spot capacity available that matches your request.',
  },
  'instance-terminated-by-price': {
    states: ['closed', 'open', 'cancelled'],
    message: 'Your Spot Instance was terminated because your Spot request price was lower than required fulfillment price.',
  },
  'instance-terminated-no-capacity': {
    states: ['closed', 'open', 'cancelled'],
    message: 'Your Spot instance was terminated because there is no Spot capacity available that matches your request.',
  },
  'instance-terminated-launch-group-constraint': {
    states: ['closed', 'open', 'cancelled'], message: 'Your Spot Instance was terminated because an instance of its launch group was terminated.',
  },
  'instance-terminated-by-user': { states: ['closed', 'cancelled'], message: 'Spot Instance terminated due to user-initiated termination.' },
  'instance-terminated-by-schedule': { states: ['closed', 'cancelled'], message: 'Your Spot Instance was terminated at the end of its scheduled duration.' },
  'instance-terminated-by-service': { states: ['cancelled'], message: 'Your Spot Instance was terminated from a stopped state.' },
  'system-error': { states: ['closed', 'cancelled'], message: 'There was an unexpected system error. Please try again.' },
  'bad-parameters': { states: ['failed'], message: 'Your Spot request failed due to bad parameters.' },
  'schedule-expired': { states: ['cancelled'], message: 'Your Spot request expired because it was not fulfilled before its end date.' },
  'canceled-before-fulfillment': { states: ['cancelled'], message: 'Your Spot request is canceled before it was fulfilled.' },
  'request-canceled-and-instance-running': {
    states: ['cancelled'], message: 'Your Spot request is canceled, but your instance(s) are still running.',
  },
} as const satisfies Record<string, { states: readonly SpotRequestState[]; message: string }>

export type SpotStatusCode = keyof typeof SPOT_STATUSES

/** Where a request may go to, and what it says there. */
export interface SpotRequestMove {
  state: SpotRequestState
  status: SpotStatusCode
  message: string
}

/** A move whose sentence is the one of the table, unless another is given. */
export function toStatus(state: SpotRequestState, status: SpotStatusCode, message: string = SPOT_STATUSES[status].message): SpotRequestMove {
  return { state, status, message }
}

/** "Your Spot request will not be evaluated until 2026-01-01T00:00:00+0000 due to your 'Valid From' constraint." */
export function notScheduledYet(validFromMs: number): SpotRequestMove {
  const at = new Date(validFromMs).toISOString().replace(/\.\d+Z$/, '+0000')
  return toStatus('open', 'not-scheduled-yet', `Your Spot request will not be evaluated until ${at} due to your 'Valid From' constraint.`)
}

/** EC2's sentence for an offer, and for the lowest price that it would have had to meet; dollars. */
export function priceTooLow(offer: string, lowest: string): string {
  return `Your Spot request price of ${offer} is lower than the minimum required Spot request fulfillment price of ${lowest}.`
}

/** How long a request is shown after its end: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotInstanceRequests.html */
export const ENDED_RETENTION_MS = 4 * 60 * 60 * 1000

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
  to: SpotRequestMove,
  nowMs: number,
  { doc: docChange = {}, ...change }: SpotRequestChange = {},
): Promise<SpotRequestTable | undefined> {
  const states: readonly SpotRequestState[] = SPOT_STATUSES[to.status].states
  if (!SPOT_REQUEST_TRANSITIONS[row.state].includes(to.state) || !states.includes(to.state)) {
    throw new Error(`${row.request_id}: no way from ${row.state} to ${to.state} (${to.status})`)
  }
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

/** A request that is about to be: `requestId` is its own, everything else may be the same for many. */
export async function insertSpotRequest(db: Db, row: SpotRequestTable, nowMs: number): Promise<void> {
  await insertRow(db, 'spot_requests', { ...row })
  await wakeSpotRequest(db, row.request_id, nowMs)
}

/** States of a request that wants an instance, or has one. */
export const LIVING_STATES = ['open', 'active', 'disabled'] as const satisfies readonly SpotRequestState[]
