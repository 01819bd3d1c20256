import type { Explanation, PathComponent } from '@aws-sdk/client-ec2'
import type { NetworkInsightsTable } from '../store/schema.ts'

/** What of a path SQL never looks into: the question that its analyses answer. */
export interface InsightsPathDoc {
  /** Ids of an instance, an interface or an internet gateway; the destination may be an address alone. */
  source: string
  destination: string | null
  sourceIp: string | null
  destinationIp: string | null
  protocol: 'tcp' | 'udp'
  /** Null for any. */
  destinationPort: number | null
}

/** What of an analysis SQL never looks into: what it found, in the wire's form. */
export interface InsightsAnalysisDoc {
  status: 'succeeded' | 'failed'
  statusMessage: string | null
  /** Null when it failed. */
  pathFound: boolean | null
  forward: PathComponent[]
  back: PathComponent[]
  explanations: Explanation[]
}

export function insightsPathDoc(row: Pick<NetworkInsightsTable, 'doc'>): InsightsPathDoc {
  return JSON.parse(row.doc) as InsightsPathDoc
}

export function insightsAnalysisDoc(row: Pick<NetworkInsightsTable, 'doc'>): InsightsAnalysisDoc {
  return JSON.parse(row.doc) as InsightsAnalysisDoc
}
