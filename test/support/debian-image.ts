import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { buildImage, type BuiltImage } from '../../src/images/build.ts'
import { testCache } from './tiny-image.ts'

let image: Promise<BuiltImage> | undefined

/** The Debian image, built on first use (minutes) and then shared by all suites and runs. Never change its file. */
export function debianImage(): Promise<BuiltImage> {
  image ??= buildImage('debian-12', { home: testCache, clock: systemClock, log: silentLogger, progress: console.log })
  return image
}
