import { messageOf } from './core/errors.ts'
import type { Engine } from './registration.ts'
import type { Settings } from './settings.ts'

/** What a child of `hearth up` is told beside the settings. */
export interface ChildOrders {
  engine: Engine
  /** Whose process it is, of a region's beside the home region. */
  region?: string
  /** Whose process it is, of a zone's. */
  zone?: string
}

/** The environment in which a child finds what it is told. */
export function childEnvironment(settings: Settings, orders: ChildOrders): Record<string, string> {
  return { HEARTH_SETTINGS: JSON.stringify(settings), HEARTH_ORDERS: JSON.stringify(orders) }
}

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
 * Runs one of the processes of `hearth up`: what it is told comes in its environment, readiness goes out
 * over the channel. It ends cleanly on SIGTERM and when its supervisor is gone; machines go on.
 */
export async function runChild(
  start: (settings: Settings, orders: ChildOrders, onFatal: (error: unknown) => void) =>
    Promise<{ ports?: FoundPorts; stop: () => Promise<void> }>,
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
    const orders = JSON.parse(process.env.HEARTH_ORDERS ?? '') as ChildOrders
    const running = await start(settings, orders, (error) => void die(error))
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
