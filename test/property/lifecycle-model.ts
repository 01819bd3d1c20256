/**
 * What EC2 says of an instance's life, as a table and a few sentences of its own: nothing here is taken from the code
 * that it is held against.
 */
export type State = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated'
export type Final = 'running' | 'stopped' | 'terminated'
export type Verb = 'start' | 'stop' | 'reboot' | 'terminate'

export const CODES: Record<State, number> = {
  pending: 0, running: 16, 'shutting-down': 32, terminated: 48, stopping: 64, stopped: 80,
}

const REFUSED = 'IncorrectInstanceState'

/** The state after a call in each state, or the code of the error. */
const TABLE: Record<State, Record<Verb, State | typeof REFUSED>> = {
  pending: { start: 'pending', stop: REFUSED, reboot: REFUSED, terminate: 'shutting-down' },
  running: { start: 'running', stop: 'stopping', reboot: 'running', terminate: 'shutting-down' },
  stopping: { start: REFUSED, stop: 'stopping', reboot: REFUSED, terminate: 'shutting-down' },
  stopped: { start: 'pending', stop: 'stopped', reboot: REFUSED, terminate: 'shutting-down' },
  'shutting-down': { start: REFUSED, stop: REFUSED, reboot: 'shutting-down', terminate: 'shutting-down' },
  terminated: { start: REFUSED, stop: REFUSED, reboot: 'terminated', terminate: 'terminated' },
}

/** What becomes of an instance by itself. */
const BY_ITSELF: Record<State, readonly State[]> = {
  pending: ['running'], running: [], stopping: ['stopped'], stopped: [], 'shutting-down': ['terminated'], terminated: [],
}

/** Where a state leads when nothing more is asked for. */
const ENDS: Record<State, Final> = {
  pending: 'running', running: 'running', stopping: 'stopped', stopped: 'stopped', 'shutting-down': 'terminated',
  terminated: 'terminated',
}

export const RETENTION_MS = 60 * 60 * 1000

/** An instance as its user knows it. */
export interface Instance {
  id: string
  zone: string
  behavior: 'stop' | 'terminate'
  /** Launched so that it can be hibernated. */
  isConfigured: boolean
  noStop: boolean
  noTerminate: boolean
  type: string
  state: State
  /** Where it may be when all has settled; several where a crash or its guest has left that open. */
  ends: Set<Final>
  /** What a guest that went down by itself makes of it, until somebody notices. */
  down: Set<Final>
  /** Whether a reboot was asked for since all was settled. */
  isRebooting: boolean
  /** What is in the guest's memory, where that is certain: while it runs, and while it is hibernated. */
  counter: number | undefined
  /** Whether it is hibernated, or on its way there. */
  hibernates: 'no' | 'yes' | 'maybe'
  /** Why it is in its state, where that is certain. */
  reason: { code: string | undefined; transition: string } | undefined
  /** When it was last seen before it was terminated, and first seen after. */
  aliveMs: number
  terminatedMs: number | undefined
}

export interface Flags {
  force?: boolean
  hibernate?: boolean
  skipOsShutdown?: boolean
}

/** States in which an instance may be found that was `state` a moment ago. */
export function reachable(instance: Instance, state = instance.state): Set<State> {
  const found = new Set<State>()
  const queue: State[] = [state]
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (found.has(next)) continue
    found.add(next)
    queue.push(...BY_ITSELF[next])
    if (next !== 'running') continue
    if (instance.down.has('stopped')) queue.push('stopping')
    if (instance.down.has('terminated')) queue.push('shutting-down')
  }
  return found
}

/** What a call makes of an instance in a state: the state after, or the error's code. */
export function outcome(instance: Instance, verb: Verb, state: State, flags: Flags): { to: State } | { code: string } {
  if (verb === 'stop' && flags.hibernate && !instance.isConfigured) return { code: 'UnsupportedHibernationConfiguration' }
  const answer = TABLE[state][verb]
  if (answer === REFUSED) return { code: REFUSED }
  const isMoved = answer !== state
  if (verb === 'stop' && isMoved && instance.noStop) return { code: 'OperationNotPermitted' }
  if (verb === 'terminate' && isMoved && (instance.noTerminate || instance.noStop)) return { code: 'OperationNotPermitted' }
  return { to: answer }
}

/** "User initiated (2026-01-01 00:00:00 GMT)". */
function userInitiated(atMs: number): string {
  return `User initiated (${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')} GMT)`
}

/** Notes that a call has moved an instance, or was acknowledged without moving it. */
export function noteDone(instance: Instance, verb: Verb, from: State, to: State, { flags, atMs }: { flags: Flags; atMs: number }): void {
  if (verb === 'reboot' && from === 'running') {
    instance.isRebooting = true
    instance.counter = undefined
    instance.ends.add('running')
  }
  if (verb === 'stop' && from === 'stopping' && flags.force && instance.hibernates !== 'no') {
    instance.hibernates = 'maybe'
    instance.reason = undefined
  }
  instance.state = to
  if (from === to) return
  const wasHibernated = instance.hibernates
  const wasDown = instance.down.size > 0
  instance.ends = new Set([ENDS[to]])
  instance.down.clear()
  if (verb === 'start') {
    instance.reason = { code: undefined, transition: '' }
    if (wasHibernated !== 'yes') instance.counter = wasHibernated === 'no' ? 0 : undefined
    instance.hibernates = 'no'
    return
  }
  instance.reason = {
    code: flags.hibernate ? 'Client.UserInitiatedHibernate' : 'Client.UserInitiatedShutdown', transition: userInitiated(atMs),
  }
  instance.hibernates = 'no'
  if (flags.hibernate) {
    // A guest that is down has no memory any more; one that is to be rebooted may be just then.
    instance.hibernates = wasDown || instance.isRebooting ? 'maybe' : 'yes'
    if (instance.hibernates === 'maybe') instance.reason = undefined
  } else instance.counter = undefined
}

/** Notes a call whose answer was lost: it was done, or not. */
export function noteUnknown(instance: Instance, verb: Verb, flags: Flags): void {
  const down = new Set(instance.down)
  for (const state of reachable(instance)) {
    const answer = outcome(instance, verb, state, flags)
    if ('code' in answer) continue
    instance.ends.add(ENDS[answer.to])
    if (verb === 'reboot' && state === 'running') instance.isRebooting = true
  }
  for (const end of down) instance.ends.add(end)
  instance.counter = undefined
  instance.reason = undefined
  if (instance.isConfigured) instance.hibernates = 'maybe'
}

/** Notes that the guest powered itself off, or its process died. */
export function noteDown(instance: Instance, cause: 'guest' | 'process'): void {
  instance.counter = undefined
  instance.reason = undefined
  if (instance.hibernates === 'yes') instance.hibernates = 'maybe'
  if (instance.state !== 'running' && instance.state !== 'pending') return
  const end = cause === 'guest' && instance.behavior === 'terminate' ? 'terminated' : 'stopped'
  instance.down.add(end)
  // One that comes up, or is to be rebooted, may be started again instead.
  if (instance.state === 'running' && !instance.isRebooting) instance.ends.delete('running')
  instance.ends.add(end)
}

/** Notes a state that was seen. @returns what is wrong with it. */
export function noteSeen(instance: Instance, state: State, nowMs: number): string[] {
  const before = instance.state
  const isLegal = reachable(instance).has(state)
  instance.state = state
  if (state === 'terminated') instance.terminatedMs ??= nowMs
  else instance.aliveMs = nowMs
  return isLegal ? [] : [`${instance.id} was ${before} and is ${state}`]
}

/** Notes what was seen when everything had settled. @returns what is wrong with it. */
export function noteSettled(instance: Instance, state: State, nowMs: number): string[] {
  const isWanted = instance.ends.has(state as Final)
  const problems = isWanted ? [] : [`${instance.id} settled as ${state}, and should be ${[...instance.ends].join(' or ')}`]
  problems.push(...noteSeen(instance, state, nowMs))
  instance.ends = new Set([ENDS[state]])
  instance.down.clear()
  instance.isRebooting = false
  if (state !== 'stopped') instance.hibernates = 'no'
  return problems
}
