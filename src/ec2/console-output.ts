import type { GetConsoleOutputRequest, GetConsoleOutputResult } from '@aws-sdk/client-ec2'
import type { Clock } from '../core/clock.ts'
import type { Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { awaitCapture } from './capture.ts'
import type { Context } from './context.ts'
import { requireInstance } from './instance-rows.ts'
import { isZoneUp } from './zone-available.ts'

/** Asks the agent for a capture of the instance's console, unless its zone has failed; the answer is read by `awaitConsoleOutput`. */
export async function getConsoleOutput(context: Context, input: GetConsoleOutputRequest): Promise<void> {
  const row = await requireInstance(context, input.InstanceId)
  if (await isZoneUp(context, row.zone)) await enqueue(context.db, { kind: 'console', id: row.instance_id, hostId: row.host_id }, context.nowMs)
}

/**
 * GetConsoleOutput. Always the newest output, with `Latest` or without it: what EC2 keeps for
 * callers without `Latest` is only an older capture of the same console. While its zone has failed, what was captured last.
 */
export async function awaitConsoleOutput(
  ambient: { store: Store; clock: Clock },
  nowMs: number,
  input: GetConsoleOutputRequest,
): Promise<GetConsoleOutputResult> {
  const id = input.InstanceId ?? ''
  const capture = await awaitCapture(ambient, nowMs, (db) =>
    db.selectFrom('console_outputs').selectAll().where('instance_id', '=', id).executeTakeFirst(), async (db) => {
    const instance = await db.selectFrom('instances').select('zone').where('instance_id', '=', id).executeTakeFirst()
    return !instance || !(await isZoneUp({ db }, instance.zone))
  })
  return {
    InstanceId: id,
    Timestamp: new Date(capture?.row.captured_ms ?? nowMs),
    Output: capture?.row.output ?? '',
  }
}
