import { readFileSync, unlinkSync } from 'node:fs'

/**
 * The one wrapper through which transactions and driver calls pass, so that a test can end the
 * process before or after any of them. In production every point is a no-op.
 */
export interface CrashPoints {
  /**
   * Called with the point's name ("commit:RunInstances:before", "hypervisor.ensureRunning:after").
   *
   * @throws CrashError when this process is to die here (simulator), or ends the process for real.
   */
  hit(point: string): void
}

/**
 * Crash points of a real process, for tests: on SIGUSR2 it reads the file `order`, which holds the
 * name of a point, and takes it off the disk, so that the process that follows lives. At the point
 * the process kills itself with SIGKILL, as a power cut would.
 */
export function processCrashPoints(order: string): CrashPoints {
  let point: string | undefined
  process.on('SIGUSR2', () => {
    point = readFileSync(order, 'utf8').trim()
    unlinkSync(order)
  })
  return {
    hit(name) {
      if (name === point) process.kill(process.pid, 'SIGKILL')
    },
  }
}

/**
 * A driver whose every method passes a crash point before and after. Non-function members and
 * methods that do not return a promise are passed through.
 */
export function withCrashPoints<T extends object>(name: string, driver: T, points: CrashPoints): T {
  return new Proxy(driver, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target)
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        points.hit(`${name}.${String(key)}:before`)
        const result: unknown = member.apply(target, args)
        if (!(result instanceof Promise)) return result
        return result.then((value: unknown) => {
          points.hit(`${name}.${String(key)}:after`)
          return value
        })
      }
    },
  })
}
