import type { NatGatewayTable } from '../store/schema.ts'

/** How long a NAT gateway that was deleted, or could not be made, is still shown. */
const SHOWN_FOR_MS = 3_600_000

/** What of a NAT gateway SQL never looks into; shown until its row goes, whatever became of it. */
export interface NatGatewayDoc {
  interfaceId: string | null
  privateIp: string | null
  /** The Elastic IP of a public one. */
  allocationId: string | null
  associationId: string | null
  publicIp: string | null
  /** Why it could not be made. */
  failure: { code: string; message: string } | null
}

/** The doc of a NAT gateway row. */
export function natGatewayDoc(row: Pick<NatGatewayTable, 'doc'>): NatGatewayDoc {
  return JSON.parse(row.doc) as NatGatewayDoc
}

/** Rows of NAT gateways that ended before this are not shown any more. */
export function endOfShowing(nowMs: number): number {
  return nowMs - SHOWN_FOR_MS
}
