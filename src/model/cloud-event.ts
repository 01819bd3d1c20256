import type { Db } from '../store/store.ts'
import { prepared } from '../store/prepared.ts'

/** What EC2 and EBS tell EventBridge of. */
export type DetailType =
  | 'EC2 Instance State-change Notification' | 'EC2 Spot Instance Interruption Warning' | 'EC2 Instance Rebalance Recommendation'
  | 'EC2 Spot Instance Request Fulfillment' | 'EC2 AMI State Change' | 'EBS Volume Notification' | 'EBS Snapshot Notification'
  | 'EC2 Fleet State Change' | 'EC2 Fleet Spot Instance Request Change' | 'EC2 Fleet Instance Change' | 'EC2 Fleet Information' | 'EC2 Fleet Error'
  | 'EC2 Spot Fleet State Change' | 'EC2 Spot Fleet Spot Instance Request Change' | 'EC2 Spot Fleet Instance Change' | 'EC2 Spot Fleet Information'
  | 'EC2 Spot Fleet Error'

/** An event of somebody's cloud. */
export interface CloudEvent {
  accountId: string
  detailType: DetailType
  /** ARNs of what it is about. */
  resources: readonly string[]
  detail: object
}

const insertEvent = prepared((db, accountId: string, atMs: number, source: string, detailType: string, resources: string, detail: string) =>
  db.insertInto('cloud_events').values({ account_id: accountId, at_ms: atMs, source, detail_type: detailType, resources, detail }))

/** Fleets have sources of their own: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-event-types.html */
function sourceOf(detailType: DetailType): string {
  if (detailType.startsWith('EC2 Fleet ')) return 'aws.ec2fleet'
  return detailType.startsWith('EC2 Spot Fleet ') ? 'aws.ec2spotfleet' : 'aws.ec2'
}

/** Writes an event down in the transaction that it tells of; whoever listens gets it after the commit. */
export async function emitEvent(db: Db, { accountId, detailType, resources, detail }: CloudEvent, nowMs: number): Promise<void> {
  await insertEvent(db, accountId, nowMs, sourceOf(detailType), detailType, JSON.stringify(resources), JSON.stringify(detail))
}

/** The region that a zone is in, by its name. */
export function regionOfZone(zone: string): string {
  return zone.replace(/[a-z]$/, '')
}

/** arn:aws:ec2:us-east-1:000000000000:instance/i-… */
export function instanceArn({ zone, account_id: account, instance_id: id }: { zone: string; account_id: string; instance_id: string }): string {
  return `arn:aws:ec2:${regionOfZone(zone)}:${account}:instance/${id}`
}
