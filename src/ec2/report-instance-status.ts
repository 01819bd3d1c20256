import type { ReportInstanceStatusRequest } from '@aws-sdk/client-ec2'
import { changeInstanceDoc, instanceDoc, type StatusReport } from '../model/instance.ts'
import type { Context } from './context.ts'
import { incorrectState, requireInstances } from './instance-rows.ts'
import { checkEnum, invalidValue, missingParameter } from './parameters.ts'

const REASONS = [
  'instance-stuck-in-state', 'unresponsive', 'not-accepting-credentials', 'password-not-available', 'performance-network',
  'performance-instance-store', 'performance-ebs-volume', 'performance-other', 'other',
] as const

/** Reports that are kept of an instance. */
const MOST_REPORTS = 5
const MOST_DESCRIPTION_CHARACTERS = 1000

/**
 * ReportInstanceStatus: what the owner says of running instances is kept for whoever runs this cloud (`hearth event list`),
 * and changes nothing of what DescribeInstanceStatus says.
 */
export async function reportInstanceStatus(context: Context, input: ReportInstanceStatusRequest): Promise<Record<string, never>> {
  const report = readReport(input, context.nowMs)
  const rows = await requireInstances(context, input.Instances)
  for (const row of rows) {
    if (row.state !== 'running') throw incorrectState(`The instance '${row.instance_id}' is not in the 'running' state.`)
    const statusReports = [...instanceDoc(row).statusReports ?? [], report].slice(-MOST_REPORTS)
    await changeInstanceDoc(context.db, row.instance_id, { statusReports })
  }
  return {}
}

function readReport(input: ReportInstanceStatusRequest, nowMs: number): StatusReport {
  const status = checkEnum('status', input.Status, ['ok', 'impaired'])
  if (!status) throw missingParameter('Status')
  const given = input.ReasonCodes ?? []
  if (given.length === 0) throw missingParameter('ReasonCode')
  const reasonCodes = [...new Set(given)].map((code) => {
    const reason = checkEnum('reasonCode', code, REASONS)
    if (!reason) throw invalidValue('reasonCode', code)
    return reason
  })
  const startMs = input.StartTime?.getTime() ?? null
  const endMs = input.EndTime?.getTime() ?? null
  if (startMs !== null && endMs !== null && endMs < startMs) {
    throw invalidValue('endTime', input.EndTime?.toISOString(), 'It is before startTime.')
  }
  const description = input.Description ?? null
  if (description !== null && description.length > MOST_DESCRIPTION_CHARACTERS) {
    throw invalidValue('description', `${description.slice(0, 20)}…`, `It is longer than ${MOST_DESCRIPTION_CHARACTERS} characters.`)
  }
  return { reportedMs: nowMs, status, reasonCodes, startMs, endMs, description }
}
