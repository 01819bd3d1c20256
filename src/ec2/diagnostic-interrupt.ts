import type { SendDiagnosticInterruptRequest } from '@aws-sdk/client-ec2'
import type { Clock } from '../core/clock.ts'
import { ApiError } from '../core/errors.ts'
import { changeInstanceDoc, instanceDoc } from '../model/instance.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { awaitCapture } from './capture.ts'
import type { Context } from './context.ts'
import { incorrectState, requireInstance } from './instance-rows.ts'
import { requireZone } from './zone-available.ts'

/** Asks the agent to send the instance an interrupt that cannot be masked; `awaitDiagnosticInterrupt` waits for it. */
export async function sendDiagnosticInterrupt(context: Context, input: SendDiagnosticInterruptRequest): Promise<void> {
  const { db, nowMs } = context
  const row = await requireInstance(context, input.InstanceId)
  const { architecture, interrupt } = instanceDoc(row)
  if (row.state !== 'running') throw notRunning(row.instance_id)
  if (architecture === 'arm64') {
    throw new ApiError('UnsupportedOperation', `The instance '${row.instance_id}' is arm64; Hearth cannot interrupt such a guest.`)
  }
  await requireZone(context, row.zone)
  // Later than any other, so that its answer is told from theirs.
  const requestedMs = Math.max(nowMs, (interrupt?.requestedMs ?? 0) + 1)
  await changeInstanceDoc(db, row.instance_id, { interrupt: { requestedMs, isBegun: false, isSent: false } })
  await enqueue(db, { kind: 'interrupt', id: row.instance_id, hostId: row.host_id }, nowMs)
}

/**
 * SendDiagnosticInterrupt: answers when the interrupt is sent. It is sent once: an agent that died over it leaves the
 * caller to ask again.
 *
 * @throws ApiError IncorrectInstanceState when the instance stopped meanwhile, InternalError when it was not sent in time.
 */
export async function awaitDiagnosticInterrupt(
  { store, clock }: { store: Store; clock: Clock },
  nowMs: number,
  input: SendDiagnosticInterruptRequest,
): Promise<void> {
  const id = input.InstanceId ?? ''
  const rowOf = (db: Db) => db.selectFrom('instances').select(['state', 'doc']).where('instance_id', '=', id).executeTakeFirst()
  const isOver = async (db: Db) => (await rowOf(db))?.state !== 'running'
  const sent = await awaitCapture({ store, clock }, nowMs, async (db) => {
    const row = await rowOf(db)
    const interrupt = row && instanceDoc(row).interrupt
    return interrupt?.isSent ? { captured_ms: interrupt.requestedMs } : undefined
  }, isOver)
  if (sent?.isFresh) return
  if (await store.read(isOver)) throw notRunning(id)
  throw new ApiError('InternalError', `The interrupt could not be sent to instance '${id}' in time; try again.`)
}

function notRunning(id: string): ApiError {
  return incorrectState(`The instance '${id}' is not in the 'running' state.`)
}
