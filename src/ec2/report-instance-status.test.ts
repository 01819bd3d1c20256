import type { ReportInstanceStatusRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, NOW_MS } from '../../test/support/rows.ts'
import { reportInstanceStatus } from './report-instance-status.ts'

let lab: AttributeLab
let id: string
beforeEach(async () => {
  lab = await openAttributeLab()
  id = (await lab.run((context) => insertInstance(context))).instance_id
})

const input = (change: Partial<ReportInstanceStatusRequest> = {}): ReportInstanceStatusRequest =>
  ({ Instances: [id], Status: 'impaired', ReasonCodes: ['unresponsive', 'other'], ...change })

describe('ReportInstanceStatus', () => {
  it('keeps what is said of instances, the last five times', async () => {
    await lab.call(reportInstanceStatus, input({
      StartTime: new Date(NOW_MS - 60_000), EndTime: new Date(NOW_MS), Description: 'does not answer',
    }))
    expect((await lab.row(id)).parsed.statusReports).toEqual([{
      reportedMs: NOW_MS, status: 'impaired', reasonCodes: ['unresponsive', 'other'], startMs: NOW_MS - 60_000, endMs: NOW_MS,
      description: 'does not answer',
    }])
    for (let each = 1; each <= 5; each++) {
      lab.pass(1)
      await lab.call(reportInstanceStatus, input({ Status: 'ok' }))
    }
    expect((await lab.row(id)).parsed.statusReports?.map((report) => [report.reportedMs - NOW_MS, report.status]))
      .toEqual([[1, 'ok'], [2, 'ok'], [3, 'ok'], [4, 'ok'], [5, 'ok']])
  })

  it.each([
    ['a status that there is not', { Status: 'fine' }, /^InvalidParameterValue: .*\(fine\) for parameter status/],
    ['a reason that there is not', { ReasonCodes: ['other', 'slow'] }, /^InvalidParameterValue: .*\(slow\) for parameter reasonCode/],
    ['no reason', { ReasonCodes: [] }, /^MissingParameter: .* ReasonCode/],
    ['no instance', { Instances: [] }, /^MissingParameter: .* InstanceId/],
    ['an end before its start', { StartTime: new Date(NOW_MS), EndTime: new Date(NOW_MS - 1) }, /^InvalidParameterValue: .* endTime/],
    ['a description without end', { Description: 'x'.repeat(1001) }, /^InvalidParameterValue: .* description/],
    ['an unknown instance', { Instances: ['i-00000000000000000'] }, /^InvalidInstanceID.NotFound/],
  ])('refuses %s', async (_what, change, failure) => {
    expect(await lab.failure(reportInstanceStatus, input(change as Partial<ReportInstanceStatusRequest>))).toMatch(failure)
  })

  it('takes reports of running instances only, all or none', async () => {
    const stopped = await lab.run((context) => insertInstance(context, { state: 'stopped' }))
    expect(await lab.failure(reportInstanceStatus, input({ Instances: [id, stopped.instance_id] })))
      .toBe(`IncorrectInstanceState: The instance '${stopped.instance_id}' is not in the 'running' state.`)
    expect((await lab.row(id)).parsed.statusReports).toBeUndefined()
  })
})
