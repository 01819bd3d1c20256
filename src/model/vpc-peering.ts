import type { VpcPeeringTable } from '../store/schema.ts'
import type { PeeringOptionsDoc } from './vpc-names.ts'

/** Status of a peering as it is now: a request that nobody answered expires by itself. */
export type PeeringStatus = VpcPeeringTable['status']

/** What of a peering SQL never looks into. */
export interface VpcPeeringDoc extends PeeringOptionsDoc {
  /** The account that rejected or deleted it. */
  endedBy?: string
}

/** How long a request may stay unanswered: https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html */
export const EXPIRY_MS = 7 * 24 * 60 * 60 * 1000

const TWO_HOURS_MS = 2 * 60 * 60 * 1000
const TWO_DAYS_MS = 2 * 24 * 60 * 60 * 1000

/** How long anybody may see a peering that has ended. */
export const LONGEST_VISIBLE_MS = TWO_DAYS_MS

export function vpcPeeringDoc(row: Pick<VpcPeeringTable, 'doc'>): VpcPeeringDoc {
  return JSON.parse(row.doc) as VpcPeeringDoc
}

/** The status of a peering at the given time, with EC2's sentence for it. */
export function peeringStatus(row: VpcPeeringTable, nowMs: number): { code: PeeringStatus; message: string } {
  if (row.status === 'pending-acceptance' && row.expires_ms <= nowMs) return { code: 'expired', message: 'Expired' }
  return { code: row.status, message: row.status_message }
}

/** When the peering ended; undefined for one that has not. */
export function peeringEndMs(row: VpcPeeringTable, nowMs: number): number | undefined {
  if (row.ended_ms !== null) return row.ended_ms
  return peeringStatus(row, nowMs).code === 'expired' ? row.expires_ms : undefined
}

/**
 * Whether the account still sees a peering of its own: one that has ended is shown for two hours or two
 * days, to each side as EC2 documents it.
 * https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle
 */
export function isPeeringVisible(row: VpcPeeringTable, account: string, nowMs: number): boolean {
  const isRequester = row.account_id === account
  if (!isRequester && row.accepter_account_id !== account) return false
  const endMs = peeringEndMs(row, nowMs)
  if (endMs === undefined) return true
  return nowMs < endMs + visibleMs(row, account, nowMs)
}

function visibleMs(row: VpcPeeringTable, account: string, nowMs: number): number {
  const isRequester = row.account_id === account
  switch (peeringStatus(row, nowMs).code) {
    case 'failed':
      return isRequester ? TWO_HOURS_MS : 0
    case 'rejected':
      return isRequester ? TWO_DAYS_MS : TWO_HOURS_MS
    case 'deleted':
      return vpcPeeringDoc(row).endedBy === account ? TWO_HOURS_MS : TWO_DAYS_MS
    default:
      return TWO_DAYS_MS
  }
}
