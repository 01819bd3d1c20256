import type { Clock } from '../core/clock.ts'

const QUIET_MS = 4000

/** Passes lines on, and says the last one again with its age while nothing else is said. */
export interface SteadyProgress {
  say: (line: string) => void
  /** Must be called at the end: it says nothing after that. */
  end: () => void
}

/** Makes sure that a person who waits sees a line every few seconds. */
export function steadyProgress(clock: Clock, say: (line: string) => void): SteadyProgress {
  let last = { line: '', sinceMs: clock.now() }
  let timer = clock.after(QUIET_MS, repeat)
  function repeat() {
    if (last.line !== '') say(`${last.line} … ${Math.round((clock.now() - last.sinceMs) / 1000)} s`)
    timer = clock.after(QUIET_MS, repeat)
  }
  return {
    say(line) {
      timer.cancel()
      say(line)
      last = { line, sinceMs: clock.now() }
      timer = clock.after(QUIET_MS, repeat)
    },
    end: () => timer.cancel(),
  }
}
