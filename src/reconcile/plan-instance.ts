import type { MachineObservation } from '../hypervisor/driver.ts'
import type { InstanceDoc, InstanceState } from '../model/instance.ts'

/** What the reconciler knows of an instance when it decides. */
export interface InstanceFacts {
  state: InstanceState
  doc: Pick<InstanceDoc,
    'force' | 'skipOsShutdown' | 'shutdownBehavior' | 'hasRun' | 'startFailures' | 'outOfSpaceSinceMs' | 'hibernate' | 'memory' | 'waitsFor'>
  rebootRequested: number
  rebootCompleted: number
  /** Time since the present state was entered, milliseconds. */
  inStateMs: number
  /** Every volume has its files, also the one that it is to go on in, and every interface its port. */
  isEquipped: boolean
  /** One of its volumes could not be made. */
  hasBrokenVolume: boolean
  /** What of a running machine has to be looked at. */
  attention: readonly Attention[]
  /** What is to be done with its volumes while it has no machine. */
  rest: RestWork
  machine: MachineObservation
  /** Why its machine is to be started again although nobody asked for it. */
  recovery: Recovery
}

/**
 * `restart`: the host was restarted under it, and it wants to be brought back; `host-failure`: the same, and it does not;
 * `hang`: QEMU has not answered for some time, and it wants to be brought back. Once begun it stays so until it is done.
 */
export type Recovery = 'none' | 'restart' | 'host-failure' | 'hang'

/**
 * What comes and goes while a machine runs: `interfaces` beside the primary one; `volumes` that are attached,
 * detached or changed; a `freeze` for snapshots; a `chain` of layers that has become long.
 */
export type Attention = 'interfaces' | 'freeze' | 'volumes' | 'chain'

/**
 * `before-start`: something that must not wait, such as a change of layers that QEMU may have made already;
 * `modifications`: what a start would bring into force by itself.
 */
export type RestWork = 'none' | 'modifications' | 'before-start'

/** The one next step towards what is wanted. */
export type InstanceStep =
  | { step: 'start' }
  | { step: 'record-running' }
  /** It cannot be started: a launch ends terminated, what ran before goes back to stopped. */
  | { step: 'give-up'; to: 'stopped' | 'terminated'; cause: 'start' | 'volume' }
  /** It was hibernated: its memory is loaded, and the guest stands still. */
  | { step: 'load-memory' }
  /** Its memory is loaded, and that is written down: the guest goes on. */
  | { step: 'release' }
  /** Its memory is saved, then its machine ends. */
  | { step: 'hibernate' }
  /** Its memory was given up, and the file of that is deleted. */
  | { step: 'forget-memory' }
  /** Its machine is ended, where there is one, and started again, in the same place. */
  | { step: 'recover' }
  | { step: 'press-power-button'; afterMs: number }
  | { step: 'reboot' }
  /** It stands still because its disk has no room on the host; it is let go on now and then. */
  | { step: 'resume'; afterMs: number }
  | { step: 'record-resumed' }
  /** What should be in the machine and what is are compared. */
  | { step: 'attend'; to: readonly Attention[] }
  /** It has no machine: what waits for that is done with its volumes. */
  | { step: 'settle-volumes' }
  | { step: 'destroy-then'; to: 'stopped' | 'terminated' }
  /** The guest went down by itself, or its process died; the next step follows from the new state. */
  | { step: 'record-shutdown'; to: 'stopping' | 'shutting-down'; cause: 'guest' | 'failure' | 'host-failure' }
  | { step: 'purge' }
  | { step: 'none' }

/** How long a guest may take to shut down before it is ended. EC2 waits a few minutes. */
export const SHUTDOWN_DEADLINE_MS = { stop: 120_000, terminate: 30_000, reboot: 120_000 } as const

/** How long it may take when the call says Force: EC2 lets the guest try first, too. */
export const FORCED_SHUTDOWN_DEADLINE_MS = 10_000

/** Starts that may fail before it is given up. */
export const MAX_START_FAILURES = 5

/** A guest that is still booting misses the power button; it is pressed again this often. */
export const POWER_BUTTON_INTERVAL_MS = 2000

/** How often a guest without space is let try again. */
const RESUME_INTERVAL_MS = 5000

/** Decides the next step; pure, so that every combination can be tested. */
export function planInstance(facts: InstanceFacts): InstanceStep {
  switch (facts.state) {
    case 'pending':
      return planStart(facts)
    case 'running':
      return planRunning(facts)
    case 'stopping':
      return planShutdown(facts, 'stopped', SHUTDOWN_DEADLINE_MS.stop)
    case 'shutting-down':
      return planShutdown(facts, 'terminated', SHUTDOWN_DEADLINE_MS.terminate)
    case 'stopped':
      if (facts.machine.status !== 'absent') return { step: 'destroy-then', to: 'stopped' }
      if (facts.doc.memory?.state === 'given-up') return { step: 'forget-memory' }
      return facts.rest === 'none' ? { step: 'none' } : { step: 'settle-volumes' }
    case 'terminated':
      return { step: 'purge' }
  }
}

function planStart({ doc, hasBrokenVolume, isEquipped, rest, machine }: InstanceFacts): InstanceStep {
  // A QEMU that does not answer is taken to run, and asked again; when it never does, that is for the status checks.
  const mayStandStill = machine.status === 'paused' || (machine.status === 'running' && doc.startFailures < MAX_START_FAILURES)
  // Once consumed, memory that no machine has any more is lost.
  if (doc.memory?.state === 'consumed' && mayStandStill) return { step: 'release' }
  if (machine.status === 'running' && doc.memory?.state !== 'saved') return { step: 'record-running' }
  const to = doc.hasRun ? 'stopped' : 'terminated'
  if (hasBrokenVolume) return { step: 'give-up', to, cause: 'volume' }
  if (doc.startFailures >= MAX_START_FAILURES) return { step: 'give-up', to, cause: 'start' }
  // The reconcilers of volumes and interfaces mark the instance due when the last of them is ready.
  if (!isEquipped) return { step: 'none' }
  // Its room is an interrupted instance's still; the last one of these that leaves marks it due.
  if (doc.waitsFor && doc.waitsFor.length > 0) return { step: 'none' }
  if (rest === 'before-start') return { step: 'settle-volumes' }
  return doc.memory?.state === 'saved' ? { step: 'load-memory' } : { step: 'start' }
}

function planRunning(facts: InstanceFacts): InstanceStep {
  const { machine, recovery } = facts
  const isRecovering = recovery === 'restart' || recovery === 'hang'
  const isRebooting = facts.rebootRequested > facts.rebootCompleted
  // Its host has to have its ports again; the reconcilers of volumes and interfaces mark the instance due when all are there.
  const mustWait = recovery !== 'none' && machine.status === 'absent' && !facts.isEquipped
  if (mustWait && (isRecovering || isRebooting)) return { step: 'none' }
  if (isRebooting) return { step: 'reboot' }
  if (isRecovering && machine.status !== 'shutdown') {
    if (facts.doc.startFailures < MAX_START_FAILURES) return { step: 'recover' }
    return { step: 'record-shutdown', to: 'stopping', cause: recovery === 'restart' ? 'host-failure' : 'failure' }
  }
  // It should have ended with its host, and is not wanted back.
  if (recovery === 'host-failure' && machine.status !== 'shutdown') return { step: 'record-shutdown', to: 'stopping', cause: 'host-failure' }
  if (machine.status === 'running' && machine.outOfSpace) return { step: 'resume', afterMs: RESUME_INTERVAL_MS }
  if (machine.status === 'running' && facts.doc.outOfSpaceSinceMs !== null) return { step: 'record-resumed' }
  // The driver tells of a change, and a resync looks again now and then.
  if (machine.status === 'running') {
    return facts.attention.length > 0 ? { step: 'attend', to: facts.attention } : { step: 'none' }
  }
  // Nobody lets a guest stand still that is to run.
  if (machine.status === 'paused') return { step: 'release' }
  const cause = machine.status === 'shutdown' ? 'guest' : 'failure'
  const to = cause === 'guest' && facts.doc.shutdownBehavior === 'terminate' ? 'shutting-down' : 'stopping'
  return { step: 'record-shutdown', to, cause }
}

function planShutdown(facts: InstanceFacts, to: 'stopped' | 'terminated', deadlineMs: number): InstanceStep {
  // Also when there is no machine: its memory may be saved, and nobody have written that down.
  if (to === 'stopped' && facts.doc.hibernate && !facts.doc.force) return { step: 'hibernate' }
  const leftMs = (facts.doc.force ? Math.min(deadlineMs, FORCED_SHUTDOWN_DEADLINE_MS) : deadlineMs) - facts.inStateMs
  if (facts.machine.status !== 'running' || facts.doc.skipOsShutdown || leftMs <= 0) return { step: 'destroy-then', to }
  return { step: 'press-power-button', afterMs: Math.min(POWER_BUTTON_INTERVAL_MS, leftMs) }
}
