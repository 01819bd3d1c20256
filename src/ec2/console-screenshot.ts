import type { GetConsoleScreenshotRequest, GetConsoleScreenshotResult } from '@aws-sdk/client-ec2'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { screenshotWorkId } from '../model/screenshot.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { awaitCapture } from './capture.ts'
import type { Context } from './context.ts'
import { incorrectState, requireInstance } from './instance-rows.ts'
import { requireZone } from './zone-available.ts'

/** Asks the agent for a picture of the instance's screen; the answer is read by `awaitConsoleScreenshot`. */
export async function getConsoleScreenshot(context: Context, input: GetConsoleScreenshotRequest): Promise<void> {
  const row = await requireInstance(context, input.InstanceId)
  if (row.state !== 'running') throw notRunning(row.instance_id)
  await requireZone(context, row.zone)
  const id = screenshotWorkId({ instanceId: row.instance_id, wakeUp: input.WakeUp ?? false })
  await enqueue(context.db, { kind: 'screenshot', id, hostId: row.host_id }, context.nowMs)
}

/**
 * GetConsoleScreenshot: a JPEG of the screen as it is now. An older picture is not answered: it
 * would show what the screen does not show any more.
 *
 * @throws ApiError IncorrectInstanceState when the instance stopped meanwhile, InternalError when the
 * agent did not take the picture in time.
 */
export async function awaitConsoleScreenshot(
  ambient: { store: Store; clock: Clock },
  nowMs: number,
  input: GetConsoleScreenshotRequest,
): Promise<GetConsoleScreenshotResult> {
  const id = input.InstanceId ?? ''
  const isOver = async (db: Db) => {
    const row = await db.selectFrom('instances').select('state').where('instance_id', '=', id).executeTakeFirst()
    return row?.state !== 'running'
  }
  const capture = await awaitCapture(ambient, nowMs, (db) =>
    db.selectFrom('screenshots').selectAll().where('instance_id', '=', id).executeTakeFirst(), isOver)
  if (capture?.isFresh) return { InstanceId: id, ImageData: capture.row.image }
  if (await ambient.store.read(isOver)) throw notRunning(id)
  throw new ApiError('InternalError', `The screenshot of instance '${id}' could not be taken in time; try again.`)
}

function notRunning(id: string): ApiError {
  return incorrectState(`The instance '${id}' is not in the 'running' state.`)
}
