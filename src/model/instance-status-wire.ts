import type { InstanceStatusSummary } from '@aws-sdk/client-ec2'
import type { InstanceTable } from '../store/schema.ts'
import { hasContact, instanceDoc, lastStartMs, type InstanceDoc } from './instance.ts'
import { lostSinceMs, type Outage } from './outage.ts'
import { BOOT_DEADLINE_MS, CHECK_INTERVAL_MS } from './status-check.ts'

type Row = Pick<InstanceTable, 'state' | 'launch_ms' | 'doc'>

const OK = { Status: 'ok', Details: [{ Name: 'reachability', Status: 'passed' }] } as const satisfies InstanceStatusSummary
const INITIALIZING = {
  Status: 'initializing', Details: [{ Name: 'reachability', Status: 'initializing' }],
} as const satisfies InstanceStatusSummary
const NOT_APPLICABLE = { Status: 'not-applicable' } as const satisfies InstanceStatusSummary

type Statuses = Record<'SystemStatus' | 'InstanceStatus' | 'AttachedEbsStatus', InstanceStatusSummary>

/**
 * SystemStatus, InstanceStatus and AttachedEbsStatus of DescribeInstanceStatus. All have failed with the zone: until its host
 * has the end of that in force, and for a machine that has lost its power, until that is started again.
 */
export function instanceStatuses(row: Row, nowMs: number, outage?: Outage): Statuses {
  if (row.state !== 'running') {
    return { SystemStatus: NOT_APPLICABLE, InstanceStatus: NOT_APPLICABLE, AttachedEbsStatus: NOT_APPLICABLE }
  }
  if (outage?.isOver === false) {
    const failed = impaired(outage.sinceMs)
    return { SystemStatus: failed, InstanceStatus: failed, AttachedEbsStatus: failed }
  }
  const doc = instanceDoc(row)
  const { outOfSpaceSinceMs } = doc
  const withoutVolumesMs = outOfSpaceSinceMs ?? lostSinceMs(row, outage)
  return {
    SystemStatus: systemStatus(row, doc, nowMs),
    InstanceStatus: outOfSpaceSinceMs === null ? guestStatus(row, doc, nowMs) : impaired(outOfSpaceSinceMs),
    AttachedEbsStatus: withoutVolumesMs === null ? OK : impaired(withoutVolumesMs),
  }
}

/** Nobody has looked yet, until the first round of checks or a word of the guest. */
function systemStatus(row: Row, doc: InstanceDoc, nowMs: number): InstanceStatusSummary {
  const sinceMs = doc.checks?.systemSinceMs ?? null
  if (sinceMs !== null) return impaired(sinceMs)
  return isUp(row, doc) || nowMs >= lastStartMs(row, doc) + CHECK_INTERVAL_MS ? OK : INITIALIZING
}

/** A guest boots until it is heard of, or has taken too long. */
function guestStatus(row: Row, doc: InstanceDoc, nowMs: number): InstanceStatusSummary {
  const sinceMs = doc.checks?.instanceSinceMs ?? null
  if (sinceMs !== null) return impaired(sinceMs)
  if (isUp(row, doc)) return OK
  const deadlineMs = lastStartMs(row, doc) + BOOT_DEADLINE_MS
  return nowMs < deadlineMs ? INITIALIZING : impaired(deadlineMs)
}

/** A simulated guest asks nobody for its address: it is up as soon as it runs. */
function isUp(row: Row, doc: InstanceDoc): boolean {
  return hasContact(row, doc) || doc.platform?.accelerator === 'sim'
}

function impaired(sinceMs: number): InstanceStatusSummary {
  return { Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed', ImpairedSince: new Date(sinceMs) }] }
}
