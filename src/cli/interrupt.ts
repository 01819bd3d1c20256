import type { Terminal } from './terminal.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs `body` with a signal that aborts at the first Ctrl-C, SIGTERM or end of the terminal, for work that puts something away then.
 * More of them change nothing: npx passes on a Ctrl-C that came here already.
 */
export async function untilInterrupted<T>(terminal: Terminal, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const ending = new AbortController()
  const end = () => {
    if (ending.signal.aborted) return
    // The terminal may be what has ended.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', ignore)
    terminal.say('interrupted; what is not needed any more is put away')
    ending.abort(new Error('interrupted'))
  }
  for (const name of SIGNALS) process.on(name, end)
  try {
    return await body(ending.signal)
  } finally {
    for (const name of SIGNALS) process.off(name, end)
  }
}

function ignore(): void {}
