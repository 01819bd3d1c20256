import { messageOf } from './core/errors.ts'
import type { Settings } from './settings.ts'

/** What a child of `hearth up` says over its channel. */
export type ChildMessage = ({ type: 'ready' } & FoundPorts) | { type: 'failed'; message: string }

/** Ports at which a child listens now. */
export type FoundPorts = Partial<Pick<Settings, 'port' | 'serialConsolePort'>>

/**
 * Flags of Node for these processes: they make little garbage, and V8 would keep several times this
 * for the young generation.
 */
export const CHILD_FLAGS = ['--max-semi-space-size=4']

/**
 * Runs one of the processes of `hearth up`: settings come in HEARTH_SETTINGS, readiness goes out
 * over the channel. It ends cleanly on SIGTERM and when its supervisor is gone; machines go on.
 */
export async function runChild(
  start: (settings: Settings, onFatal: (error: unknown) => void) => Promise<{ ports?: FoundPorts; stop: () => Promise<void> }>,
): Promise<void> {
  const tell = (message: ChildMessage) => new Promise<void>((resolve) => {
    if (process.send) process.send(message, () => resolve())
    else resolve()
  })
  const die = async (error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`)
    await tell({ type: 'failed', message: messageOf(error) })
    process.exit(1)
  }
  // Ctrl-C reaches the whole terminal group; the supervisor decides what it means.
  process.on('SIGINT', () => {})
  try {
    const settings = JSON.parse(process.env.HEARTH_SETTINGS ?? '') as Settings
    const running = await start(settings, (error) => void die(error))
    let isStopping = false
    const stop = () => {
      if (isStopping) return
      isStopping = true
      running.stop().then(() => process.exit(0), die)
    }
    process.on('SIGTERM', stop)
    process.on('disconnect', stop)
    await tell({ type: 'ready', ...running.ports })
  } catch (error) {
    await die(error)
  }
}
