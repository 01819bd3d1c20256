import { encode } from 'jpeg-js'
import type { Clock } from '../core/clock.ts'
import { parsePpm } from '../core/ppm.ts'
import type { Hypervisor } from '../hypervisor/driver.ts'
import { screenshotOrder } from '../model/screenshot.ts'
import { createCaptureReconciler } from './capture.ts'
import type { Reconciler } from './loop.ts'

const JPEG_QUALITY = 80

/** What a guest that slept has to draw its screen in; nothing tells when it has. */
const WAKE_UP_MS = 500

/** Captures an instance's screen into the database as a JPEG, where GetConsoleScreenshot finds it. */
export function createScreenshotReconciler({ clock, hypervisor }: { clock: Clock; hypervisor: Hypervisor }): Reconciler {
  const isRunning = async (instanceId: string) => (await hypervisor.observe(instanceId)).status === 'running'
  return createCaptureReconciler({
    clock,
    name: 'screenshot.captured',
    instanceOf: (workId) => screenshotOrder(workId).instanceId,
    async take(workId) {
      const { instanceId, wakeUp } = screenshotOrder(workId)
      if (!(await isRunning(instanceId))) return undefined
      if (wakeUp) {
        await hypervisor.pressKey(instanceId)
        await clock.sleep(WAKE_UP_MS)
      }
      return encode(parsePpm(await hypervisor.screenshot(instanceId)), JPEG_QUALITY).data
    },
    keep: (db, { instanceId, capturedMs, content }) =>
      db
        .insertInto('screenshots')
        .values({ instance_id: instanceId, captured_ms: capturedMs, image: content })
        .onConflict((conflict) =>
          conflict.column('instance_id').doUpdateSet({ captured_ms: capturedMs, image: content }))
        .execute(),
  })
}
