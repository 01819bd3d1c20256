const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs `body` with a signal that aborts at the first Ctrl-C, SIGTERM or end of the terminal, for work that puts something away then;
 * the second one ends the process at once.
 */
export async function untilInterrupted<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const ending = new AbortController()
  const end = () => {
    // What goes on is told as far as somebody is there to read it.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', ignore)
    for (const name of SIGNALS) process.off(name, end)
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
