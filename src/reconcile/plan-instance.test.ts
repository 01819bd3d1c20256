import { describe, expect, test } from 'vitest'
import {
  FORCED_SHUTDOWN_DEADLINE_MS, MAX_START_FAILURES, planInstance, SHUTDOWN_DEADLINE_MS, type InstanceFacts,
} from './plan-instance.ts'
import { STATE_CODES, TRANSITIONS, type InstanceState } from '../model/instance.ts'

const ABSENT = { status: 'absent' } as const
const RUNNING = { status: 'running', pid: 1, startedAtMs: 0 } as const
const SHUTDOWN = { status: 'shutdown', pid: 1 } as const
const PAUSED = { status: 'paused', pid: 1 } as const
const MEMORY = { memoryId: 'mem-1', state: 'saved', generation: 1, volumeIds: ['vol-1'], kmsKeyId: 'k', wrappedKey: 'w' } as const

const DOC = { force: false, shutdownBehavior: 'stop', hasRun: true, startFailures: 0, outOfSpaceSinceMs: null } as const

function facts(state: InstanceState, change: Partial<InstanceFacts> = {}): InstanceFacts {
  return {
    state, doc: DOC, rebootRequested: 0, rebootCompleted: 0,
    inStateMs: 0, isEquipped: true, hasBrokenVolume: false, attention: [], rest: 'none', machine: ABSENT, recovery: 'none', ...change,
  }
}
const step = (state: InstanceState, change: Partial<InstanceFacts> = {}) => planInstance(facts(state, change))

describe('a pending instance', () => {
  test('waits for its disks and ports, then starts', () => {
    expect(step('pending', { isEquipped: false }).step).toBe('none')
    expect(step('pending').step).toBe('start')
  })
  test('whose machine runs is running, also after a crash between the two', () => {
    expect(step('pending', { machine: RUNNING, isEquipped: false }).step).toBe('record-running')
  })
  test('whose machine was left shut down is started afresh', () => {
    expect(step('pending', { machine: SHUTDOWN }).step).toBe('start')
  })
  test('that failed to start too often is given up: a launch is terminated, what ran before keeps its disk', () => {
    const doc = { ...DOC, hasRun: false, startFailures: MAX_START_FAILURES } as const
    expect(step('pending', { doc })).toEqual({ step: 'give-up', to: 'terminated', cause: 'start' })
    expect(step('pending', { doc: { ...doc, hasRun: true } })).toEqual({ step: 'give-up', to: 'stopped', cause: 'start' })
  })
  test('whose volume cannot be made is given up, whether or not the rest is there', () => {
    const doc = { ...DOC, hasRun: false } as const
    expect(step('pending', { doc, hasBrokenVolume: true, isEquipped: false }))
      .toEqual({ step: 'give-up', to: 'terminated', cause: 'volume' })
  })
  test('does first what must not wait with its volumes, but for modifications, which come with the start', () => {
    expect(step('pending', { rest: 'before-start' }).step).toBe('settle-volumes')
    expect(step('pending', { rest: 'before-start', machine: SHUTDOWN }).step).toBe('settle-volumes')
    expect(step('pending', { rest: 'before-start', isEquipped: false }).step).toBe('none')
    expect(step('pending', { rest: 'modifications' }).step).toBe('start')
  })
})

describe('a running instance', () => {
  test('is left alone while its machine runs', () => {
    expect(step('running', { machine: RUNNING }).step).toBe('none')
  })
  test('is attended to where something comes or goes, unless it goes down', () => {
    const attention = ['freeze', 'volumes'] as const
    expect(step('running', { machine: RUNNING, attention })).toEqual({ step: 'attend', to: attention })
    expect(step('running', { machine: RUNNING, attention, rebootRequested: 1 }).step).toBe('reboot')
    expect(step('running', { machine: SHUTDOWN, attention }).step).toBe('record-shutdown')
    expect(step('stopping', { machine: RUNNING, attention }).step).toBe('press-power-button')
  })
  test('whose disk has no room is let go on now and then, and what it went through is forgotten when it runs', () => {
    const doc = { ...DOC, outOfSpaceSinceMs: 1 }
    expect(step('running', { machine: { ...RUNNING, outOfSpace: true } }).step).toBe('resume')
    expect(step('running', { machine: { ...RUNNING, outOfSpace: true }, doc }).step).toBe('resume')
    expect(step('running', { machine: RUNNING, doc }).step).toBe('record-resumed')
  })
  test('whose guest powered off follows its shutdown behaviour', () => {
    const doc = { ...DOC, force: false, shutdownBehavior: 'terminate' } as const
    expect(step('running', { machine: SHUTDOWN })).toEqual({ step: 'record-shutdown', to: 'stopping', cause: 'guest' })
    expect(step('running', { machine: SHUTDOWN, doc })).toEqual({ step: 'record-shutdown', to: 'shutting-down', cause: 'guest' })
  })
  test('whose process was killed stops, whatever its shutdown behaviour', () => {
    const doc = { ...DOC, force: false, shutdownBehavior: 'terminate' } as const
    expect(step('running', { doc })).toEqual({ step: 'record-shutdown', to: 'stopping', cause: 'failure' })
  })
  test('is rebooted as long as a reboot is asked for and not done, and its shutdown then is no power-off', () => {
    expect(step('running', { machine: RUNNING, rebootRequested: 1 }).step).toBe('reboot')
    expect(step('running', { machine: SHUTDOWN, rebootRequested: 1 }).step).toBe('reboot')
    expect(step('running', { machine: RUNNING, rebootRequested: 1, rebootCompleted: 1 }).step).toBe('none')
  })
})

describe.each([
  ['stopping', 'stopped', SHUTDOWN_DEADLINE_MS.stop],
  ['shutting-down', 'terminated', SHUTDOWN_DEADLINE_MS.terminate],
] as const)('an instance that is %s', (state, to, deadlineMs) => {
  test('has its power button pressed until the deadline, then is ended hard', () => {
    expect(step(state, { machine: RUNNING }).step).toBe('press-power-button')
    expect(step(state, { machine: RUNNING, inStateMs: deadlineMs - 1 })).toEqual({ step: 'press-power-button', afterMs: 1 })
    expect(step(state, { machine: RUNNING, inStateMs: deadlineMs })).toEqual({ step: 'destroy-then', to })
  })
  test('is ended hard after a short time with Force, and at once with SkipOsShutdown', () => {
    const doc = { ...DOC, force: true }
    const forced = (inStateMs: number) => step(state, { machine: RUNNING, doc, inStateMs })
    expect(forced(0).step).toBe('press-power-button')
    expect(forced(FORCED_SHUTDOWN_DEADLINE_MS - 1)).toEqual({ step: 'press-power-button', afterMs: 1 })
    expect(forced(FORCED_SHUTDOWN_DEADLINE_MS)).toEqual({ step: 'destroy-then', to })
    expect(step(state, { machine: RUNNING, doc: { ...DOC, skipOsShutdown: true } })).toEqual({ step: 'destroy-then', to })
  })
  test('is ended when the guest is down', () => {
    expect(step(state, { machine: SHUTDOWN })).toEqual({ step: 'destroy-then', to })
    expect(step(state)).toEqual({ step: 'destroy-then', to })
  })
})

test('a stopped instance has no machine; one that is found is ended', () => {
  expect(step('stopped').step).toBe('none')
  expect(step('stopped', { machine: RUNNING })).toEqual({ step: 'destroy-then', to: 'stopped' })
  expect(step('stopped', { machine: SHUTDOWN, rest: 'before-start' })).toEqual({ step: 'destroy-then', to: 'stopped' })
})

test.each(['modifications', 'before-start'] as const)('a stopped instance: %s of its volumes', (rest) => {
  expect(step('stopped', { rest }).step).toBe('settle-volumes')
})

test('every step that changes the state is a legal move', () => {
  const target = (planned: ReturnType<typeof planInstance>): InstanceState | undefined => {
    if (planned.step === 'record-running') return 'running'
    return 'to' in planned && planned.step !== 'attend' ? planned.to : undefined
  }
  for (const state of Object.keys(STATE_CODES) as InstanceState[]) {
    for (const machine of [ABSENT, RUNNING, SHUTDOWN]) {
      for (const inStateMs of [0, 1e9]) {
        for (const startFailures of [0, MAX_START_FAILURES]) {
          for (const shutdownBehavior of ['stop', 'terminate'] as const) {
            const doc = { ...DOC, shutdownBehavior, hasRun: startFailures > 0, startFailures }
            const to = target(step(state, { machine, inStateMs, doc }))
            if (to !== undefined && to !== state) expect(TRANSITIONS[state]).toContain(to)
          }
        }
      }
    }
  }
})

describe('hibernation', () => {
  const hibernating = { ...DOC, hibernate: true }
  const saved = { ...DOC, memory: MEMORY }
  const consumed = { ...DOC, memory: { ...MEMORY, state: 'consumed' as const } }

  test('saves the memory of what is stopping, whatever its machine does: what was saved is found out so, too', () => {
    for (const machine of [RUNNING, PAUSED, SHUTDOWN, ABSENT]) {
      expect(step('stopping', { doc: hibernating, machine, inStateMs: SHUTDOWN_DEADLINE_MS.stop }).step).toBe('hibernate')
    }
  })
  test('gives way to a stop by force, and to a termination', () => {
    const doc = { ...hibernating, force: true }
    expect(step('stopping', { doc, machine: PAUSED })).toEqual({ step: 'destroy-then', to: 'stopped' })
    expect(step('shutting-down', { doc: hibernating, machine: PAUSED })).toEqual({ step: 'destroy-then', to: 'terminated' })
  })
  test('a start loads the memory, when all else is ready, and lets the guest go on only when that is written down', () => {
    expect(step('pending', { doc: saved, isEquipped: false }).step).toBe('none')
    expect(step('pending', { doc: saved, rest: 'before-start' }).step).toBe('settle-volumes')
    expect(step('pending', { doc: saved }).step).toBe('load-memory')
    expect(step('pending', { doc: saved, machine: PAUSED }).step).toBe('load-memory')
    expect(step('pending', { doc: consumed, machine: PAUSED }).step).toBe('release')
  })
  test('a machine that has memory to load, or has loaded it, is not taken at its word that it runs: QEMU may not have answered', () => {
    expect(step('pending', { doc: saved, machine: RUNNING }).step).toBe('load-memory')
    expect(step('pending', { doc: consumed, machine: RUNNING }).step).toBe('release')
    expect(step('pending', { doc: { ...DOC, memory: null }, machine: RUNNING }).step).toBe('record-running')
  })
  test('a machine that has loaded its memory and never answers is recorded as running, for the status checks to judge', () => {
    const doc = { ...consumed, startFailures: MAX_START_FAILURES }
    expect(step('pending', { doc, machine: RUNNING }).step).toBe('record-running')
    expect(step('pending', { doc, machine: PAUSED }).step).toBe('release')
  })
  test('memory that was consumed is never loaded again', () => {
    expect(step('pending', { doc: consumed }).step).toBe('start')
  })
  test('a start that fails too often leaves it hibernated', () => {
    expect(step('pending', { doc: { ...saved, startFailures: MAX_START_FAILURES } })).toEqual({ step: 'give-up', to: 'stopped', cause: 'start' })
  })
  test('a hibernated instance without a machine is left alone', () => {
    expect(step('stopped', { doc: saved }).step).toBe('none')
  })
  test('a stopped instance whose memory was given up has its file deleted, and boots when it is started before', () => {
    const givenUp = { ...DOC, memory: { ...MEMORY, state: 'given-up' as const } }
    expect(step('stopped', { doc: givenUp }).step).toBe('forget-memory')
    expect(step('stopped', { doc: givenUp, machine: RUNNING }).step).toBe('destroy-then')
    expect(step('pending', { doc: givenUp }).step).toBe('start')
  })
  test('a guest that stands still though it is to run is let go on', () => {
    expect(step('running', { machine: PAUSED }).step).toBe('release')
  })
})

describe('recovery', () => {
  test('brings back what the host lost when it was restarted, as soon as its ports are there', () => {
    expect(step('running', { recovery: 'restart', isEquipped: false }).step).toBe('none')
    expect(step('running', { recovery: 'restart' }).step).toBe('recover')
  })
  test('is not for guests that powered themselves off, nor for those that do not want it', () => {
    expect(step('running', { recovery: 'restart', machine: SHUTDOWN })).toMatchObject({ step: 'record-shutdown', cause: 'guest' })
    expect(step('running', { recovery: 'host-failure' })).toEqual({ step: 'record-shutdown', to: 'stopping', cause: 'host-failure' })
    expect(step('running', { recovery: 'host-failure', isEquipped: false }).step).toBe('record-shutdown')
  })
  test('replaces a machine that does not answer, and goes on when the old one has ended or the new one runs', () => {
    expect(step('running', { recovery: 'hang', machine: RUNNING }).step).toBe('recover')
    expect(step('running', { recovery: 'hang' }).step).toBe('recover')
    expect(step('running', { recovery: 'restart', machine: RUNNING }).step).toBe('recover')
    expect(step('stopping', { recovery: 'hang', machine: RUNNING }).step).toBe('press-power-button')
  })
  test('of what is to be rebooted is the reboot, which waits for the ports too', () => {
    expect(step('running', { rebootRequested: 1, recovery: 'hang', machine: RUNNING }).step).toBe('reboot')
    for (const recovery of ['restart', 'host-failure'] as const) {
      expect(step('running', { rebootRequested: 1, recovery, isEquipped: false }).step).toBe('none')
      expect(step('running', { rebootRequested: 1, recovery }).step).toBe('reboot')
    }
  })
  test('is given up after some starts that failed', () => {
    const doc = { ...DOC, startFailures: MAX_START_FAILURES }
    expect(step('running', { recovery: 'restart', doc })).toEqual({ step: 'record-shutdown', to: 'stopping', cause: 'host-failure' })
    expect(step('running', { recovery: 'hang', doc })).toEqual({ step: 'record-shutdown', to: 'stopping', cause: 'failure' })
  })
})
