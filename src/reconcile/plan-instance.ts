import type { MachineObservation } from '../hypervisor/driver.ts'
import type { InstanceDoc, InstanceState } from '../model/instance.ts'

/** What the reconciler knows of an instance when it decides. */
export interface InstanceFacts {
  state: InstanceState
  doc: Pick<InstanceDoc, 'force' | 'shutdownBehavior' | 'hasRun' | 'startFailures' | 'outOfSpaceSinceMs'>
  rebootRequested: number
  rebootCompleted: number
  /** Time since the present state was entered, milliseconds. */
  inStateMs: number
  /** Every volume has its file and every interface its port. */
  isEquipped: boolean
  /** It has, or is to give up, an interface that is no part of the machine. */
  hasSecondaryInterfaces: boolean
  machine: MachineObservation
}

/** The one next step towards what is wanted. */
export type InstanceStep =
  | { step: 'start' }
  | { step: 'record-running' }
  /** It cannot be started: a launch ends terminated, what ran before goes back to stopped. */
  | { step: 'give-up'; to: 'stopped' | 'terminated' }
  | { step: 'press-power-button'; afterMs: number }
  | { step: 'reboot' }
  /** It stands still because its disk has no room on the host; it is let go on now and then. */
  | { step: 'resume'; afterMs: number }
  | { step: 'record-resumed' }
  /** Its interfaces, as they should be and as they are in the machine, are compared. */
  | { step: 'ensure-interfaces' }
  | { step: 'destroy-then'; to: 'stopped' | 'terminated' }
  /** The guest went down by itself, or its process died; the next step follows from the new state. */
  | { step: 'record-shutdown'; to: 'stopping' | 'shutting-down'; cause: 'guest' | 'failure' }
  | { step: 'purge' }
  | { step: 'none' }

/** How long a guest may take to shut down before it is ended. EC2 waits a few minutes. */
export const SHUTDOWN_DEADLINE_MS = { stop: 120_000, terminate: 30_000, reboot: 120_000 } as const

/** Starts that may fail before it is given up. */
export const MAX_START_FAILURES = 5

/** A guest that is still booting misses the power button; it is pressed again this often. */
export const POWER_BUTTON_INTERVAL_MS = 2000

/** How often a guest without space is let try again. */
export const RESUME_INTERVAL_MS = 5000

/** Decides the next step; pure, so that every combination can be tested. */
export function planInstance(facts: InstanceFacts): InstanceStep {
  switch (facts.state) {
    case 'pending':
      if (facts.machine.status === 'running') return { step: 'record-running' }
      if (facts.doc.startFailures >= MAX_START_FAILURES) return { step: 'give-up', to: facts.doc.hasRun ? 'stopped' : 'terminated' }
      // The reconcilers of volumes and interfaces mark the instance due when the last of them is ready.
      return facts.isEquipped ? { step: 'start' } : { step: 'none' }
    case 'running':
      return planRunning(facts)
    case 'stopping':
      return planShutdown(facts, 'stopped', SHUTDOWN_DEADLINE_MS.stop)
    case 'shutting-down':
      return planShutdown(facts, 'terminated', SHUTDOWN_DEADLINE_MS.terminate)
    case 'stopped':
      return facts.machine.status === 'absent' ? { step: 'none' } : { step: 'destroy-then', to: 'stopped' }
    case 'terminated':
      return { step: 'purge' }
  }
}

function planRunning(facts: InstanceFacts): InstanceStep {
  const isRebooting = facts.rebootRequested > facts.rebootCompleted
  if (isRebooting) return { step: 'reboot' }
  if (facts.machine.status === 'running' && facts.machine.outOfSpace) return { step: 'resume', afterMs: RESUME_INTERVAL_MS }
  if (facts.machine.status === 'running' && facts.doc.outOfSpaceSinceMs !== null) return { step: 'record-resumed' }
  // The driver tells of a change, and a resync looks again now and then.
  if (facts.machine.status === 'running') return { step: facts.hasSecondaryInterfaces ? 'ensure-interfaces' : 'none' }
  const cause = facts.machine.status === 'shutdown' ? 'guest' : 'failure'
  const to = cause === 'guest' && facts.doc.shutdownBehavior === 'terminate' ? 'shutting-down' : 'stopping'
  return { step: 'record-shutdown', to, cause }
}

function planShutdown(facts: InstanceFacts, to: 'stopped' | 'terminated', deadlineMs: number): InstanceStep {
  const mustEnd = facts.doc.force || facts.inStateMs >= deadlineMs
  if (facts.machine.status !== 'running' || mustEnd) return { step: 'destroy-then', to }
  return { step: 'press-power-button', afterMs: Math.min(POWER_BUTTON_INTERVAL_MS, deadlineMs - facts.inStateMs) }
}
