import { createHash } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { CloudEventTable } from '../store/schema.ts'

/** An event as EventBridge hands it to its targets: https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html */
export interface Envelope {
  version: '0'
  id: string
  'detail-type': string
  source: string
  account: string
  /** 2026-01-31T10:00:00Z */
  time: string
  region: string
  resources: string[]
  detail: Record<string, unknown>
}

/** The envelope of a row; every reader makes the same of it. */
export function envelopeOf(row: Selectable<CloudEventTable>, region: string): Envelope {
  return {
    version: '0', id: idOf(row, region), 'detail-type': row.detail_type, source: row.source, account: row.account_id,
    time: `${new Date(row.at_ms).toISOString().slice(0, 19)}Z`, region,
    resources: JSON.parse(row.resources) as string[], detail: JSON.parse(row.detail) as Record<string, unknown>,
  }
}

/** A UUID of what makes the event another one than all others, so that who gets it twice can tell. */
function idOf({ seq, account_id: account, at_ms: atMs, detail_type: type }: Selectable<CloudEventTable>, region: string): string {
  const hash = createHash('sha256').update(JSON.stringify([region, account, seq, atMs, type])).digest()
  // Version 8 is for what one makes as one likes (RFC 9562).
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x80, 6)
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8)
  return hash.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
