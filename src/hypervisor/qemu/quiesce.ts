import type { Clock } from '../../core/clock.ts'
import type { Qemu } from './devices.ts'
import { isUnknownCommand, withGuestAgent, type GuestAgent } from './guest-agent.ts'

/** Freezing writes out first what the guest's file systems hold. */
const FREEZE_TIMEOUT_MS = 5000
const THAW_TIMEOUT_MS = 10_000

/**
 * Does `act` while the guest's file systems are frozen, where its agent can be reached and freezes them;
 * otherwise just so. Lets them go on in any case, also those that an earlier call left frozen.
 *
 * @returns whether they were frozen all the time.
 * @throws Error also when the guest does not say that they go on: it has to be asked again.
 */
export async function whileQuiesced(qemu: Qemu, clock: Clock, act: () => Promise<void>): Promise<boolean> {
  const isQuiesced = await withGuestAgent(qemu, clock, async (agent) => {
    try {
      const isDone = await freeze(agent).catch(() => false)
      await act()
      return isDone
    } finally {
      await thaw(agent)
    }
  })
  if (isQuiesced === undefined) await act()
  return isQuiesced ?? false
}

/**
 * Lets file systems go on that an earlier call left frozen.
 *
 * @returns whether there were any.
 */
export async function ensureThawed(qemu: Qemu, clock: Clock): Promise<boolean> {
  return (await withGuestAgent(qemu, clock, thaw)) ?? false
}

/** Whether there are frozen file systems now. */
async function freeze(agent: GuestAgent): Promise<boolean> {
  if (await isFrozen(agent)) return true
  return Number(await agent.ask('guest-fsfreeze-freeze', undefined, FREEZE_TIMEOUT_MS)) > 0
}

/**
 * A freeze that was not answered in time may be going on: the agent takes one question after the other.
 *
 * @returns whether there were frozen file systems.
 */
async function thaw(agent: GuestAgent): Promise<boolean> {
  await agent.synchronise(THAW_TIMEOUT_MS)
  if (!(await isFrozen(agent))) return false
  await agent.ask('guest-fsfreeze-thaw', undefined, THAW_TIMEOUT_MS)
  return true
}

/** An agent that does not know what freezing is has frozen nothing. */
export async function isFrozen(agent: GuestAgent): Promise<boolean> {
  try {
    return (await agent.ask('guest-fsfreeze-status')) !== 'thawed'
  } catch (error) {
    if (isUnknownCommand(error)) return false
    throw error
  }
}
