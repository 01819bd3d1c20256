import type { Clock, Timer } from '../core/clock.ts'
import { recordOf, type CheckRecord } from '../model/status-check.ts'
import { inPages } from '../store/batch.ts'
import type { Store } from '../store/store.ts'
import { checkInstances, type Checked, type CheckOptions } from './check-instances.ts'

/** Instances that are looked at together; between these groups there is a pause, so that a round takes most of its time. */
const GROUP_SIZE = 100
const ROUND_SHARE = 0.8

export interface StatusChecksOptions extends CheckOptions {
  intervalMs: number
  onError: (error: unknown) => void
}

/** The status checks of the instances that run on this host. */
export interface StatusChecks {
  start(): void
  stop(): void
}

/**
 * Measures what DescribeInstanceStatus tells: whether the machine answers (system), and whether its guest does (instance).
 * Only what changes is written. How often a check has failed in a row is kept in memory; an agent that starts anew goes on
 * from what the rows say.
 */
export function createStatusChecks(options: StatusChecksOptions): StatusChecks {
  const { clock, intervalMs, onError } = options
  const stopped = new AbortController()
  let records = new Map<string, { startMs: number; record: CheckRecord }>()
  let timer: Timer | undefined

  async function round(begunMs: number): Promise<void> {
    if (options.gate?.isClosed) return
    const ids = await runningIds(options)
    const groups = Array.from({ length: Math.ceil(ids.length / GROUP_SIZE) }, (_, index) =>
      ids.slice(index * GROUP_SIZE, (index + 1) * GROUP_SIZE))
    const next: typeof records = new Map()
    for (const [index, group] of groups.entries()) {
      const pauseMs = begunMs + (index * intervalMs * ROUND_SHARE) / groups.length - clock.now()
      if (pauseMs > 0) await clock.sleep(pauseMs, stopped.signal)
      stopped.signal.throwIfAborted()
      const known = ({ row, startMs, doc }: Checked) => {
        const last = records.get(row.instance_id)
        return last?.startMs === startMs ? last.record : recordOf(doc.checks)
      }
      for (const { checked, record } of await checkInstances(options, group, known)) {
        if (record.system || record.instance) next.set(checked.row.instance_id, { startMs: checked.startMs, record })
      }
    }
    records = next
  }
  async function run(): Promise<void> {
    const begunMs = clock.now()
    try {
      await round(begunMs)
    } catch (error) {
      if (!stopped.signal.aborted) onError(error)
    }
    if (!stopped.signal.aborted) timer = clock.after(Math.max(0, begunMs + intervalMs - clock.now()), () => void run())
  }
  return {
    start() {
      timer = clock.after(intervalMs, () => void run())
    },
    stop() {
      stopped.abort(new Error('the status checks have ended'))
      timer?.cancel()
    },
  }
}

/** Those of one VPC together: they are asked together. */
async function runningIds({ store, clock, hostId }: { store: Store; clock: Clock; hostId: string }): Promise<string[]> {
  const found: { id: string; vpcId: string }[] = []
  for await (const page of inPages({ store, clock }, (db, after, limit) =>
    db.selectFrom('instances').select(['instance_id', 'vpc_id']).where('host_id', '=', hostId).where('state', '=', 'running')
      .where('instance_id', '>', after).orderBy('instance_id').limit(limit).execute(), (row) => row.instance_id)) {
    for (const row of page) found.push({ id: row.instance_id, vpcId: row.vpc_id ?? '' })
  }
  return found.toSorted((a, b) => (a.vpcId < b.vpcId ? -1 : a.vpcId > b.vpcId ? 1 : 0)).map(({ id }) => id)
}
