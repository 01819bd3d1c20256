/** A diagnostic interrupt that somebody asked for, and waits for. */
export interface InterruptRequest {
  requestedMs: number
  /** The agent is about to send it, or has: it is not sent twice. */
  isBegun: boolean
  isSent: boolean
}

/** As long as whoever asked waits. */
const DEADLINE_MS = 5000

/** Whether it is still to be sent: one that came later than it was waited for would take its guest by surprise. */
export function isOpen(request: InterruptRequest, nowMs: number): boolean {
  return !request.isBegun && nowMs - request.requestedMs < DEADLINE_MS
}
