import type { Clock } from './clock.ts'

/** Structured log: one JSON object a line. */
export interface Logger {
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

/** A logger that hands each line, without its newline, to `write`. */
export function jsonLogger(clock: Clock, component: string, write: (line: string) => void): Logger {
  const at = (level: string) => (message: string, fields: Record<string, unknown> = {}) =>
    write(JSON.stringify({ time: new Date(clock.now()).toISOString(), level, component, message, ...fields }))
  return { info: at('info'), warn: at('warn'), error: at('error') }
}

/** Says nothing; for tests and the simulator. */
export const silentLogger: Logger = { info() {}, warn() {}, error() {} }
