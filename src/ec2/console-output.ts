import type { GetConsoleOutputRequest, GetConsoleOutputResult } from '@aws-sdk/client-ec2'
import { enqueue } from '../store/work.ts'
import type { Store } from '../store/store.ts'
import type { Clock } from '../core/clock.ts'
import type { Context } from './context.ts'
import { missingParameter } from './parameters.ts'
import { checkIds, requireAll, RESOURCE_KINDS } from './resources.ts'

/** How long a caller waits for the agent to capture the console; after that the last capture is answered. */
const CAPTURE_DEADLINE_MS = 5000
const CAPTURE_POLL_MS = 20

/** Asks the agent for a capture of the instance's console; the answer is read by `awaitConsoleOutput`. */
export async function getConsoleOutput(context: Context, input: GetConsoleOutputRequest): Promise<void> {
  const { db, account, nowMs } = context
  const id = input.InstanceId
  if (!id) throw missingParameter('InstanceId')
  checkIds(RESOURCE_KINDS.instance, [id])
  const row = await db
    .selectFrom('instances').select(['instance_id', 'host_id'])
    .where('account_id', '=', account).where('instance_id', '=', id)
    .executeTakeFirst()
  requireAll(RESOURCE_KINDS.instance, [id], new Set(row ? [row.instance_id] : []))
  if (row) await enqueue(db, { kind: 'console', id, hostId: row.host_id }, nowMs)
}

/**
 * GetConsoleOutput. Always the newest output, with `Latest` or without it: what EC2 keeps for
 * callers without `Latest` is only an older capture of the same console.
 */
export async function awaitConsoleOutput(
  { store, clock }: { store: Store; clock: Clock },
  nowMs: number,
  input: GetConsoleOutputRequest,
): Promise<GetConsoleOutputResult> {
  const id = input.InstanceId ?? ''
  const deadlineMs = clock.now() + CAPTURE_DEADLINE_MS
  for (;;) {
    const row = await store.read((db) =>
      db.selectFrom('console_outputs').selectAll().where('instance_id', '=', id).executeTakeFirst())
    if ((row && row.captured_ms >= nowMs) || clock.now() >= deadlineMs) {
      return {
        InstanceId: id,
        Timestamp: new Date(row?.captured_ms ?? nowMs),
        Output: row?.output ?? '',
      }
    }
    await clock.sleep(CAPTURE_POLL_MS)
  }
}
