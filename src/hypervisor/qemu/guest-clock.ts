import type { Clock } from '../../core/clock.ts'
import type { Qemu } from './devices.ts'
import { withGuestAgent } from './guest-agent.ts'

/** A guest that has just gone on may need a moment; each attempt waits for an answer. */
const ATTEMPTS = 3
/** It also sets the clock of the machine, by a program of its own. */
const SET_TIMEOUT_MS = 5000
const NS_PER_MS = 1_000_000

/**
 * Sets the guest's clock to this host's, where its agent can be reached within some seconds.
 *
 * @returns whether it is set.
 * @throws Error when the agent refuses.
 */
export async function setGuestClock(qemu: Qemu, clock: Clock): Promise<boolean> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const isSet = await withGuestAgent(qemu, clock, async (agent) => {
      await agent.ask('guest-set-time', { time: clock.now() * NS_PER_MS }, SET_TIMEOUT_MS)
      return true
    })
    if (isSet) return true
  }
  return false
}
