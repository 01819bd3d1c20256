import { instanceDoc } from '../model/instance.ts'
import { carryOutInterruption, giveNotice } from '../model/spot-interruption.ts'
import { loadMarket, NOTICE_MS, wakeMarket } from '../model/spot-market.ts'
import { moveSpotRequest, spotRequestDoc } from '../model/spot-request.ts'
import { endInterruptedInstance, forgetSpotRequest } from '../model/spot-request-end.ts'
import { groupOf } from '../ec2/spot-fulfil.ts'
import { again, DONE, recording, type Outcome, type Reconciler } from '../reconcile/loop.ts'
import { prepared } from '../store/prepared.ts'
import type { InstanceTable, SpotRequestTable } from '../store/schema.ts'
import type { Db } from '../store/store.ts'
import type { RegionalOptions } from './index.ts'
import type { Market } from './market.ts'
import { planSpotRequest, type SpotRequestStep } from './spot-request-plan.ts'

const requestOf = prepared((db, id: string) => db.selectFrom('spot_requests').selectAll().where('request_id', '=', id))
const instanceOf = prepared((db, id: string) => db.selectFrom('instances').selectAll().where('instance_id', '=', id))

/** What else may happen to an instance that is to be interrupted, and is not yet where it can be, wakes its request: this is only in case. */
const LOOK_AGAIN_MS = 5000

/**
 * Follows one request: its schedule, its instance, its interruption, its end; and keeps the market's book of it. Every step is
 * decided anew on the rows of the transaction that does it, so that one that was done before a crash is not done again.
 */
export function createSpotRequestReconciler({ store, clock, region, log }: RegionalOptions, market: Market): Reconciler {
  return {
    async reconcile(id) {
      const seen = await store.read((db) => look(db, id, clock.now()))
      const { step } = seen
      if (step.kind !== 'wait') {
        log.info('a spot request goes on', { id, step: step.kind, ...(step.kind === 'move' ? { state: step.to.state, status: step.to.status } : {}) })
        return recording('spot-request.step', (db) => take(db, id, { region, nowMs: clock.now() }), again(step.kind === 'interrupt' ? LOOK_AGAIN_MS : 0))
      }
      if (seen.isGroupEnding) await store.transaction('spot-request.group', (db) => endGroup(db, id, { region, nowMs: clock.now() }))
      await store.read((db) => market.refresh(db, id))
      return wakingMarket(seen, clock.now())
    },
  }
}

interface Seen {
  row: SpotRequestTable | undefined
  instance: InstanceTable | undefined
  step: SpotRequestStep
  /** Others of its launch group end with it. */
  isGroupEnding: boolean
}

async function look(db: Db, id: string, nowMs: number): Promise<Seen> {
  const [row] = await requestOf(db, id)
  if (!row) return { row, instance: undefined, step: { kind: 'wait', untilMs: null }, isGroupEnding: false }
  const [found] = row.instance_id === null ? [] : await instanceOf(db, row.instance_id)
  // One that was restored after its termination is nobody's any more.
  const instance = found?.spot_request_id === id ? found : undefined
  const doc = instance && instanceDoc(instance)
  const step = planSpotRequest({
    row, endedMs: spotRequestDoc(row).endedMs, nowMs,
    instance: instance && doc
      ? { state: instance.state, stateReason: doc.stateReason, hasRun: doc.hasRun, interruption: doc.spot?.interruption ?? null } : null,
  })
  return { row, instance, step, isGroupEnding: row.launch_group !== null && isEnding(instance) }
}

/** Its instance is told to go, or has gone otherwise: its group does not stand any more. */
export function isEnding(instance: Pick<InstanceTable, 'state' | 'doc'> | undefined): boolean {
  return instance !== undefined && (!['pending', 'running'].includes(instance.state) || Boolean(instanceDoc(instance).spot?.interruption))
}

/** The market looks when there is something to wait for, to make room of, or to bring back; a request that has ended is nobody's business. */
function wakingMarket({ row, step }: Seen, nowMs: number): Outcome {
  const untilMs = step.kind === 'wait' ? step.untilMs : null
  const outcome = untilMs === null ? DONE : again(Math.max(0, untilMs - nowMs))
  return row === undefined || row.state === 'failed' ? outcome : recording('spot-request.market', (db) => wakeMarket(db, nowMs), outcome)
}

/** Does what is to be done now, as the rows are in this transaction. */
async function take(db: Db, id: string, { region, nowMs }: { region: string; nowMs: number }): Promise<void> {
  const { row, instance, step, isGroupEnding } = await look(db, id, nowMs)
  if (!row) return
  if (isGroupEnding) await endGroup(db, id, { region, nowMs })
  switch (step.kind) {
    case 'wait': return
    case 'forget': return forgetSpotRequest(db, row)
    case 'end-instance': return endInterruptedInstance(db, row, nowMs)
    case 'interrupt':
      if (instance) await carryOutInterruption(db, instance, nowMs)
      return
    case 'move':
      await moveSpotRequest(db, row, step.to, nowMs, step.to.state === 'open' ? { instance_id: null, doc: { launchedZone: null } } : {})
      if (step.endsInstance) await endInterruptedInstance(db, row, nowMs)
  }
}

/** All of a launch group end together: those that run are given the notice that this one has, or one of their own. */
async function endGroup(db: Db, id: string, { region, nowMs }: { region: string; nowMs: number }): Promise<void> {
  const { row, instance, isGroupEnding } = await look(db, id, nowMs)
  if (!row || row.launch_group === null || !isGroupEnding) return
  const mine = instance && instanceDoc(instance).spot?.interruption
  const noticeMs = mine ? Math.max(0, mine.actionMs - nowMs) : (await loadMarket(db, region))?.noticeMs ?? NOTICE_MS
  for (const mate of await groupOf(db, row.account_id, row.launch_group)) {
    if (mate.request_id === id || mate.state !== 'active' || mate.instance_id === null) continue
    const [theirs] = await instanceOf(db, mate.instance_id)
    if (theirs && isTogether(instance, theirs)) await giveNotice(db, theirs, { cause: 'launch-group-constraint', noticeMs, nowMs })
  }
}

/** Whether instances of a group ran together: a group may have been formed anew, or one of it been started again, since one of them has ended. */
function isTogether(instance: InstanceTable | undefined, theirs: InstanceTable): boolean {
  return instance !== undefined && (['pending', 'running'].includes(instance.state) || theirs.launch_ms < instance.state_ms)
}
