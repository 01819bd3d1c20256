import { waitFor, type Clock } from '../../core/clock.ts'
import { areThreadsStopped, isAlive, isStopped, type ProcessId } from './process.ts'

/** A thread that waits for a disk stops when it has its answer. */
const STOP_TIMEOUT_MS = 5000
const POLL_MS = 5

/**
 * Stops every thread of the process as it is: QEMU's, its guest's processors, its disks'. The mark that it is frozen is the
 * kernel's own, which no agent's end changes; and what QEMU knows of its guest (that it is loaded, or saved) stays true.
 * A control group would do as well, but not every host has one, and a killed process would not end in one of version 1.
 *
 * @throws Error when some thread of it does not stop in time.
 */
export async function freeze(found: ProcessId, clock: Clock): Promise<void> {
  if (!isAlive(found)) return
  process.kill(found.pid, 'SIGSTOP')
  await waitFor(clock, `process ${found.pid} to stop`, STOP_TIMEOUT_MS, () => !isAlive(found) || areThreadsStopped(found), POLL_MS)
}

/** Has a frozen process go on; one whose freezing was cut short, too. @returns whether it stood still. */
export function thaw(found: ProcessId): boolean {
  if (!isAlive(found)) return false
  const stood = isStopped(found)
  process.kill(found.pid, 'SIGCONT')
  return stood
}
