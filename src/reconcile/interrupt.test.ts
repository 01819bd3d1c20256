import { beforeEach, describe, expect, it } from 'vitest'
import { fixedClock, insertInstance, NOW_MS, openTestStore, type TestStore } from '../../test/support/rows.ts'
import type { Context } from '../ec2/context.ts'
import { sendDiagnosticInterrupt } from '../ec2/diagnostic-interrupt.ts'
import type { MachineObservation } from '../hypervisor/driver.ts'
import { instanceDoc } from '../model/instance.ts'
import { createInterruptReconciler } from './interrupt.ts'

let world: TestStore
let instanceId: string
let sent: number
let machine: MachineObservation
beforeEach(async () => {
  world = await openTestStore()
  instanceId = (await world.run((context) => insertInstance(context))).instance_id
  sent = 0
  machine = { status: 'running', pid: 1, startedAtMs: NOW_MS }
})

const ask = (nowMs = NOW_MS) =>
  world.run((context: Context) => sendDiagnosticInterrupt({ ...context, nowMs }, { InstanceId: instanceId }))

/** One run; one that dies does not write what it did. */
async function reconcile({ nowMs = NOW_MS, dies = false, send = async () => void sent++ } = {}): Promise<void> {
  const hypervisor = { observe: async () => machine, interrupt: send }
  const clock = { ...fixedClock, now: () => nowMs }
  const outcome = await createInterruptReconciler({ store: world.store, clock, hypervisor }).reconcile(instanceId)
  if (!dies) await world.store.transaction('test', async (db) => outcome.observed?.write(db))
}

const interrupt = async () => {
  const row = await world.store.read((db) => db.selectFrom('instances').select('doc').executeTakeFirstOrThrow())
  return instanceDoc(row).interrupt
}

describe('a diagnostic interrupt', () => {
  it('is sent once for each time that it is asked for', async () => {
    await reconcile()
    expect(sent).toBe(0)
    await ask()
    await reconcile()
    await reconcile()
    expect(sent).toBe(1)
    expect(await interrupt()).toEqual({ requestedMs: NOW_MS, isBegun: true, isSent: true })
    await ask()
    expect(await interrupt()).toEqual({ requestedMs: NOW_MS + 1, isBegun: false, isSent: false })
    await reconcile()
    expect(sent).toBe(2)
  })

  it('is not sent twice by an agent that dies over it, nor when it may have failed', async () => {
    await ask()
    await reconcile({ dies: true })
    await reconcile()
    expect(sent).toBe(1)
    expect(await interrupt()).toMatchObject({ isSent: false })
    await ask(NOW_MS + 1)
    await expect(reconcile({ send: () => Promise.reject(new Error('no answer')) })).rejects.toThrow('no answer')
    await reconcile()
    expect(sent).toBe(1)
  })

  it('is not sent when nobody waits for it any more, nor to a machine that does not run', async () => {
    await ask()
    await reconcile({ nowMs: NOW_MS + 5000 })
    machine = { status: 'shutdown', pid: 1 }
    await reconcile()
    expect(sent).toBe(0)
    expect(await interrupt()).toMatchObject({ isBegun: false })
  })
})
