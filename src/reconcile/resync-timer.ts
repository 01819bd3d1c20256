import type { Clock, Timer } from '../core/clock.ts'
import type { Store } from '../store/store.ts'

/**
 * Everything is compared with the world again this often, hint or not, and the longer the more
 * there is: a look at one instance may take some of these milliseconds.
 */
const INTERVAL_MS = 60_000
const PER_INSTANCE_MS = 20

export interface ResyncTimerOptions {
  store: Store
  clock: Clock
  hostId: string
  resync: () => Promise<void>
  onError: (error: unknown) => void
}

/** Runs resyncs, one at a time. */
export interface ResyncTimer {
  /** Resyncs now (or goes on with the one under way) and plans the next; never rejects. */
  run(): Promise<void>
  stop(): void
}

export function createResyncTimer({ store, clock, hostId, resync, onError }: ResyncTimerOptions): ResyncTimer {
  let timer: Timer | undefined
  let running: Promise<void> | undefined
  let isStopped = false

  async function resyncAndPlan(): Promise<void> {
    let pauseMs = INTERVAL_MS
    try {
      await resync()
      pauseMs += (await countLiving(store, hostId)) * PER_INSTANCE_MS
    } catch (error) {
      if (!isStopped) onError(error)
    }
    running = undefined
    if (!isStopped) timer = clock.after(pauseMs, () => void run())
  }
  function run(): Promise<void> {
    timer?.cancel()
    running ??= resyncAndPlan()
    return running
  }
  return {
    run,
    stop() {
      isStopped = true
      timer?.cancel()
    },
  }
}

async function countLiving(store: Store, hostId: string): Promise<number> {
  const { living } = await store.read((db) => db
    .selectFrom('instances').select((eb) => eb.fn.countAll().as('living'))
    .where('host_id', '=', hostId).where('state', '<>', 'terminated').executeTakeFirstOrThrow())
  return Number(living)
}
