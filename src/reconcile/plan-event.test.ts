import { describe, expect, it } from 'vitest'
import { ENDED_EVENT_RETENTION_MS, type EventCode, type InstanceEventDoc } from '../model/instance-event.ts'
import type { InstanceEventTable } from '../store/schema.ts'
import { planEvent, type EventFacts } from './plan-event.ts'

const CREATED_MS = 1_000_000
const DUE_MS = 2_000_000

type Instance = NonNullable<EventFacts['instance']>

/** The step for an event of that code, and an instance that runs, in their ordinary state but for what is told. */
function step(code: EventCode, nowMs: number, told: {
  instance?: Partial<Instance> | null
  doc?: Partial<InstanceEventDoc>
  state?: InstanceEventTable['state']
} = {}): string {
  const doc: InstanceEventDoc = {
    description: 'x', notAfterMs: null, deadlineMs: null, begunMs: null, endedMs: null,
    rebootGeneration: code === 'instance-reboot' ? 1 : null, ...told.doc,
  }
  const event: InstanceEventTable = {
    event_id: 'instance-event-1', account_id: '1', instance_id: 'i-1', code, state: told.state ?? 'scheduled', not_before_ms: DUE_MS,
    created_ms: CREATED_MS, doc: JSON.stringify(doc),
  }
  const instance: Instance = { state: 'running', launch_ms: 0, reboot_requested: 0, reboot_completed: 0, ...told.instance }
  const planned = planEvent({ event, instance: told.instance === null ? undefined : instance, nowMs })
  return planned.step === 'wait' ? `wait ${planned.afterMs}` : planned.step
}

const CODES = ['instance-reboot', 'system-reboot', 'system-maintenance', 'instance-retirement', 'instance-stop'] as const
const STOPS = ['instance-retirement', 'instance-stop'] as const
const REBOOTS = ['instance-reboot', 'system-reboot'] as const

describe('a scheduled event', () => {
  it.each(CODES)('of code %s waits for its time', (code) => {
    expect(step(code, CREATED_MS)).toBe('wait 1000000')
    expect(step(code, DUE_MS - 1)).toBe('wait 1')
  })

  it.each(CODES)('of code %s is done when its instance was stopped and started after it was planned', (code) => {
    expect(step(code, CREATED_MS + 2, { instance: { launch_ms: CREATED_MS + 1 } })).toBe('complete')
    expect(step(code, CREATED_MS + 2, { instance: { launch_ms: CREATED_MS + 1, state: 'pending' } })).toBe('complete')
  })

  it.each(CODES)('of code %s is done when its instance is terminated, and forgotten with it', (code) => {
    expect(step(code, CREATED_MS, { instance: { state: 'shutting-down' } })).toBe('complete')
    expect(step(code, CREATED_MS, { instance: { state: 'terminated' } })).toBe('complete')
    expect(step(code, CREATED_MS, { instance: null })).toBe('forget')
  })

  it.each(STOPS)('of code %s stops its instance, once', (code) => {
    expect(step(code, DUE_MS)).toBe('stop')
    const begun = { doc: { begunMs: DUE_MS } }
    expect(step(code, DUE_MS, { ...begun, instance: { state: 'stopping' } })).toBe('wait 1000')
    expect(step(code, DUE_MS, begun)).toBe('wait 1000')
    expect(step(code, DUE_MS, { ...begun, instance: { state: 'stopped' } })).toBe('complete')
  })

  it.each(STOPS)('of code %s finds its instance stopped', (code) => {
    expect(step(code, DUE_MS - 5, { instance: { state: 'stopped' } })).toBe('wait 5')
    expect(step(code, DUE_MS, { instance: { state: 'stopping' } })).toBe('wait 1000')
    expect(step(code, DUE_MS, { instance: { state: 'stopped' } })).toBe('complete')
  })

  it.each(REBOOTS)('of code %s reboots its instance, once', (code) => {
    expect(step(code, DUE_MS)).toBe('reboot')
    const begun = { doc: { begunMs: DUE_MS, rebootGeneration: 1 } }
    expect(step(code, DUE_MS, { ...begun, instance: { reboot_requested: 1 } })).toBe('wait 1000')
    expect(step(code, DUE_MS, { ...begun, instance: { reboot_requested: 1, reboot_completed: 1 } })).toBe('complete')
    expect(step(code, DUE_MS, { ...begun, instance: { reboot_requested: 1, state: 'stopped' } })).toBe('complete')
  })

  it.each(REBOOTS)('of code %s waits for an instance that is not up yet', (code) => {
    expect(step(code, DUE_MS, { instance: { state: 'pending' } })).toBe('wait 1000')
  })

  it('is done by a reboot of its owner, unless the system is to be rebooted', () => {
    const asked = { instance: { reboot_requested: 1 } }
    const rebooted = { instance: { reboot_requested: 1, reboot_completed: 1 } }
    expect(step('instance-reboot', CREATED_MS, rebooted)).toBe('complete')
    expect(step('instance-reboot', DUE_MS, asked)).toBe('wait 1000')
    expect(step('system-reboot', CREATED_MS, rebooted)).toBe('wait 1000000')
    expect(step('system-reboot', DUE_MS, rebooted)).toBe('reboot')
    expect(step('system-reboot', DUE_MS, asked)).toBe('reboot')
  })

  it('of maintenance is over at its end, or, when it has none, at once', () => {
    expect(step('system-maintenance', DUE_MS, { doc: { notAfterMs: DUE_MS + 7 } })).toBe('wait 7')
    expect(step('system-maintenance', DUE_MS + 7, { doc: { notAfterMs: DUE_MS + 7 } })).toBe('complete')
    expect(step('system-maintenance', DUE_MS)).toBe('complete')
  })

  it.each(['completed', 'canceled'] as const)('that is %s is forgotten after a week', (state) => {
    const ended = { state, doc: { endedMs: DUE_MS } }
    expect(step('instance-stop', DUE_MS, ended)).toBe(`wait ${ENDED_EVENT_RETENTION_MS}`)
    expect(step('instance-stop', DUE_MS + ENDED_EVENT_RETENTION_MS, ended)).toBe('forget')
  })
})
