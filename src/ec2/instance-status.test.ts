import type { DescribeInstanceStatusRequest } from '@aws-sdk/client-ec2'
import { beforeEach, describe, expect, it } from 'vitest'
import { openAttributeLab, type AttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance, NOW_MS } from '../../test/support/rows.ts'
import type { InstanceDoc } from '../model/instance.ts'
import type { InstanceTable } from '../store/schema.ts'
import { describeInstanceStatus } from './instance-status.ts'

let lab: AttributeLab

beforeEach(async () => {
  lab = await openAttributeLab()
})

const insert = async (state: InstanceTable['state'] = 'running', doc: Partial<InstanceDoc> = { contactMs: NOW_MS }) =>
  (await lab.run((context) => insertInstance(context, { state }, doc))).instance_id

const statuses = async (input: DescribeInstanceStatusRequest = {}) =>
  (await lab.call(describeInstanceStatus, input)).InstanceStatuses ?? []

const PASSED = { Status: 'ok', Details: [{ Name: 'reachability', Status: 'passed' }] }

describe('DescribeInstanceStatus', () => {
  it('shows running instances only, unless asked for all', async () => {
    const up = await insert()
    const down = await insert('stopped')
    expect(await statuses()).toEqual([{
      AvailabilityZone: 'us-east-1a', AvailabilityZoneId: 'use1-az1', Events: [], InstanceId: up,
      InstanceState: { Code: 16, Name: 'running' }, InstanceStatus: PASSED, SystemStatus: PASSED,
      AttachedEbsStatus: PASSED, Operator: { Managed: false },
    }])
    expect(await statuses({ InstanceIds: [up, down] })).toHaveLength(1)
    const notApplicable = { Status: 'not-applicable' }
    expect(await statuses({ InstanceIds: [down], IncludeAllInstances: true })).toMatchObject([{
      InstanceState: { Code: 80, Name: 'stopped' }, InstanceStatus: notApplicable, SystemStatus: notApplicable,
      AttachedEbsStatus: notApplicable,
    }])
  })

  it('calls a guest initializing until it asked for its address since its start, and then impaired', async () => {
    await insert('running', { contactMs: null })
    await insert('running', { contactMs: NOW_MS - 1 })
    const guest = async () => (await statuses()).map((each) => each.InstanceStatus?.Status)
    expect(await guest()).toEqual(['initializing', 'initializing'])
    lab.pass(10 * 60 * 1000)
    expect(await guest()).toEqual(['impaired', 'impaired'])
    const [first] = await statuses()
    expect(first?.SystemStatus).toEqual(PASSED)
    expect(first?.InstanceStatus?.Details).toEqual([
      { Name: 'reachability', Status: 'failed', ImpairedSince: new Date(NOW_MS + 10 * 60 * 1000) },
    ])
  })

  it('calls the system initializing until the first round of checks, or until the guest is heard of', async () => {
    await insert('running', { contactMs: null })
    await insert('running', { contactMs: NOW_MS })
    const system = async () => (await statuses()).map((each) => each.SystemStatus?.Status)
    expect((await system()).toSorted()).toEqual(['initializing', 'ok'])
    lab.pass(60 * 1000)
    expect(await system()).toEqual(['ok', 'ok'])
  })

  it('counts anew from when the machine was last started, as by a reboot', async () => {
    await insert('running', { contactMs: null, startedMs: NOW_MS + 3_600_000 })
    lab.pass(3_600_000 + 599_999)
    expect((await statuses())[0]?.InstanceStatus?.Status).toBe('initializing')
    lab.pass(1)
    expect((await statuses())[0]?.InstanceStatus?.Status).toBe('impaired')
  })

  it('tells what the status checks found, and since when', async () => {
    const sinceMs = NOW_MS - 90_000
    const failed = { Status: 'impaired', Details: [{ Name: 'reachability', Status: 'failed', ImpairedSince: new Date(sinceMs) }] }
    const hung = await insert('running', { contactMs: NOW_MS, checks: { systemSinceMs: sinceMs, instanceSinceMs: sinceMs } })
    const panicked = await insert('running', { contactMs: NOW_MS, checks: { systemSinceMs: null, instanceSinceMs: sinceMs } })
    const well = await insert('running', { contactMs: NOW_MS, checks: null })
    const byId = new Map((await statuses()).map((each) => [each.InstanceId, each]))
    expect(byId.get(hung)).toMatchObject({ SystemStatus: failed, InstanceStatus: failed, AttachedEbsStatus: PASSED })
    expect(byId.get(panicked)).toMatchObject({ SystemStatus: PASSED, InstanceStatus: failed })
    expect(byId.get(well)).toMatchObject({ SystemStatus: PASSED, InstanceStatus: PASSED })
    const failing = (Name: string, value: string) => statuses({ Filters: [{ Name, Values: [value] }] })
    expect((await failing('system-status.status', 'impaired')).map((each) => each.InstanceId)).toEqual([hung])
    expect((await failing('system-status.reachability', 'failed')).map((each) => each.InstanceId)).toEqual([hung])
    expect(await failing('instance-status.reachability', 'failed')).toHaveLength(2)
  })

  it('takes a simulated guest for up as soon as it runs', async () => {
    await insert('running', { contactMs: null, platform: { machineType: 'sim', cpuModel: 'sim', accelerator: 'sim' } })
    expect((await statuses())[0]?.InstanceStatus).toEqual(PASSED)
  })

  it.each([
    ['availability-zone', 'us-east-1a', 2], ['availability-zone-id', 'use1-az1', 2], ['instance-state-code', '16', 1],
    ['instance-state-name', 'stopped', 1], ['instance-status.reachability', 'passed', 1], ['instance-status.status', 'ok', 1],
    ['operator.managed', 'false', 2], ['system-status.reachability', 'passed', 1], ['system-status.status', 'not-applicable', 1],
    ['attached-ebs-status.status', 'ok', 1], ['event.code', '*', 0], ['event.description', '*', 0],
    ['event.instance-event-id', '*', 0], ['event.not-after', '*', 0], ['event.not-before', '*', 0],
    ['event.not-before-deadline', '*', 0], ['operator.principal', '*', 0],
  ])('filters by %s = %s', async (Name, value, expected) => {
    await insert()
    await insert('stopped')
    expect(await statuses({ IncludeAllInstances: true, Filters: [{ Name, Values: [value] }] })).toHaveLength(expected)
  })

  it('goes through them in pages', async () => {
    for (let each = 0; each < 7; each++) await insert()
    const first = await lab.call(describeInstanceStatus, { MaxResults: 5 })
    const second = await lab.call(describeInstanceStatus, { MaxResults: 5, NextToken: first.NextToken })
    const ids = [first, second].flatMap((page) => page.InstanceStatuses ?? []).map((each) => each.InstanceId)
    expect(new Set(ids).size).toBe(7)
    expect(second.NextToken).toBeUndefined()
  })

  it('refuses ids with a page size, too many of them, unknown ones and unknown filters', async () => {
    const id = await insert()
    const failure = (input: DescribeInstanceStatusRequest) => lab.failure(describeInstanceStatus, input)
    expect(await failure({ InstanceIds: [id], MaxResults: 5 })).toMatch(/^InvalidParameterCombination/)
    expect(await failure({ InstanceIds: Array.from({ length: 101 }, () => id) })).toMatch(/^InvalidParameterValue/)
    expect(await failure({ InstanceIds: ['i-00000000000000000'] })).toMatch(/^InvalidInstanceID.NotFound/)
    expect(await failure({ Filters: [{ Name: 'x', Values: ['y'] }] })).toMatch(/filter 'x' is invalid/)
  })
})
