import type { SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { wakeEvents } from './instance-event.ts'
import { wasInterrupted } from './spot-interruption.ts'
import { spotRequestDoc } from './spot-request.ts'
import { instanceDoc, moveInstance, serviceInitiated, STATE_REASONS } from './instance.ts'

/** Ends the instance of a request that was stopped by an interruption, and that nobody will start again; others are left alone. */
export async function endInterruptedInstance(db: Db, { instance_id: id }: Pick<SpotRequestTable, 'instance_id'>, nowMs: number): Promise<void> {
  const row = await db
    .selectFrom('instances').selectAll().where('instance_id', '=', id ?? '').where('state', '=', 'stopped').executeTakeFirst()
  if (!row) return
  const { stateReason, spot } = instanceDoc(row)
  if (!wasInterrupted({ stateReason, interruption: spot?.interruption ?? null })) return
  await moveInstance(db, row, 'shutting-down', nowMs, {
    stateReason: STATE_REASONS.spotTermination, stateTransitionReason: serviceInitiated(nowMs), force: false, hibernate: false, skipOsShutdown: false,
  })
  await enqueue(db, { kind: 'instance', id: row.instance_id, hostId: row.host_id }, nowMs)
  await wakeEvents(db, row, nowMs)
}

/** Forgets a request whose time of being shown is over: its tags, and the token of the call that made it. */
export async function forgetSpotRequest(db: Db, row: SpotRequestTable): Promise<void> {
  const { request_id: id, account_id: account } = row
  const { clientToken } = spotRequestDoc(row)
  await db.deleteFrom('tags').where('resource_id', '=', id).execute()
  if (clientToken !== undefined) {
    // A token names all requests of its call, this one first.
    await db
      .deleteFrom('client_tokens').where('account_id', '=', account).where('token', '=', clientToken).where('resource_id', 'like', `${id}%`).execute()
  }
  await db.deleteFrom('spot_requests').where('request_id', '=', id).execute()
}
