import os from 'node:os'
import path from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { buildImage, type BuiltImage } from '../../src/images/build.ts'

/** Where suites keep what takes long to make and may be used again. */
export const testCache = process.env.HEARTH_TEST_CACHE ?? path.join(os.tmpdir(), 'hearth-test-cache')

let image: Promise<BuiltImage> | undefined

/** The tiny image, built on first use and then shared by all suites and runs. Never change its file. */
export function tinyImage(): Promise<BuiltImage> {
  image ??= buildImage('tiny', { home: testCache, clock: systemClock, log: silentLogger, progress: console.log })
  return image
}
