import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock, waitFor } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { HOST_ID, openTestStore } from '../../test/support/rows.ts'
import type { Db, Store } from '../store/store.ts'
import { enqueue } from '../store/work.ts'
import { Gate } from './gate.ts'
import { again, DONE, ReconcileLoop, type Outcome, type Reconciler } from './loop.ts'

const INSTANCE = 'i-00000000000000001'

let store: Store
let loop: ReconcileLoop
let work: Gate
/** What happens between a scan's read and its caller; other work goes on meanwhile. */
let afterRead: () => Promise<void>
/** What a run does, and how it ends. */
let run: (id: string) => Promise<Outcome>

beforeEach(async () => {
  store = (await openTestStore()).store
  afterRead = async () => {}
  const reconciler: Reconciler = { reconcile: (id) => run(id) }
  work = new Gate()
  loop = new ReconcileLoop({
    gate: work,
    store: {
      transaction: (name, body) => store.transaction(name, body),
      read: async <T>(body: (db: Db) => Promise<T>) => {
        const result = await store.read(body)
        await afterRead()
        return result
      },
      onCommit: () => {},
      close: () => store.close(),
    },
    clock: systemClock, log: silentLogger, hostId: HOST_ID, onFatal: (error) => { throw error },
    reconcilers: {
      instance: reconciler, volume: reconciler, vpc: reconciler, ports: reconciler, console: reconciler,
      screenshot: reconciler, images: reconciler, layer: reconciler, import: reconciler, recycle: reconciler, event: reconciler,
      interrupt: reconciler, 'pushed-key': reconciler, reservation: reconciler, zone: reconciler,
      market: reconciler, 'spot-request': reconciler, fleet: reconciler, 'event-target': reconciler, usage: reconciler,
    },
  })
})
afterEach(async () => {
  await loop.stop()
  await store.close()
})

const ask = () => store.transaction('ask', (db) => enqueue(db, { kind: 'instance', id: INSTANCE, hostId: HOST_ID }, systemClock.now()))

/** A promise, and what resolves it. */
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { open, opened }
}

it('runs what is asked for anew, though a scan still has the row of the run before', async () => {
  const runs = [gate(), gate()]
  let begun = 0
  run = async () => {
    await runs[begun++]?.opened
    return DONE
  }
  await ask()
  loop.start()
  await waitFor(systemClock, 'the first run', 5_000, () => begun === 1)
  // A scan reads the row of the first run, and is kept waiting with it.
  const scan = gate()
  let isHeld = false
  afterRead = () => {
    isHeld = true
    return scan.opened
  }
  loop.hint()
  await waitFor(systemClock, 'a scan to be held', 5_000, () => isHeld)
  // Meanwhile the run ends, and with it the row.
  runs[0]?.open()
  const count = () => store.read(async (db) => (await db.selectFrom('work').select('id').execute()).length)
  await waitFor(systemClock, 'the row to be gone', 5_000, async () => (await count()) === 0)
  let reads = 0
  afterRead = async () => void (reads += 1)
  scan.open()
  await waitFor(systemClock, 'the next scan', 5_000, () => reads > 0)
  // Asked for anew: the row begins at the generation that the old one had. No run that began before may end it.
  const before = begun
  await ask()
  runs[1]?.open()
  loop.hint()
  await waitFor(systemClock, 'a run for what was asked anew', 5_000, async () => begun > before && (await count()) === 0)
})

it('looks again when a run says so, and keeps what was asked for during a run', async () => {
  let begun = 0
  run = async () => {
    begun += 1
    if (begun === 1) await ask()
    return begun < 3 ? again(0) : DONE
  }
  await ask()
  loop.start()
  await loop.settled(10_000)
  expect(begun).toBe(3)
})

describe('Behind a closed gate', () => {
  const due: string[] = []
  const enqueueAs = (kind: 'zone' | 'instance', dueMs: number) =>
    store.transaction('ask', (db) => enqueue(db, { kind, id: `${kind}-1`, hostId: HOST_ID }, dueMs))
  beforeEach(() => {
    due.length = 0
    run = async (id) => {
      due.push(id)
      return DONE
    }
  })

  it('only what may open it is done, and nobody waits for the rest', async () => {
    work.close()
    await enqueueAs('instance', 0)
    await enqueueAs('zone', 0)
    loop.start()
    await loop.settled(10_000)
    expect(due).toEqual(['zone-1'])
    work.open(0)
    await loop.settled(10_000)
    expect(due).toEqual(['zone-1', 'instance-1'])
  })

  it('nothing is begun that was read before it closed', async () => {
    await enqueueAs('instance', 0)
    afterRead = async () => work.close()
    loop.start()
    await loop.settled(10_000)
    expect(due).toEqual([])
  })

  it('what closes it does not wait for the runs that are under way', async () => {
    const { open, opened } = gate()
    run = async (id) => {
      due.push(id)
      if (id.startsWith('i-')) await opened
      return DONE
    }
    await store.transaction('ask', async (db) => {
      for (let each = 0; each < 20; each++) await enqueue(db, { kind: 'instance', id: `i-${each}`, hostId: HOST_ID }, 0)
    })
    loop.start()
    await waitFor(systemClock, 'all runs to be taken', 5_000, () => loop.runsOf('instance') === 16)
    await enqueueAs('zone', 0)
    loop.hint()
    await waitFor(systemClock, 'the zone', 5_000, () => due.includes('zone-1'))
    expect(loop.runsOf('instance')).toBe(16)
    open()
    await loop.settled(10_000)
    expect(due).toHaveLength(21)
  })
})
