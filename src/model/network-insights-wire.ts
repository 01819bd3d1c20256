import type { NetworkInsightsAnalysis, NetworkInsightsPath, Tag } from '@aws-sdk/client-ec2'
import type { NetworkInsightsTable } from '../store/schema.ts'
import { ec2Arn } from './arn.ts'
import { insightsAnalysisDoc, insightsPathDoc } from './network-insights.ts'

/** Types in ARNs, by the prefix of ids. */
const ARN_TYPES: Record<string, string> = {
  i: 'instance', eni: 'network-interface', sg: 'security-group', acl: 'network-acl', rtb: 'route-table', igw: 'internet-gateway',
  nat: 'natgateway', pcx: 'vpc-peering-connection', subnet: 'subnet', vpc: 'vpc', nip: 'network-insights-path',
  nia: 'network-insights-analysis',
}

/** ARN of what has that id. */
export function arnOfId({ region, account }: { region: string; account: string }, id: string): string {
  return ec2Arn(region, account, ARN_TYPES[id.slice(0, id.indexOf('-'))] ?? 'resource', id)
}

/** A path as DescribeNetworkInsightsPaths shows it. */
export function insightsPathToWire(row: NetworkInsightsTable, tags: Tag[], region: string): NetworkInsightsPath {
  const doc = insightsPathDoc(row)
  const names = { region, account: row.account_id }
  return {
    NetworkInsightsPathId: row.id,
    NetworkInsightsPathArn: arnOfId(names, row.id),
    CreatedDate: new Date(row.created_ms),
    Source: doc.source,
    SourceArn: arnOfId(names, doc.source),
    Destination: doc.destination ?? undefined,
    DestinationArn: doc.destination === null ? undefined : arnOfId(names, doc.destination),
    SourceIp: doc.sourceIp ?? undefined,
    DestinationIp: doc.destinationIp ?? undefined,
    Protocol: doc.protocol,
    DestinationPort: doc.destinationPort ?? undefined,
    Tags: tags,
  }
}

/** An analysis as DescribeNetworkInsightsAnalyses shows it. */
export function insightsAnalysisToWire(row: NetworkInsightsTable, tags: Tag[], region: string): NetworkInsightsAnalysis {
  const doc = insightsAnalysisDoc(row)
  return {
    NetworkInsightsAnalysisId: row.id,
    NetworkInsightsAnalysisArn: arnOfId({ region, account: row.account_id }, row.id),
    NetworkInsightsPathId: row.path_id ?? undefined,
    StartDate: new Date(row.created_ms),
    Status: doc.status,
    StatusMessage: doc.statusMessage ?? undefined,
    NetworkPathFound: doc.pathFound ?? undefined,
    ForwardPathComponents: doc.forward,
    ReturnPathComponents: doc.back,
    Explanations: doc.explanations,
    Tags: tags,
  }
}
